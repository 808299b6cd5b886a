"""PgBouncer: one process per cell, between Toxiproxy and Postgres.

It starts in some 14 ms, so each cell gets one of its own, with its own users, pool and log. Two of its defaults would
decide a cell's outcome by themselves: after a failed login it waits 15 s before it tries the server again, and clients
queue for 120 s; both are set to what a service that wants to live would set.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg

from harness.core.environment import Capability, Endpoint
from harness.core.errors import ComponentError, MissingComponent
from harness.environments.accounts import Account
from harness.environments.components import Component
from harness.environments.leases import RunFolder
from harness.environments.listening import Listening, start_listening
from harness.environments.ports import LOOPBACK, listens
from harness.environments.postgres import ADMIN_NAME, CONNECT_OPTIONS
from harness.environments.processes import Child, start

POOL_MODES = {Capability.PGBOUNCER_SESSION: "session", Capability.PGBOUNCER_TRANSACTION: "transaction"}
CONSOLE = "pgbouncer"

_START_LIMIT_S = 10.0
#: Settings that the oldest PgBouncer that we use does not have: since when they are there.
_SINCE = {"max_prepared_statements": ("1.21", (1, 21))}
_STOP_LIMIT_S = 0.5  # it keeps nothing; newer ones wait on SIGTERM for their clients to leave


def configuration(
    mode: str,
    database: Endpoint,
    admin: Endpoint,
    *,
    listen: str,
    port: int,
    users: str,
    tls: tuple[Path, Path] | None = None,
    settings: Mapping[str, str] | None = None,
) -> str:
    """The ini file. ``database`` and ``admin`` are as PgBouncer reaches them; ``users`` is the auth file's path;
    ``tls`` are a certificate and its key, for clients that ask for TLS; ``settings`` win over those below.
    """
    others = "".join(f"{name} = {value}\n" for name, value in (settings or {}).items())
    clients = ""
    if tls is not None:
        clients = f"client_tls_sslmode = allow\nclient_tls_cert_file = {tls[0]}\nclient_tls_key_file = {tls[1]}\n"
    return f"""\
[databases]
{database.dbname} = host={database.host} port={database.port} dbname={database.dbname}

[pgbouncer]
listen_addr = {listen}
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
admin_users = {admin.user}
pool_mode = {mode}
; a session holds its server connection for as long as the client stays: room for every client of two groups
default_pool_size = {20 if mode == "transaction" else 60}
max_client_conn = 500
; for so long after a failed login it refuses everybody before it tries again, and that comes on top of every outage:
; by default 15 s; with 1 s the first query after a restart was served 0.2 to 1.1 s later, with this 0.1 to 0.8 s
server_login_retry = 0.2
server_connect_timeout = 3
; the default of 120 s would turn a black hole into a hang
query_wait_timeout = 6
server_check_delay = 0
server_lifetime = 600
; a turn of some agents writes 1 MiB: with the default of 4096 each goes through in hundreds of reads and writes, and
; turns without faults take longer
pkt_buf = 65536
ignore_startup_parameters = extra_float_digits,options
; each is needed to know whose a connection is
application_name_add_host = 0
tcp_keepalive = 1
log_connections = 0
log_disconnections = 0
stats_period = 3600
{clients}{others}"""


def users_file(*endpoints: Endpoint) -> str:
    """The auth file's text: one quoted user and password a line."""
    quoted = ((endpoint.user.replace('"', '""'), endpoint.password.replace('"', '""')) for endpoint in endpoints)
    return "".join(f'"{user}" "{password}"\n' for user, password in quoted)


@dataclass(slots=True)
class PgBouncer:
    """A running PgBouncer. ``console`` is its admin console; ``start_on`` starts it on a port. While it is ``held``
    it was ended on purpose, and no supervisor starts it again.
    """

    server: Listening
    console: Endpoint
    start_on: Callable[[int], Child]
    held: bool = False

    def revive(self) -> str:
        """Start it again on its own port if it died; the last line of its log then, else nothing. Main thread only."""
        if self.held or self.server.child.alive():
            return ""
        words = self.server.child.tail().splitlines()[-1]
        self.restart()
        return words

    def restart(self) -> None:
        """Start it again on its own port, as its configuration was; it listens a moment later. Main thread only."""
        self.end()  # takes the status of the one before: it is no zombie
        self.server = Listening(self.start_on(self.server.port.number), self.server.port)

    def end(self) -> None:
        """End the process and keep its port. Bounded; idempotent."""
        self.server.child.stop(_STOP_LIMIT_S)

    def listening(self) -> bool:
        """True once it takes connections."""
        return listens(self.server.child.pid, self.server.port.number)

    def stop(self) -> None:
        """Stop it at once, with every connection through it; bounded."""
        self.server.stop(_STOP_LIMIT_S)


