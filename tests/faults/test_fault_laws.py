"""Every fault, on the real proxy: visible inside its window, gone after it, gone after a cancellation inside it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from harness.core.environment import Client
from harness.core.errors import MissingComponent
from harness.core.fault import Fault, fault_to_json
from harness.environments.cell import CellEnvironment
from harness.faults.answers_lost import AnswersLost
from harness.faults.bandwidth import Bandwidth
from harness.faults.black_hole import BlackHole
from harness.faults.flapping import Flapping
from harness.faults.health_check_herd import HealthCheckHerd
from harness.faults.idle_cut import IdleCut
from harness.faults.latency import Latency
from harness.faults.limit_data import LimitData
from harness.faults.proxy_down import ProxyDown
from harness.faults.recreate import Recreate
from harness.faults.reset_peer import ResetPeer
from harness.faults.slicer import Slicer
from harness.faults.slow_close import SlowClose, half_closed
from harness.faults.timeout import Timeout
from tests.faults.cancelling import cancelled_inside

#: What a connection that was open before the fault sees of it within a second: an error or a stall.
BREAKS: Sequence[Fault] = (
    ResetPeer(),
    BlackHole(stream="downstream"),
    BlackHole(stream="upstream"),
    Timeout(timeout_ms=200),
    LimitData(limit_bytes=20),
    ProxyDown(),
    AnswersLost(hole_ms=200, period_ms=201),
    Flapping(down_ms=300, up_ms=1),
)
DELAYS: Sequence[Fault] = (
    Latency(latency_ms=300),
    Latency(latency_ms=300, stream="upstream"),
    Bandwidth(rate_kb_per_s=100),
    Slicer(average_size_bytes=8, delay_us=50_000),
)

ORDERS: Sequence[Fault] = (Recreate(times=2), HealthCheckHerd(callers=7), IdleCut(), SlowClose())


class RecordedTraffic:
    """Stands for the runner's view of the load: it counts orders and shows the state that it is told to."""

    def __init__(self) -> None:
        self.recreated: list[str] = []
        self.checked: list[str] = []
        self.open = 4
        self.queued = 1
        self.held = False

    groups = ("g0", "g1")

    def in_flight(self) -> int:
        return self.open

    def waiters(self, group: str) -> int:
        return self.queued

    def saver_waiters(self, group: str) -> int:
        return 0

    async def recreate(self, group: str) -> None:
        self.recreated.append(group)

    async def ensure_healthy(self, group: str) -> None:
        self.checked.append(group)
        await asyncio.sleep(0.01)

    def pause(self, paused: bool) -> None:
        self.held = paused
        self.open = 0 if paused else 4

    @property
    def client(self) -> Client:
        raise MissingComponent("nobody calls here", "use a cell")


async def connect(env: CellEnvironment) -> psycopg.AsyncConnection[Any]:
    return await psycopg.AsyncConnection.connect(env.conninfo("g0"), autocommit=True)


async def query_ms(connection: psycopg.AsyncConnection[Any], size: int = 1) -> float | None:
    """How long one query takes in milliseconds; None if it breaks or does not end within a second."""
    began_s = time.monotonic()
    task = asyncio.ensure_future(connection.execute("SELECT %s", ("x" * size,)))
    done, _ = await asyncio.wait({task}, timeout=1.0)
    if not done:
        task.cancel()
        await asyncio.wait({task}, timeout=0.25)
        task.cancel()
        await asyncio.wait({task}, timeout=5.0)
        return None
    return None if task.exception() else (time.monotonic() - began_s) * 1000


async def assert_healed(env: CellEnvironment) -> None:
    """No toxic stands, the port is open, and a new connection is served at once."""
    assert await env.proxy.toxics() == ()
    connection = await connect(env)
    took_ms = await query_ms(connection)
    await connection.close()
    assert took_ms is not None
    assert took_ms < 200


def name_of(fault: Fault) -> str:
    return "-".join(str(value) for value in fault_to_json(fault).values())


@pytest.mark.slow
@pytest.mark.parametrize("fault", BREAKS, ids=name_of)
async def test_a_breaking_fault_breaks_inside_its_window_and_heals_after_it(
    fault: Fault, cell_env: CellEnvironment
) -> None:
    connection = await connect(cell_env)
    assert await query_ms(connection) is not None
    async with fault.active(cell_env) as witness:
        assert witness.change
        assert await query_ms(connection) is None
    await connection.close()
    await assert_healed(cell_env)


