"""What must hold before anything is changed on a server of the user's: asked of the living connection, every time.

A DSN, an environment variable or yesterday's answer may be about another server than the one at the other end of this
socket. So whoever makes or drops something there does it on a connection that :func:`guarded` gave, and nowhere else.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from harness.core.environment import Endpoint
from harness.core.errors import UsageError
from harness.core.redaction import can_hide, hide, redacted
from harness.environments.postgres import ADMIN_NAME
from harness.environments.surroundings import without_pg_variables
from harness.environments.target_dsn import Target

MARKER_SCHEMA = "poolproof"
#: What the connections of one cell may need at once, our own included.
ROOM = 60

#: ``search_path``: no function or table of somebody else's may stand in for one of the server's own.
_OPTIONS = "-c statement_timeout=20s -c lock_timeout=10s -c search_path=pg_catalog"
_CONNECT = {"gssencmode": "disable", "connect_timeout": "5", "application_name": ADMIN_NAME, "options": _OPTIONS}

_FACTS = """
SELECT current_database(), current_user::text, pg_is_in_recovery() OR current_setting('transaction_read_only')::bool,
  host(inet_server_addr()),
  (SELECT bool_or(rolsuper) FROM pg_roles WHERE pg_has_role(current_user, oid, 'MEMBER')),
  (SELECT rolcreatedb FROM pg_roles WHERE rolname = current_user),
  (SELECT datdba = (SELECT oid FROM pg_roles WHERE rolname = current_user) FROM pg_database
   WHERE datname = current_database()),
  current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
   - (SELECT count(*) FROM pg_stat_activity WHERE usesysid IS NOT NULL)::int,
  (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),
  current_setting('server_version'), current_setting('server_version_num')::int
"""
#: A row of another role's shows its name and its user, and hides the rest.
_OTHERS = """
SELECT pid, coalesce(usename, '?')::text, coalesce(application_name, '') FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND usesysid IS NOT NULL
  AND (usename <> current_user OR application_name <> %s) ORDER BY pid LIMIT 1
"""
_MARKER = """
SELECT (SELECT nspowner = (SELECT oid FROM pg_roles WHERE rolname = current_user) FROM pg_namespace
        WHERE nspname = 'poolproof'),
       to_regclass('poolproof.owner') IS NOT NULL AND to_regclass('poolproof.made') IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Ground:
    """What the living connection showed: where it leads (``endpoint``, with the peer's address in place of its name,
    and the password that was used), and the marker's ``token``, empty where none was asked for.
    """

    endpoint: Endpoint
    version: str
    token: str = ""


@contextmanager
def guarded(
    target: Target, *, marker: bool = True, token: str | None = None
) -> Iterator[tuple[psycopg.Connection[tuple[Any, ...]], Ground]]:
    """A connection to the target's database on which everything was just looked at; closed on exit.

    ``marker`` False is for ``init-target``, which makes it; ``token`` is what the marker must say. Raises UsageError
    with one sentence for the first thing that is not as it must be; nothing has been written then.
    """
    connection = _connected(target)
    try:
        with connection:
            ground = _looked_at(connection, target, marker=marker)
            if token is not None and ground.token != token:
                raise UsageError(
                    f"{_place(target)}: the marker is not the one that this run began with; somebody has made the "
                    "database anew"
                )
            yield connection, ground
    finally:
        connection.close()


def look(target: Target) -> Ground:
    """Look at everything once, before a run begins."""
    with guarded(target) as (_, ground):
        return ground


def _connected(target: Target) -> psycopg.Connection[tuple[Any, ...]]:
    try:
        with without_pg_variables():
            return psycopg.connect(target.endpoint.conninfo(**_CONNECT), autocommit=True, prepare_threshold=None)
    except (psycopg.Error, OSError, UnicodeError) as error:
        reason = redacted(" ".join(str(error).split()))
        raise UsageError(f"{_place(target)} cannot be reached as {target.endpoint.user!r}: {reason}") from None


def _place(target: Target) -> str:
    return f"the target {target.endpoint.host}:{target.endpoint.port}/{target.endpoint.dbname}"


