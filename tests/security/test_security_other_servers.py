"""A user's own server that is reached by TLS, that is a standby, or that is beyond this machine: real ones of each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from harness.core.cell import CellSpec
from harness.core.environment import Capability, Endpoint
from harness.core.errors import MissingComponent, UsageError
from harness.core.record import CellResult
from harness.core.verdict import Verdict
from harness.environments.accounts import server_account
from harness.environments.components import find_postgres
from harness.environments.leases import RunFolder
from harness.environments.own_server import OwnServer, start_own_server, until
from harness.environments.target import init_target
from harness.environments.target_dsn import TARGET, Target, read_target
from harness.environments.target_guards import look
from harness.environments.tls import find_tls_postgres
from harness.slot import Slot
from harness.store import CellFolder
from tests.security.user_server import UserServer

pytestmark = pytest.mark.slow
PLUGIN = Path(__file__).resolve().parent.parent / "plugins" / "secretive.py"
NAME, ROLE, PASSWORD = "chaos_here", "tester", "Tester-pass-w0rd"


@contextmanager
def own_server(*needs: Capability) -> Iterator[OwnServer]:
    """A server with a role and an empty database of its own, as a team would make them."""
    run, server = RunFolder.create(), None
    try:
        binaries = find_tls_postgres() if Capability.POSTGRES_TLS in needs else find_postgres()
        passwords = (secrets.token_hex(16), secrets.token_hex(16))
        name = f"cell_{os.getpid()}_{secrets.token_hex(3)}-server"
        account = server_account()
        server = asyncio.run(start_own_server(name, frozenset(needs), binaries, run, account, passwords))
        with psycopg.connect(server.admin.conninfo(), autocommit=True) as connection:
            role, database = sql.Identifier(ROLE), sql.Identifier(NAME)
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}").format(role, sql.Literal(PASSWORD)))
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, role))
        yield server
    finally:
        if server is not None:
            server.close()
        run.remove()


def target_of(admin: Endpoint, mode: str = "disable") -> Target:
    return read_target(f"postgresql://{ROLE}:{PASSWORD}@{admin.host}:{admin.port}/{NAME}?sslmode={mode}", NAME)


def one_cell(target: Target, folder: Path) -> tuple[CellResult, dict[str, str]]:
    """A short cell on the target, and what cannot be had there."""
    slot = Slot.start(TARGET, target=target)
    try:
        place = CellFolder(folder)
        place.logs.mkdir(parents=True)
        spec = CellSpec(
            id="quiet",
            scenario=f"{PLUGIN}:QUIET",
            strategy="self_healing",
            agents=("SupervisorAgent",),
            environment=TARGET,
        )
        return slot.run(spec, place), dict(slot.missing)
    finally:
        slot.close()


# -- TLS ------------------------------------------------------------------------------------------------------------


def test_a_cell_runs_on_a_server_that_is_reached_by_tls(tmp_path: Path) -> None:
    try:
        find_tls_postgres()
    except MissingComponent as problem:
        pytest.skip(f"{problem}: {problem.fix}")
    with own_server(Capability.POSTGRES_TLS) as server:
        target = target_of(server.admin, "require")
        init_target(target)
        assert look(target).endpoint.options["sslmode"] == "require"
        result, missing = one_cell(target, tmp_path / "cell")
        assert result.verdict is not Verdict.ERROR, result.reason
        assert result.measures["acknowledged"] > 0  # type: ignore[operator]
        assert "PgBouncer is not set up for a server that is reached by TLS" in missing["pgbouncer_session"]
        with psycopg.connect(server.admin.conninfo()) as connection:
            made = connection.execute("SELECT count(*) FROM pg_database WHERE datname LIKE 'chaos_%'").fetchone()
        assert made == (1,), "the cell's database stayed behind"


# -- a standby ------------------------------------------------------------------------------------------------------


def test_a_standby_is_refused_before_anything_is_written() -> None:
    with own_server(Capability.SERVER_STANDBY) as server:
        init_target(target_of(server.admin))
        look(target_of(server.admin))
        assert server.standby is not None
        there = Endpoint(server.admin.host, server.standby.port, NAME, ROLE, PASSWORD, {"sslmode": "disable"})
        asyncio.run(until(there, "SELECT count(*) = 1 FROM poolproof.owner", "the marker never reached the standby"))
        for refused in (look, init_target):
            with pytest.raises(UsageError, match="it is in recovery or read-only, so it is a standby"):
                refused(target_of(there))


# -- beyond this machine --------------------------------------------------------------------------------------------


def _address() -> str:
    """This machine's own address that is not loopback; empty if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking, contextlib.suppress(OSError):
        asking.connect(("192.0.2.1", 9))  # sends nothing
        return str(asking.getsockname()[0])
    return ""


@contextmanager
def relay(address: str, port: int) -> Iterator[int]:
    """A port of ``address`` behind which 127.0.0.1:``port`` stands, for clients on this machine alone."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, (peer, _) = listening.accept()
                if peer != address:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", port), 5.0)
                server.settimeout(None)
                ends.extend((client, server))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    ends: list[socket.socket] = []
    with socket.create_server((address, 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(5.0)
            for end in ends:
                end.close()


def test_a_server_that_is_reached_at_another_address_must_be_named(testing: UserServer, tmp_path: Path) -> None:
    address = _address()
    if not address or address.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    name = testing.make_database("chaos_far_away")
    before = testing.databases()
    with relay(address, testing.port) as port:
        password = testing.password.replace("/", "%2F")
        dsn = f"postgresql://{testing.owner}:{password}@{address}:{port}/{name}?sslmode=disable"
        with pytest.raises(UsageError, match=f"is at {address}, which is beyond this machine"):
            init_target(read_target(dsn, name))
        with pytest.raises(UsageError, match=f"is at {address}, which is beyond this machine"):
            init_target(read_target(dsn, name, ["127.0.0.1"]))
        assert testing.as_superuser("SELECT count(*) FROM pg_namespace WHERE nspname = 'poolproof'", name) == [(0,)]
        target = read_target(dsn, name, [address])
        init_target(target)
        result, _ = one_cell(target, tmp_path / "cell")
        assert result.verdict is not Verdict.ERROR, result.reason
        assert result.measures["acknowledged"] > 0  # type: ignore[operator]
    assert testing.databases() == before, "the cell's database stayed behind"
