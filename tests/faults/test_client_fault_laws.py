"""Every fault of clients and of the service, on real calls, a real pool and a real Postgres: visible inside its window,
gone after it, gone after a cancellation inside it.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg
import pytest

from harness.core.errors import UsageError
from harness.core.fault import Fault, Window, check_plan
from harness.core.history import OpType
from harness.core.scenario import Bounds
from harness.driving.caller import Caller
from harness.driving.client import CellClient
from harness.driving.database import GroupDatabase
from harness.driving.group import Group
from harness.driving.replica import Replica
from harness.driving.traffic import CellTraffic
from harness.driving.watchdog import Watchdog
from harness.environments.cell import CellEnvironment
from harness.faults.client_gone import ClientGone
from harness.faults.client_gone_twice import ClientGoneTwice
from harness.faults.loop_stall import LoopStall
from harness.faults.service_timeout import ServiceTimeout
from harness.faults.setup_herd import TABLES, SetupHerd
from harness.pools.self_healing import SelfHealing
from tests.driving.rows import Rows, recorder
from tests.driving.small_agent import SmallAgent, action
from tests.faults.cancelling import cancelled_inside

pytestmark = pytest.mark.slow

CUTS: tuple[Fault, ...] = (
    ClientGone(share=1.0, awaits=12),
    ClientGoneTwice(share=1.0, awaits=12),
    ServiceTimeout(share=1.0, timeout_ms=3),
)

#: More than any window here is long: those that are left come after it, unless its end ends them.
STALLS = 20
#: The watchdog tells a stall that was under way so long after it.
TOLD_WITHIN_S = 0.2

FAULTS: tuple[Fault, ...] = (*CUTS, LoopStall(stall_ms=400, times=STALLS, pause_ms=100), SetupHerd())


class Second(SmallAgent):
    """There is one saver for each agent; this one and the next are there for the herd."""

    name = "Second"


class Third(SmallAgent):
    name = "Third"


AGENTS = (SmallAgent, Second, Third)


@dataclass
class Driven:
    """Three replicas of a small agent, of which the first is really called, each with a saver on one healed pool."""

    env: CellEnvironment
    rows: Rows
    group: Group
    caller: Caller
    sent: int = 0

    async def call(self, n: int | None = None) -> str:
        """How a turn ended; a new one unless ``n`` says which."""
        self.sent += n is None
        return (await self.caller.call("u0", action(n=self.sent if n is None else n))).status

    def ends(self, key: str) -> int:
        """How many calls ended with this in their row."""
        return sum(key in op.value for op in self.rows.of("turn") if op.type is not OpType.INVOKE)

    def stalls_s(self) -> float:
        """For how long the loop is said to have stood still by order."""
        return sum(float(str(op.value.get("ordered_s", 0))) for op in self.rows.of("stall"))


@asynccontextmanager
async def driven(env: CellEnvironment) -> AsyncIterator[Driven]:
    record, rows = recorder()
    database = GroupDatabase(env.conninfo("g0"), 24, "g0", record)
    group = Group("g0", SelfHealing(database), database, [Replica(made(), "g0", record) for made in AGENTS], record)
    watchdog = Watchdog(record, record.clock, slow_s=2.0, fail_s=12.0, give_up=lambda _: None)
    traffic = CellTraffic([group])
    traffic.called_by(CellClient([group], watchdog, seed=1))
    env.traffic = traffic
    caller = Caller(
        {"g0": group}, bounds=Bounds(), durability="async", recorder=record, traffic=traffic, watchdog=watchdog
    )
    watchdog.start()
    await group.open()
    try:
        yield Driven(env, rows, group, caller)
    finally:
        await group.close()
        await watchdog.stop()


async def schema(env: CellEnvironment) -> tuple[int, int]:
    """Whole indexes of the saver's tables, and versions recorded."""
    async with await psycopg.AsyncConnection.connect(env.admin.conninfo(), autocommit=True) as connection:
        found = await connection.execute(
            "SELECT (SELECT count(*) FROM pg_index WHERE indisvalid AND indexrelid::regclass::text = ANY(%s)), "
            "(SELECT count(*) FROM checkpoint_migrations)",
            ([f"{table}_thread_id_idx" for table in TABLES],),
        )
        row = await found.fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


