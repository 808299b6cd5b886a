"""A Postgres of one cell's own, with levers: for faults that stop, kill, pause or re-configure the whole server.

The stack's Postgres serves many cells, one after the other; damage to it would outlive a cell that is killed in the
middle. So a cell whose plan needs such damage gets a server of its own: started in some 0.4 s from the same template,
with everything that the first one has, and gone with the cell, whatever was done to it. It keeps what it acknowledged
through a crash of its processes (``synchronous_commit`` and ``full_page_writes`` are on here), so that a turn that is
lost was lost by the strategy. Everything else is as on the stack's Postgres.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from psycopg import sql

from harness.core.environment import Capability, Endpoint, Shutdown
from harness.core.errors import ComponentError
from harness.core.verdict import Json
from harness.environments import small_disk
from harness.environments.accounts import Account
from harness.environments.components import Component
from harness.environments.databases import admin_query, owner_is_dead
from harness.environments.leases import RunFolder
from harness.environments.listening import Listening, start_listening
from harness.environments.ports import listens
from harness.environments.postgres import (
    AGENT_ROLE,
    START_LIMIT_S,
    SUPERUSER,
    PostgresServer,
    accepts,
    connect,
    launch,
    start_postgres,
)
from harness.environments.processes import Child, clean_environment, start
from harness.environments.server_node import Node
from harness.environments.tls import make_certificate

_SETTINGS = {
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_level": "replica",
    "max_wal_senders": "4",
    "max_connections": "120",
    "superuser_reserved_connections": "10",
}
#: What must not hit the harness's own sessions when it is set for everybody.
_SUPERUSERS_OWN = {"statement_timeout": "0", "idle_session_timeout": "0", "default_transaction_read_only": "off"}

_SWITCHBOARD = Path(__file__).with_name("switchboard.py")
_SWITCHBOARD_LIMIT_S = 10.0
_SETTLE_LIMIT_S = 10.0
_POLL_S = 0.02
_CLOSE_LIMIT_S = 1.5


@dataclass(slots=True)
class Switch:
    """The name that agents connect to: it can be given another address."""

    listening: Listening
    target: Path

    def point_to(self, port: int) -> None:
        """New connections go there."""
        draft = self.target.with_suffix(".draft")
        draft.write_text(str(port))
        draft.rename(self.target)


def _nobody() -> None:
    """The default of ``on_reroute``."""


class OwnServer:
    """Implements ``core.environment.Server``; made by ``start_own_server``. ``tls``: agents can connect with TLS."""

    def __init__(self, primary: Node, server: PostgresServer, folder: Path, *, tls: tuple[Path, Path] | None) -> None:
        self.agent_password = server.agent_password
        self.tls = tls
        self.standby: Node | None = None
        self.switch: Switch | None = None
        #: Who keeps connections of his own to the old address, and has to hear of the new one: a pooler.
        self.on_reroute: Callable[[], None] = _nobody
        self._admin = server.admin
        self.primary = primary
        self._acting = primary
        self._folder = folder

    @property
    def admin(self) -> Endpoint:
        """The superuser's way to the server that is the primary now."""
        return self._on(self._acting)

    def admins(self) -> tuple[Endpoint, ...]:
        """The same for every server that may hold connections of agents, the present primary first."""
        both = [self._acting] if self._acting is self.primary else [self._acting, self.primary]
        return tuple(self._on(node) for node in both)

    def _on(self, node: Node) -> Endpoint:
        return replace(self._admin, port=node.port)

    @property
    def child(self) -> Child:
        return self._acting.child

    @property
    def front_port(self) -> int:
        """Where connections of agents are to go."""
        return self.primary.port if self.switch is None else self.switch.listening.port.number

    async def stop(self, how: Shutdown) -> Mapping[str, Json]:
        return await self._acting.stop(how)

    async def start_held(self) -> Mapping[str, Json]:
        return await self._acting.start_held()

    async def start(self) -> None:
        await self._acting.start()

    async def pause(self, *, sessions_only: bool) -> Mapping[str, Json]:
        return await self._acting.pause(AGENT_ROLE if sessions_only else "")

    async def resume(self) -> None:
        await self._acting.resume()

    async def set_parameter(self, name: str, value: str) -> Mapping[str, Json]:
        await self._configure(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
        query = sql.SQL("SELECT setting, applied, error FROM pg_file_settings WHERE name = {} ORDER BY seqno DESC")
        rows = await admin_query(self.admin, query.format(sql.Literal(name)))
        if not rows or not rows[0][1] or rows[0][2]:
            raise ComponentError(f"Postgres did not take {name} = {value}: {rows[:1]}")
        return {"parameter": name, "value": str(rows[0][0])}

    async def reset_parameter(self, name: str) -> None:
        await self._configure(sql.SQL("ALTER SYSTEM RESET {}").format(sql.Identifier(name)))

    async def _configure(self, statement: sql.Composed) -> None:
        """Change the configuration and wait until the postmaster has read it: a new session says when it did."""
        before = await admin_query(self.admin, "SELECT clock_timestamp()")
        await admin_query(self.admin, statement)
        await admin_query(self.admin, "SELECT pg_reload_conf()")
        loaded = sql.SQL("SELECT pg_conf_load_time() >= {}").format(sql.Literal(before[0][0]))
        await until(self.admin, loaded, "the configuration was not read again")

    async def promote(self) -> Mapping[str, Json]:
        standby = self.standby
        if standby is None:
            raise ComponentError("this server has no standby: the plan must need SERVER_STANDBY")
        if self._acting is standby:
            return {"promoted": True}
        change = await self.set_parameter("default_transaction_read_only", "on")
        await self._caught_up(standby)
        promoted = await admin_query(self._on(standby), "SELECT pg_promote(true, 10)")
        if not promoted[0][0]:
            raise ComponentError("the standby was not promoted within 10 s")
        await until(self._on(standby), "SELECT NOT pg_is_in_recovery()", "the standby is still in recovery")
        self._acting = standby
        return {"promoted": True, "old_primary": change["parameter"]}

    async def _caught_up(self, standby: Node) -> None:
        """Until nobody writes on the primary and the standby has replayed all of it: nothing acknowledged is lost."""
        stop_s = time.monotonic() + _SETTLE_LIMIT_S
        while True:
            primary = await admin_query(self._on(self.primary), _WRITERS_AND_POSITION)
            if not primary[0][0]:
                position = sql.SQL("SELECT pg_last_wal_replay_lsn() >= {}::pg_lsn").format(sql.Literal(primary[0][1]))
                await until(self._on(standby), position, "the standby does not catch up")
                if (await admin_query(self._on(self.primary), _WRITERS_AND_POSITION))[0] == primary[0]:
                    return
            if time.monotonic() > stop_s:
                raise ComponentError(f"somebody still writes on the old primary after {_SETTLE_LIMIT_S:g} s")
            await asyncio.sleep(_POLL_S)

    async def reroute(self) -> Mapping[str, Json]:
        if self.standby is None or self.switch is None or self._acting is not self.standby:
            raise ComponentError("new connections can only be sent to a standby that was promoted")
        self.switch.point_to(self.standby.port)
        await asyncio.to_thread(self.on_reroute)
        return {"new_connections_go_to": self.standby.port}

    async def fill_disk(self) -> Mapping[str, Json]:
        written = await asyncio.to_thread(small_disk.fill, self._small_disk)
        return {"filled_bytes": written, "room_bytes": small_disk.room_bytes(self._small_disk)}

    async def free_disk(self) -> None:
        await asyncio.to_thread(small_disk.free, self._small_disk)  # giving back memory takes its time

    @property
    def _small_disk(self) -> Path:
        if not os.path.ismount(self.primary.data):
            raise ComponentError("the data folder has no disk of its own: the plan must need SMALL_DISK")
        return self.primary.data

    def close(self) -> None:
        """End everything and delete it. Blocking, bounded; idempotent."""
        nodes = [node for node in (self.standby, self.primary) if node is not None]
        steps: list[Callable[[], None]] = [node.close for node in nodes]
        if self.switch is not None:
            steps.insert(0, partial(self.switch.listening.stop, _CLOSE_LIMIT_S))
        steps.append(partial(small_disk.remove, self._folder))
        problems: list[ComponentError] = []
        for step in steps:
            try:
                step()
            except ComponentError as error:
                problems.append(error)
        if problems:
            raise problems[0]


_STREAMING = "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'"
_WRITERS_AND_POSITION = """
SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND backend_xid IS NOT NULL),
       pg_current_wal_insert_lsn()::text
"""


async def start_own_server(
    cell: str,
    needs: frozenset[Capability],
    binaries: Component,
    run: RunFolder,
    account: Account,
    passwords: tuple[str, str],
) -> OwnServer:
    """Start one for ``cell``: half a second, with a standby one. Main thread only.

    Raises MissingComponent or ComponentError; nothing is left then.
    """
    _remove_abandoned(run)
    folder = run.fast / cell
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    own: OwnServer | None = None
    try:
        settings, data = dict(_SETTINGS), folder / "data"
        tls = make_certificate(folder, account) if Capability.POSTGRES_TLS in needs else None
        if tls is not None:
            settings |= {"ssl": "on", "ssl_cert_file": str(tls[0]), "ssl_key_file": str(tls[1])}
        if Capability.SMALL_DISK in needs:
            data.mkdir()
            small_disk.mount(data)
        server = start_postgres(binaries, run, account, data=data, settings=settings, passwords=passwords)
        primary = Node(server.server, data, lambda port: launch(binaries, run, account, data, port, settings))
        own = OwnServer(primary, server, folder, tls=tls)
        _spare_the_superuser(own.admin)
        if Capability.SMALL_DISK in needs:
            await _wal_elsewhere(primary, folder / "wal", account)
        if Capability.SERVER_STANDBY in needs:
            await _add_standby(own, account, lambda data, port: launch(binaries, run, account, data, port, settings))
            own.switch = _start_switch(primary.port, folder, run)
    except BaseException:
        if own is not None:
            own.close()
        else:
            small_disk.remove(folder)
        raise
    return own


def _remove_abandoned(run: RunFolder) -> None:
    """Folders of cells that were killed; their servers ended with them."""
    for folder in run.fast.glob("cell_*"):
        if owner_is_dead(folder.name):
            small_disk.remove(folder)


def _spare_the_superuser(admin: Endpoint) -> None:
    with connect(admin) as connection:
        for name, value in _SUPERUSERS_OWN.items():
            statement = sql.SQL("ALTER ROLE {} SET {} = {}")
            connection.execute(statement.format(sql.Identifier(SUPERUSER), sql.Identifier(name), sql.Literal(value)))


async def _wal_elsewhere(node: Node, place: Path, account: Account) -> None:
    """A full disk under the write-ahead log ends the server; under the tables alone it is an error that goes by."""
    await node.stop(Shutdown.FAST)
    shutil.move(node.data / "pg_wal", place)
    account.own_tree(place)
    (node.data / "pg_wal").symlink_to(place)
    await node.start()


async def _add_standby(own: OwnServer, account: Account, launch_on: Callable[[Path, int], Child]) -> None:
    """A copy of the stopped primary that follows it from then on, by streaming replication."""
    primary = own.primary
    data = primary.data.with_name("standby")
    await primary.stop(Shutdown.FAST)
    shutil.copytree(primary.data, data, symlinks=True)
    (data / "standby.signal").touch()
    with (data / "postgresql.auto.conf").open("a") as settings:
        conninfo = replace(own.admin, options={"sslmode": "disable"}).conninfo()
        settings.write("primary_conninfo = '{}'\n".format(conninfo.replace("'", "''")))
    account.own_tree(data)
    await primary.start()
    listening = start_listening(
        lambda port: launch_on(data, port), lambda child, _: accepts(data, child.pid), limit_s=START_LIMIT_S
    )
    own.standby = Node(listening, data, lambda port: launch_on(data, port))
    await until(
        own.admin, "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'", "no standby follows"
    )


def _start_switch(port: int, folder: Path, run: RunFolder) -> Switch:
    target = folder / "address"
    target.write_text(str(port))

    def start_on(own_port: int) -> Child:
        child = start(
            "Switchboard",
            [sys.executable, "-I", "-S", str(_SWITCHBOARD), str(own_port), str(target)],
            log=run.path / f"{folder.name}-switchboard.log",
            cwd=folder,
            account=Account(os.geteuid(), os.getegid()),
            environment=clean_environment(),
        )
        run.record(child)
        return child

    listening = start_listening(
        start_on, lambda child, own_port: listens(child.pid, own_port), limit_s=_SWITCHBOARD_LIMIT_S
    )
    return Switch(listening, target)


async def until(where: Endpoint, query: str | sql.Composed, otherwise: str) -> None:
    """Ask until the answer is true. Raises ComponentError with ``otherwise`` if it never is."""
    stop_s = time.monotonic() + _SETTLE_LIMIT_S
    while not (await admin_query(where, query))[0][0]:
        if time.monotonic() > stop_s:
            raise ComponentError(f"Postgres: {otherwise} within {_SETTLE_LIMIT_S:g} s")
        await asyncio.sleep(_POLL_S)