@contextlib.contextmanager
def _at_the_console(console: Endpoint) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection to the admin console. What goes wrong with it is a ComponentError."""
    conninfo = console.conninfo(application_name=ADMIN_NAME)
    try:
        with contextlib.closing(
            psycopg.Connection.connect(conninfo, autocommit=True, cursor_factory=psycopg.ClientCursor)
        ) as connection:
            yield connection
    except psycopg.Error as error:
        raise ComponentError(f"PgBouncer's console does not answer: {error}") from error


def console_rows(console: Endpoint, command: str) -> list[dict[str, object]]:
    """What the admin console says to ``command``; the names in it are ours. Blocking. Raises ComponentError."""
    with _at_the_console(console) as connection:
        cursor = connection.execute(command.encode())
        if cursor.description is None:
            return []
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def console_order(console: Endpoint, command: str) -> None:
    """Give an order that is carried out at once but answered perhaps never, and do not wait for the answer.

    PAUSE answers when the last server connection is released: in session mode, when the last client has left.
    """
    with _at_the_console(console) as connection:
        connection.pgconn.send_query(command.encode())
        while connection.pgconn.flush():
            pass


def console_reconnect(console: Endpoint) -> None:
    """Have it leave every server connection as soon as nobody uses it: what it does when a name's address changed."""
    console_rows(console, "RECONNECT")


def console_clients(console: Endpoint) -> dict[str, int]:
    """SHOW CLIENTS, counted by application_name; the console's own connection is left out."""
    rows = console_rows(console, "SHOW CLIENTS")
    counts: dict[str, int] = {}
    for row in rows:
        if row["database"] != CONSOLE:
            name = str(row.get("application_name") or "")
            counts[name] = counts.get(name, 0) + 1
    return counts


def _known(binary: Component, settings: Mapping[str, str]) -> dict[str, str]:
    """``settings`` without those that only turn off what an old PgBouncer does not have: it would not start with them.

    Raises MissingComponent where one turns it on.
    """
    known = dict(settings)
    for name, (since, oldest) in _SINCE.items():
        if name in known and tuple(map(int, binary.version.split("."))) < oldest and known.pop(name) != "0":
            raise MissingComponent(
                f"PgBouncer {binary.version} ({binary.path}) has no {name}; allowed: {since} or newer",
                "set POOLPROOF_PGBOUNCER to a newer one",
            )
    return known


def start_pgbouncer(
    binary: Component,
    mode: str,
    database: Endpoint,
    admin: Endpoint,
    folder: Path,
    run: RunFolder,
    account: Account,
    *,
    tls: tuple[Path, Path] | None = None,
    settings: Mapping[str, str] | None = None,
) -> PgBouncer:
    """Start one in ``folder``, which we made. Blocks for some 20 ms. Raises ComponentError when it does not come up,
    and MissingComponent when it is too old for its ``settings``.
    """
    settings = _known(binary, settings or {})
    users, ini = folder / "users.txt", folder / "pgbouncer.ini"
    users.touch(mode=0o600)
    users.write_text(users_file(database, admin))
    ini.touch(mode=0o600)
    account.own(users, ini)

    def start_on(port: int) -> Child:
        ini.write_text(
            configuration(
                mode, database, admin, listen=LOOPBACK, port=port, users=str(users), tls=tls, settings=settings
            )
        )
        child = start(
            "PgBouncer",
            [str(binary.path), str(ini)],
            log=folder / "pgbouncer.log",
            cwd=folder,
            account=account,
            environment=binary.environment(),
        )
        run.record(child)
        return child

    server = start_listening(start_on, lambda child, port: listens(child.pid, port), limit_s=_START_LIMIT_S)
    console = Endpoint(LOOPBACK, server.port.number, CONSOLE, admin.user, admin.password, CONNECT_OPTIONS)
    return PgBouncer(server, console, start_on)