async def assert_well(it: Driven) -> None:
    """Nothing is cut, nothing stands still, the schema is whole, and the pool has all its connections."""
    cut, stood_s = it.ends("cancelled"), it.stalls_s()
    for _ in range(5):
        assert await it.call() == "ok"
    await asyncio.sleep(0.3)
    assert (it.ends("cancelled"), it.stalls_s()) == (cut, stood_s)
    assert await schema(it.env) == (len(TABLES), 10)
    stats = it.group.strategy.stats()
    assert stats["pool_available"] == stats["pool_size"]


async def assert_felt(fault: Fault, it: Driven) -> None:
    """What a window of ``fault`` shows while it is open."""
    if fault in CUTS:
        assert [await it.call() for _ in range(6)].count("info") >= 3
        assert it.ends("cancelled") >= 3
    elif isinstance(fault, LoopStall):
        began_s = asyncio.get_running_loop().time()
        for _ in range(3):
            assert await it.call() == "ok"
        await asyncio.sleep(0.8)
        assert asyncio.get_running_loop().time() - began_s > 0.4
        assert it.stalls_s() > 0.6, "two of them at least, as the watchdog saw them"
    else:
        await asyncio.sleep(1.0)
        assert [op.type for op in it.rows.of("setup")[: len(AGENTS)]] == [OpType.INVOKE] * len(AGENTS), "side by side"
        assert {op.value["agent"] for op in it.rows.of("setup", OpType.INVOKE)} == {agent.name for agent in AGENTS}
        assert await it.call() == "ok"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.kind)
async def test_it_is_felt_inside_its_window_and_gone_after_it(fault: Fault, cell_env: CellEnvironment) -> None:
    async with driven(cell_env) as it:
        await assert_well(it)
        async with fault.active(cell_env) as witness:
            assert witness.change
            await assert_felt(fault, it)
        if fault in CUTS:
            assert int(str(witness.change["cut"])) >= 3
        if isinstance(fault, LoopStall):
            assert 2 <= int(str(witness.change["stalls"])) < STALLS / 2, "the window ended them"
            await asyncio.sleep(TOLD_WITHIN_S)
        await assert_well(it)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.kind)
async def test_it_is_gone_after_a_cancellation_inside_its_window(fault: Fault, cell_env: CellEnvironment) -> None:
    async with driven(cell_env) as it:
        witness = await cancelled_inside(fault, cell_env)
        if isinstance(fault, LoopStall):
            await asyncio.sleep(TOLD_WITHIN_S)
            assert witness.change["stalls"] == 1
            assert it.stalls_s() < 0.8
        await assert_well(it)


@pytest.mark.parametrize("fault", CUTS[:2], ids=lambda fault: fault.kind)
async def test_a_turn_whose_client_went_is_stored_once_when_it_is_repeated(
    fault: Fault, cell_env: CellEnvironment
) -> None:
    async with driven(cell_env) as it:
        async with fault.active(cell_env):
            for _ in range(8):
                await it.call()
        for n in range(1, it.sent + 1):
            again = dataclasses.replace(action(n=n), attempt=2)
            assert (await it.caller.call("u0", again)).status == "ok"
        (last,) = it.rows.of("turn", OpType.OK)[-1:]
        turns = last.value["turns"]
        assert isinstance(turns, list)
        assert sorted(map(str, turns)) == sorted(f"SmallAgent.u0.0/t{n}" for n in range(1, it.sent + 1))


async def test_the_herd_puts_the_schema_back_first_and_counts_who_failed(cell_env: CellEnvironment) -> None:
    async with driven(cell_env) as it:
        async with SetupHerd().active(cell_env) as witness:
            assert witness.change["indexes_before"] == 0
        assert witness.change["setups"] == len(AGENTS)
        assert witness.change["failed"] == len(it.rows.of("setup", OpType.INFO))
        assert await schema(it.env) == (len(TABLES), 10)
        async with SetupHerd(newer=False).active(cell_env) as witness:
            assert witness.change["indexes_before"] == len(TABLES)
        await assert_well(it)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ClientGone(share=0.0),
        lambda: ClientGone(awaits=0),
        lambda: ClientGoneTwice(again=0),
        lambda: ServiceTimeout(timeout_ms=0),
        lambda: LoopStall(stall_ms=10),
        lambda: LoopStall(pause_ms=0),
        lambda: LoopStall(times=0),
    ],
)
def test_values_that_make_no_sense_are_refused(make: Callable[[], Fault]) -> None:
    with pytest.raises(UsageError, match="allowed"):
        make()


def test_two_orders_at_a_time_are_refused() -> None:
    with pytest.raises(UsageError, match="what cuts calls short"):
        check_plan((Window(ClientGone(), 0.0, 2.0), Window(ServiceTimeout(), 1.0, 3.0)))