def _looked_at(connection: psycopg.Connection[tuple[Any, ...]], target: Target, *, marker: bool) -> Ground:
    place = _place(target)
    allowed = {address for host in target.remote for address in _addresses(host)}
    peer, port = _peer(connection)
    _check_address(f"{place} is at", peer, allowed)
    try:
        row = connection.execute(_FACTS).fetchone()
        assert row is not None
        database, user, read_only, server, superuser, may_create, owns, free, limit, version, number = row
        if server is not None:
            _check_address(f"{place} says that its own address is", str(server), allowed)
        for holds, sentence in (
            (database == target.name, f"the database is {database!r}, not {target.name!r}"),
            (not superuser, f"{user!r} is a superuser, or may become one; allowed: a role with CREATEDB and no more"),
            (not read_only, "it is in recovery or read-only, so it is a standby or on its way to be one"),
            (owns, f"{user!r} does not own the database {database!r}; allowed: a database of its own"),
            (may_create, f"{user!r} may not create databases, and each cell needs one: ALTER ROLE {user} CREATEDB"),
            (number >= 130000, f"it is PostgreSQL {version}; allowed: 13 and newer"),
            (free >= ROOM, f"it has room for {free} more connections; allowed: {ROOM} or more (max_connections)"),
            (limit < 0 or limit >= ROOM, f"{user!r} may hold {limit} connections; allowed: {ROOM} or more"),
        ):
            if not holds:
                raise UsageError(f"{place} is refused: {sentence}")
        other = connection.execute(_OTHERS, (ADMIN_NAME,)).fetchone()
        if other is not None:
            raise UsageError(
                f"{place} is refused: somebody else is connected to it (backend {other[0]} of {other[1]!r}, "
                f"application {other[2]!r}); allowed: no client but Poolproof"
            )
        token = _token(connection, place, target.name) if marker else ""
    except psycopg.Error as error:
        reason = redacted(" ".join(str(error).split()))
        raise UsageError(f"{place} cannot be looked at: {reason}") from None
    options = {"sslmode": "require" if connection.pgconn.ssl_in_use else "disable", "connect_timeout": "2"}
    used = connection.info.password or ""
    if used and not can_hide(used):
        raise UsageError(f"{place} is refused: the password of {user!r} is too plain to be kept out of logs")
    hide(used)
    endpoint = Endpoint(peer, port, target.name, str(user), used, {**options, "gssencmode": "disable"})
    return Ground(endpoint, str(version), token)


def _token(connection: psycopg.Connection[tuple[Any, ...]], place: str, name: str) -> str:
    """What the marker says; UsageError if there is none, or if it is somebody else's."""
    row = connection.execute(_MARKER).fetchone()
    assert row is not None
    if row[0] is None or not row[1]:
        raise UsageError(
            f"{place} is refused: it has no marker of Poolproof, so nobody has said that it may be used; "
            f"if {name!r} is empty and yours: poolproof init-target DSN"
        )
    if not row[0]:
        raise UsageError(f"{place} is refused: its marker belongs to another role")
    tokens = connection.execute("SELECT run_token FROM poolproof.owner").fetchall()
    if len(tokens) != 1 or not tokens[0][0]:
        raise UsageError(f"{place} is refused: its marker holds {len(tokens)} tokens; allowed: one")
    return str(tokens[0][0])


def _peer(connection: psycopg.Connection[tuple[Any, ...]]) -> tuple[str, int]:
    """Address and port at the other end of the connection's own socket."""
    with socket.socket(fileno=os.dup(connection.fileno())) as end:
        if end.family not in (socket.AF_INET, socket.AF_INET6):
            raise UsageError("the target is at the end of a unix socket, where no proxy can stand in between")
        address = end.getpeername()
    return str(address[0]), int(address[1])


def _check_address(words: str, address: str, allowed: set[str]) -> None:
    if not is_loopback(address) and _plain(address) not in allowed:
        raise UsageError(
            f"{words} {address}, which is beyond this machine (or a tunnel, or a container); if that is the one you "
            f"mean, add --allow-remote {address}"
        )


def is_loopback(address: str) -> bool:
    """True for 127.0.0.0/8 and ::1, also where IPv6 wraps an IPv4 address."""
    found = ipaddress.ip_address(_plain(address))
    return found.is_loopback


def _plain(address: str) -> str:
    """Without a zone, and as IPv4 where IPv6 only wraps it."""
    found = ipaddress.ip_address(address.partition("%")[0])
    wrapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(wrapped or found)


def _addresses(host: str) -> set[str]:
    try:
        return {_plain(str(info[4][0])) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--allow-remote {host!r}: no such host ({error})") from None