@pytest.mark.slow
@pytest.mark.parametrize("fault", DELAYS, ids=name_of)
async def test_a_delaying_fault_delays_inside_its_window_and_heals_after_it(
    fault: Fault, cell_env: CellEnvironment
) -> None:
    connection = await connect(cell_env)
    before_ms = await query_ms(connection, size=20_000)
    assert before_ms is not None
    async with fault.active(cell_env) as witness:
        assert witness.change
        size = 20_000 if isinstance(fault, Bandwidth) else 10
        inside_ms = await query_ms(connection, size=size)
    assert inside_ms is not None
    assert inside_ms > before_ms + max(0.8 * fault.delay_ms, 50)
    assert await query_ms(connection) is not None, "a delaying fault leaves connections alone"
    await connection.close()
    await assert_healed(cell_env)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [*BREAKS, *DELAYS, *ORDERS], ids=name_of)
async def test_a_cancellation_inside_the_window_heals_as_well(fault: Fault, cell_env: CellEnvironment) -> None:
    traffic = cell_env.traffic = RecordedTraffic()
    await cancelled_inside(fault, cell_env)
    assert not traffic.held, "users go on"
    ordered = (len(traffic.recreated), len(traffic.checked))
    await assert_healed(cell_env)
    await asyncio.sleep(0.1)
    assert (len(traffic.recreated), len(traffic.checked)) == ordered, "no order comes any more"


async def test_recreate_orders_every_group_as_often_as_it_says(cell_env: CellEnvironment) -> None:
    traffic = cell_env.traffic = RecordedTraffic()
    async with Recreate(times=3).active(cell_env) as witness:
        assert witness.change == {"ordered": 6}
    await asyncio.sleep(0.05)  # none comes any more
    assert sorted(traffic.recreated) == ["g0"] * 3 + ["g1"] * 3


@pytest.mark.slow
async def test_recreate_waits_for_its_moment_but_not_for_ever(cell_env: CellEnvironment) -> None:
    traffic = cell_env.traffic = RecordedTraffic()
    traffic.queued = 0
    began_s = time.monotonic()
    async with Recreate(wait_ms=400).active(cell_env):
        pass
    assert 0.3 < time.monotonic() - began_s < 2
    assert sorted(traffic.recreated) == ["g0", "g1"], "ordered all the same; the judge says that nothing waited"


async def test_the_herd_checks_side_by_side(cell_env: CellEnvironment) -> None:
    traffic = cell_env.traffic = RecordedTraffic()
    began_s = time.monotonic()
    async with HealthCheckHerd(callers=40).active(cell_env):
        assert len(traffic.checked) == 80
    assert time.monotonic() - began_s < 0.4, "80 checks of 10 ms, one after the other, would take 0.8 s"
    await asyncio.sleep(0.05)
    assert len(traffic.checked) == 80, "none comes any more"


@pytest.mark.slow
async def test_idle_cut_holds_users_back_and_cuts_idle_connections(cell_env: CellEnvironment) -> None:
    traffic = cell_env.traffic = RecordedTraffic()

    def held() -> bool:
        return traffic.held

    connection = await connect(cell_env)
    assert await query_ms(connection) is not None
    async with IdleCut().active(cell_env):
        assert held()
        assert await query_ms(connection) is None
        again = await connect(cell_env)
        assert await query_ms(again) is not None, "the database is there again at once"
        await again.close()
    assert not held()
    await connection.close()


@pytest.mark.slow
async def test_slow_close_keeps_the_socket_of_a_closed_connection(cell_env: CellEnvironment) -> None:
    cell_env.traffic = RecordedTraffic()
    port = cell_env.endpoint.port
    plain = await connect(cell_env)
    await plain.close()
    await asyncio.sleep(0.2)
    assert not half_closed(port), "without the fault nothing lingers"
    async with SlowClose(delay_ms_each=1000).active(cell_env) as witness:
        connection = await connect(cell_env)
        await connection.close()
        await asyncio.sleep(0.3)
        assert half_closed(port) == 1
        await asyncio.sleep(1.2)
        assert not half_closed(port)
        assert witness.change["lingering_sockets"] == 1
    after = await connect(cell_env)
    await after.close()
    await asyncio.sleep(0.2)
    assert not half_closed(port)
