"""V11, its evidence: the kernel's tables tell which way a connection went, and the sampler writes it down."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import Iterator

import psycopg
import pytest

from harness.core.environment import Capability
from harness.driving.sampler import Sampler
from harness.environments.cell import CellEnvironment
from harness.environments.clock import RealClock
from harness.environments.routes import UNIX_SOCKET, Peer, Routes, held_to, own_sockets, routes, straight_to
from harness.environments.stack import Stack
from tests.driving.rows import recorder
from tests.requirements import skip_without

Connection = psycopg.AsyncConnection[tuple[object, ...]]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_v11_our_own_sockets_are_known(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)) as client:
        here = client.getsockname()[1]
        assert os.fstat(client.fileno()).st_ino in own_sockets()
        assert held_to(port) == {here: os.fstat(client.fileno()).st_ino}
        assert straight_to(port) == 1
        assert routes([Peer(here, "g0", "mine")], port) == Routes(frozenset(), ("mine",))
    assert held_to(port) == {}
    assert routes([Peer(here, "g0", "mine")], port) == Routes(frozenset(), ()), "what is closed says nothing"


def test_v11_what_a_process_of_ours_holds_is_ours(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)) as client:
        here, inode = client.getsockname()[1], os.fstat(client.fileno()).st_ino
        replica = subprocess.Popen(["sleep", "60"], pass_fds=[client.fileno()])
    try:
        assert inode not in own_sockets()
        assert routes([Peer(here, "g0", "theirs")], port) == Routes(frozenset({"g0"}), ())
        assert inode in own_sockets([replica.pid])
        assert straight_to(port, [replica.pid]) == 1
        assert routes([Peer(here, "g0", "theirs")], port, [replica.pid]) == Routes(frozenset(), ("theirs",))
    finally:
        replica.kill()
        replica.wait(5.0)
    assert inode not in own_sockets([replica.pid]), "it has ended"


def test_v11_a_unix_socket_leads_past_every_proxy(listener: socket.socket) -> None:
    assert routes([Peer(UNIX_SOCKET, "g0", "local")], listener.getsockname()[1]).past == ("local",)


async def test_v11_through_the_proxy_and_past_it(cell_env: CellEnvironment) -> None:
    assert cell_env.tells_routes
    async with await psycopg.AsyncConnection.connect(cell_env.conninfo("g0")):
        assert cell_env.backends()["g0"]
        assert cell_env.routes() == Routes(frozenset({"g0"}), ())
        straight = psycopg.conninfo.make_conninfo(
            cell_env.conninfo("g1"), host=cell_env.admin.host, port=cell_env.admin.port, application_name="hidden"
        )
        async with await psycopg.AsyncConnection.connect(straight):
            assert cell_env.backends()["g1"] == (), "it does not use the name of its group"
            (past,) = cell_env.routes().past
            assert "hidden" in past


async def test_v11_past_the_proxy_to_a_pooler(stack: Stack) -> None:
    skip_without(stack, Capability.PGBOUNCER_SESSION)
    async with stack.cell("pooled", groups=("g0",), pooler=Capability.PGBOUNCER_SESSION) as environment:
        assert environment.pooler is not None
        async with await psycopg.AsyncConnection.connect(environment.conninfo("g0")) as connection:
            await connection.execute("SELECT 1")  # a pooler connects when it must
            assert environment.backends()["g0"]
            assert environment.routes() == Routes(frozenset({"g0"}), ())
            counted = asyncio.ensure_future(environment.leftover_backends(("g0",)))
            seen: list[str] = []
            while not counted.done():
                await asyncio.sleep(0.002)
                seen += environment.routes().past
            assert await counted == {"g0": 1}
            assert not seen, "the harness' own look at the pooler is none of the strategy's connections"
            port = environment.pooler.upstream.rpartition(":")[2]
            straight = psycopg.conninfo.make_conninfo(environment.conninfo("g0"), port=port)
            async with await psycopg.AsyncConnection.connect(straight):
                assert environment.routes().past == ("connections straight to PgBouncer",)


@pytest.mark.slow
def test_v11_the_sampler_writes_what_is_new() -> None:
    record, rows = recorder()
    looks = iter([Routes(frozenset({"g0"}), ()), Routes(frozenset({"g0", "g1"}), ()), Routes(frozenset(), ("a",))])

    def look() -> Routes:
        return next(looks, Routes(frozenset(), ("a",)))

    sampler = Sampler(lambda: {"g0": (1,), "g1": (2,)}, record, RealClock(), look)
    sampler.start()
    time.sleep(2.6)
    sampler.stop()
    assert [op.value for op in rows.of("route")] == [
        {"through": ["g0"], "past": []},
        {"through": ["g0", "g1"], "past": []},
        {"through": ["g0", "g1"], "past": ["a"]},
    ]


@pytest.mark.slow
def test_v11_a_kernel_that_does_not_tell_is_asked_once() -> None:
    record, rows = recorder()

    def refuse() -> Routes:
        raise PermissionError("not yours")

    sampler = Sampler(lambda: {"g0": (1,)}, record, RealClock(), refuse)
    sampler.start()
    time.sleep(0.5)
    sampler.stop()
    assert [op.value for op in rows.of("route")] == [{"error": "PermissionError: not yours"}]
