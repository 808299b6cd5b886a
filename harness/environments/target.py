"""A server of the user's own as the Postgres of a stack: nothing is changed there but databases that we made ourselves.

Toxiproxy and PgBouncer are ours and run here; what stands behind them is the address that the guarded connection was
found at. Each cell gets a database of its own. It is written down in the marker's schema before it is made, and only
what is written down there is ever dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
from langgraph.checkpoint.postgres import PostgresSaver
from psycopg import sql
from psycopg.rows import dict_row

from harness.core.environment import OF_THE_POOLER, Capability, Endpoint, Note
from harness.core.errors import ComponentError, MissingComponent, UsageError
from harness.environments.accounts import Account, server_account
from harness.environments.components import Component, find_pgbouncer, find_toxiproxy
from harness.environments.databases import Databases
from harness.environments.leases import RunFolder, boot_id, pid_namespace
from harness.environments.local import POOLERS, LocalServers, pgbouncer_if_wanted
from harness.environments.postgres import ADMIN_NAME
from harness.environments.processes import start_ticks
from harness.environments.surroundings import without_pg_variables
from harness.environments.target_dsn import Target
from harness.environments.target_guards import MARKER_SCHEMA, Ground, guarded, look
from harness.environments.toxiproxy_server import start_toxiproxy

#: What can be had in front of somebody's server; everything else would need rights over it.
_OFFERED = frozenset({Capability.POSTGRES, Capability.TOXIPROXY, *POOLERS, *OF_THE_POOLER})
#: Why something else is not offered, where it is not about rights.
_NOT_OFFERED = {
    Capability.PROTOCOL: "is a proxy that is put before servers of Poolproof's own alone",
    Capability.REPLICA_PROCESS: "is set up for servers of Poolproof's own alone",
}

#: Nothing but what every fresh database has: no table, function, type or schema of anybody's, no extension.
_CONTENTS = """
SELECT what, name FROM (
  SELECT 'schema' AS what, nspname::text AS name FROM pg_namespace
   WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public')
  UNION ALL SELECT 'relation', c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
   WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
  UNION ALL SELECT 'function', proname::text FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace
   WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
  UNION ALL SELECT 'type', typname::text FROM pg_type JOIN pg_namespace n ON n.oid = typnamespace
   WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
  UNION ALL SELECT 'extension', extname::text FROM pg_extension WHERE extname <> 'plpgsql'
  UNION ALL SELECT 'large object', oid::text FROM pg_largeobject_metadata
) AS contents ORDER BY 1, 2
"""
_MAKE_MARKER = (
    "CREATE SCHEMA poolproof",
    "REVOKE ALL ON SCHEMA poolproof FROM PUBLIC",
    "CREATE TABLE poolproof.owner (run_token text PRIMARY KEY, made_at timestamptz NOT NULL DEFAULT now())",
    """CREATE TABLE poolproof.made (database text PRIMARY KEY, run text NOT NULL, owner text NOT NULL,
       made_at timestamptz NOT NULL DEFAULT now())""",
)


def init_target(target: Target) -> str:
    """Put the marker into an empty database of the user's own; returns the server's version.

    Raises UsageError for a database that is not empty, or that a guard refuses; nothing has been changed then.
    """
    with guarded(target, marker=False) as (connection, ground), connection.transaction():
        found = connection.execute(_CONTENTS).fetchall()
        if ("schema", MARKER_SCHEMA) in found:
            raise UsageError(f"the database {target.name!r} has its marker already; poolproof run may use it")
        if found:
            what, name = found[0]
            raise UsageError(
                f"the database {target.name!r} is not empty: it holds the {what} {name!r}; allowed: an empty one"
            )
        for statement in _MAKE_MARKER:
            connection.execute(statement)
        connection.execute("INSERT INTO poolproof.owner (run_token) VALUES (%s)", (secrets.token_hex(16),))
        return ground.version


class TargetDatabases:
    """Implements ``Databases`` on the user's server. One at a time: a drop waits for the making that it undoes."""

    def __init__(self, target: Target, ground: Ground) -> None:
        self._target = replace(target, endpoint=ground.endpoint)
        self._ground = ground
        self._lock = threading.Lock()

    def name(self, short: str) -> str:
        return f"chaos_{self._target.run}_{os.getpid()}_{short}"

    def agents(self, name: str) -> Endpoint:
        return replace(self._ground.endpoint, dbname=name)

    async def create(self, name: str) -> None:
        await asyncio.to_thread(self._create, name)

    async def drop(self, name: str) -> None:
        await asyncio.to_thread(self._drop, name)

    def _create(self, name: str) -> None:
        with self._changing(f"make the database {name}") as connection:
            for abandoned in _abandoned(connection):
                _drop(connection, abandoned)
            connection.execute(
                "INSERT INTO poolproof.made (database, run, owner) VALUES (%s, %s, %s)",
                (name, self._target.run, json.dumps(_myself())),
            )
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        own = self.agents(name).conninfo(application_name=ADMIN_NAME, options="-c statement_timeout=20s")
        with (
            _told(f"set up the database {name}"),
            without_pg_variables(),
            psycopg.Connection.connect(own, autocommit=True, row_factory=dict_row) as connection_of_cell,
        ):
            PostgresSaver(connection_of_cell).setup()

    def _drop(self, name: str) -> None:
        with self._changing(f"drop the database {name}") as connection:
            _drop(connection, name)

    def drop_abandoned(self) -> None:
        """Drop what cells made whose process ended before it could. Raises ComponentError."""
        with self._changing("drop what dead cells left") as connection:
            for abandoned in _abandoned(connection):
                _drop(connection, abandoned)

    @contextmanager
    def _changing(self, what: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        with self._lock, _told(what), guarded(self._target, token=self._ground.token) as (connection, _):
            yield connection


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except (UsageError, psycopg.Error, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ComponentError(f"could not {what}: {reason}") from None


def _drop(connection: psycopg.Connection[tuple[Any, ...]], name: str) -> None:
    """Drop a database that is written down as made by us, and belongs to us, with nobody else connected to it."""
    if connection.execute("SELECT 1 FROM poolproof.made WHERE database = %s", (name,)).fetchone() is None:
        return  # its making never began
    row = connection.execute(
        "SELECT datdba = (SELECT oid FROM pg_roles WHERE rolname = current_user) FROM pg_database WHERE datname = %s",
        (name,),
    ).fetchone()
    if row is not None:
        if not row[0]:
            raise UsageError(f"{name!r} belongs to another role now")
        other = connection.execute(
            "SELECT usename::text FROM pg_stat_activity WHERE datname = %s AND usesysid IS NOT NULL "
            "AND usename <> current_user",
            (name,),
        ).fetchone()
        if other is not None:
            raise UsageError(f"{other[0]!r} is connected to {name!r}")
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
    connection.execute("DELETE FROM poolproof.made WHERE database = %s", (name,))


def _abandoned(connection: psycopg.Connection[tuple[Any, ...]]) -> list[str]:
    """Databases that are written down for a process of this machine that is no more."""
    rows = connection.execute("SELECT database, owner FROM poolproof.made").fetchall()
    return [str(database) for database, owner in rows if _is_dead(str(owner))]


def _myself() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "boot_id": boot_id(),
        "pid_namespace": pid_namespace(),
        "pid": os.getpid(),
        "start_ticks": start_ticks(os.getpid()),
    }


def _is_dead(owner: str) -> bool:
    here = _myself()
    try:
        stored = json.loads(owner)
        if stored["host"] != here["host"]:
            return False
        if stored["boot_id"] != here["boot_id"]:
            return True
        return bool(
            stored["pid_namespace"] == here["pid_namespace"]
            and start_ticks(int(stored["pid"])) != stored["start_ticks"]
        )
    except (ValueError, TypeError, KeyError):
        return False  # none of ours


class TargetServers(LocalServers):
    """The servers of a local stack, with the user's Postgres in place of ours."""

    def __init__(
        self,
        target: Target,
        ground: Ground,
        run: RunFolder,
        account: Account,
        missing: Mapping[Capability, MissingComponent],
    ) -> None:
        super().__init__(run, account, missing)
        self._ground = ground
        self._databases = TargetDatabases(target, ground)
        self._target = target

    def start_proxies(self, toxiproxy: Component, pgbouncer: Component | None) -> None:
        """Start Toxiproxy; it is stopped again by ``stop``, whatever happened here."""
        remote = f", beyond this machine: {', '.join(self._target.remote)}" if self._target.remote else ""
        place = self._target.endpoint
        postgres = Component(
            "postgres",
            self._ground.version,
            Path(f"{place.host}:{place.port}/{place.dbname}"),
            f"a server of the user's own (--target-dsn{remote})",
        )
        self.components = tuple(c for c in (postgres, toxiproxy, pgbouncer) if c is not None)
        self._toxiproxy = start_toxiproxy(self._within_reach(toxiproxy), self._run, self._account)
        self._pgbouncer = self._within_reach(pgbouncer) if pgbouncer else None

    @property
    def admin(self) -> Endpoint:
        """The user's own way to the database that has the marker: no superuser."""
        return self._ground.endpoint

    @property
    def databases(self) -> Databases:
        return self._databases

    def stop(self) -> None:
        """Stop our own servers, and drop what cells left that were killed."""
        try:
            self._databases.drop_abandoned()
        finally:
            super().stop()

    @property
    def upstream(self) -> str:
        host = self.admin.host
        return f"[{host}]:{self.admin.port}" if ":" in host else f"{host}:{self.admin.port}"


def start_target(target: Target, needs: frozenset[Capability], note: Note) -> TargetServers:
    """Look at the target, find the components, start Toxiproxy.

    Raises ComponentError, also where a guard refuses the target, and MissingComponent.
    """
    with _told("use the target"):
        ground = look(target)
    missing = {
        need: MissingComponent(
            f"{need} {_NOT_OFFERED.get(need, 'needs rights over the server')}, and this one is the user's own",
            "leave out --target-dsn, so that Poolproof starts a server of its own",
        )
        for need in Capability
        if need not in _OFFERED
    }
    toxiproxy = find_toxiproxy(note)
    pgbouncer = pgbouncer_if_wanted(needs, missing, lambda: find_pgbouncer(note))
    if ground.endpoint.options["sslmode"] == "require":
        why = MissingComponent("PgBouncer is not set up for a server that is reached by TLS", "use sslmode=disable")
        missing.update(dict.fromkeys(POOLERS, why))
    servers = TargetServers(target, ground, RunFolder.create(), server_account(), missing)
    try:
        servers.start_proxies(toxiproxy, pgbouncer)
    except BaseException:
        with contextlib.suppress(ComponentError):
            servers.stop()
        raise
    return servers
