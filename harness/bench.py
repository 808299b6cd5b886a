"""``nox -s bench``: what the harness itself costs, as ratios measured side by side. Prints one JSON object.

Machines are noisy, so every ratio is the median of interleaved pairs (base, candidate, base, candidate ...) with the
interval that holds the median with at least 95 % confidence (order statistics of the binomial distribution; no
assumption on the noise).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from harness.bench_judge import costs
from harness.core.agent import Turn
from harness.core.cell import DEFAULT_AGENTS, CellSpec, cell_id
from harness.core.pool import PoolStrategy
from harness.core.scenario import Bounds
from harness.core.verdict import Json
from harness.core.workload import Action
from harness.driving.caller import Caller
from harness.driving.database import GroupDatabase
from harness.driving.group import Group
from harness.driving.recorder import Recorder
from harness.driving.replica import builder_of
from harness.driving.stock import Stock
from harness.driving.traffic import CellTraffic
from harness.driving.watchdog import Watchdog
from harness.environments.cell import CellEnvironment
from harness.environments.stack import Stack
from harness.registry import default_registry, role_of
from harness.runner import GROUPS, pooler_of
from harness.slot import Slot
from harness.store import CellFolder, HistoryWriter, find_run, read_json

PAIRS = 20
#: Seconds of load in each half of a pair.
BLOCK_S = 0.8
USERS = 10
_Turn = Callable[[int, int], Awaitable[None]]

#: The cells whose cost is measured: without faults, so that nothing but the harness takes longer than scheduled.
SCENARIO, STRATEGY = "network/steady", "self_healing"


def interval(values: Sequence[float]) -> dict[str, Json]:
    """Median and a distribution-free interval of at least 95 %: ``{"median", "low", "high", "pairs"}``."""
    ranked = sorted(values)
    n, k = len(ranked), 0
    while k + 1 < n / 2 and 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n <= 0.05:
        k += 1
    low = max(0, k - 1)
    digits = 4
    return {
        "median": round(statistics.median(ranked), digits),
        "low": round(ranked[low], digits),
        "high": round(ranked[n - 1 - low], digits),
        "pairs": n,
    }


async def throughput_per_s(turn: _Turn, first: int) -> float:
    """Turns per second of ``USERS`` users in a closed loop for ``BLOCK_S``; ``first`` numbers their turns."""
    clock = asyncio.get_running_loop()
    began_s, done = clock.time(), 0

    async def user(number: int) -> None:
        nonlocal done
        n = first
        while clock.time() - began_s < BLOCK_S:
            await turn(number, n)
            done += 1
            n += 1

    await asyncio.gather(*(user(number) for number in range(USERS)))
    return done / (clock.time() - began_s)


async def ratios(base: _Turn, candidate: _Turn, pairs: int) -> list[float]:
    """candidate / base, ``pairs`` times, interleaved; which goes first alternates."""
    found = []
    for n in range(-1, pairs):  # one pair to warm up
        order = (base, candidate) if n % 2 else (candidate, base)
        speeds = {turn: await throughput_per_s(turn, 10_000 * (n + 2)) for turn in order}
        if n >= 0:
            found.append(speeds[candidate] / speeds[base])
    return found


def thread_of(user: int, arm: str) -> tuple[str, str]:
    """(agent, thread) of a user in one arm of a comparison."""
    agent = DEFAULT_AGENTS[user % len(DEFAULT_AGENTS)]
    return agent, f"{agent}.u{user}.{arm}"


async def bare_turns(env: CellEnvironment, recorder: Recorder, agents: Sequence[str]) -> tuple[_Turn, Any]:
    """Plain ``ainvoke`` on plain savers over one plain pool a group: what there is without Poolproof."""
    graphs, pools = {}, []
    registry = default_registry()
    for group in GROUPS:
        pool: Any = GroupDatabase(env.conninfo(group), 24, group, recorder).pool(min_size=4, max_size=4)
        await pool.open()
        pools.append(pool)
        for name in agents:
            graphs[group, name] = builder_of(registry.agent(name)).compile(checkpointer=AsyncPostgresSaver(pool))
    inputs = {name: registry.agent(name) for name in agents}

    async def turn(user: int, n: int) -> None:
        agent, thread = thread_of(user, "0")
        graph = graphs[GROUPS[n % len(GROUPS)], agent]
        given = inputs[agent].turn_input(Turn(f"{thread}/t{n}", thread, "hello"))
        await graph.ainvoke(given, {"configurable": {"thread_id": thread}}, durability="async")

    async def close() -> None:
        for pool in pools:
            await pool.close()

    return turn, close


async def harness_turns(
    env: CellEnvironment, strategy: type[PoolStrategy], sink: HistoryWriter, arm: str
) -> tuple[_Turn, Any]:
    """The same turns as the runner makes them: recorded, watched, through the strategy's ``serve``."""
    registry = default_registry()
    agents = {name: partial(registry.agent, name) for name in DEFAULT_AGENTS}
    recorder = Recorder(sink, env.clock)
    groups = {}
    for name in GROUPS:
        database = GroupDatabase(env.conninfo(name), 24, name, recorder)
        groups[name] = Group.made(database, strategy, Stock().take(agents), recorder)
        await groups[name].open()
    watchdog = Watchdog(recorder, env.clock, slow_s=2, fail_s=12, give_up=sys.exit)
    caller = Caller(
        groups,
        bounds=Bounds(deadline_s=20.0),
        durability="async",
        recorder=recorder,
        traffic=CellTraffic(tuple(groups.values())),
        watchdog=watchdog,
    )

    async def turn(user: int, n: int) -> None:
        agent, thread = thread_of(user, arm)
        what = Turn(f"{thread}/t{n}", thread, "hello")
        group = GROUPS[n % len(GROUPS)]
        outcome = await caller.call(f"u{user}", Action(think_s=0.0, kind="turn", agent=agent, group=group, turn=what))
        if outcome.status != "ok":
            raise RuntimeError(f"{strategy.name} did not answer {what.id} although nothing is wrong")

    async def close() -> None:
        for group in groups.values():
            await group.close()

    return turn, close


class Plain(PoolStrategy):
    """A pool as the documentation shows it: the base of the comparison between strategies."""

    name = "plain_pool"

    async def open(self) -> None:
        """Open one pool for the group."""
        self._pool = self.database.pool(min_size=4, max_size=4)
        await self._pool.open()

    async def close(self) -> None:
        """Close it."""
        await self._pool.close()

    async def checkpointer(self, agent: Any) -> Any:
        """A saver of its own for each agent."""
        return AsyncPostgresSaver(self._pool)


async def compare(stack: Stack, folder: Path, strategy: type[PoolStrategy] | None, pairs: int) -> dict[str, Json]:
    """A candidate over the plain pool, both in the harness; None: the harness over the bare loop, both on a plain
    pool.
    """
    sink = HistoryWriter(folder / f"{strategy.name if strategy else 'harness'}.jsonl", {})
    try:
        async with stack.cell("bench", groups=GROUPS, pooler=None) as plain_env:
            if strategy is None:
                base, close_base = await bare_turns(plain_env, Recorder(sink, plain_env.clock), DEFAULT_AGENTS)
                other, close_other = await harness_turns(plain_env, Plain, sink, "1")
                found = await ratios(base, other, pairs)
            else:
                async with stack.cell("bench2", groups=GROUPS, pooler=pooler_of(strategy)) as env:
                    base, close_base = await harness_turns(plain_env, Plain, sink, "0")
                    other, close_other = await harness_turns(env, strategy, sink, "1")
                    found = await ratios(base, other, pairs)
                    await close_other()
                await close_base()
                return interval(found)
            await close_other()
            await close_base()
            return interval(found)
    finally:
        sink.close()


def fixed_cost_s(folder: Path, cells: int) -> dict[str, Json]:
    """What a cell takes beyond its schedule on a warm stack, over ``cells`` cells; the first one warms up."""
    spec = CellSpec(
        id=cell_id(SCENARIO, STRATEGY, "async", 0),
        scenario=SCENARIO,
        strategy=STRATEGY,
    )
    slot = Slot.start("auto", note=lambda text: print(text, file=sys.stderr))
    values = []
    try:
        for n in range(cells + 1):
            place = CellFolder(folder / str(n))
            place.logs.mkdir(parents=True)
            began_s = time.monotonic()
            result = slot.run(replace(spec, seed=n), place)
            if n:
                values.append(time.monotonic() - began_s - result.scheduled_s)
    finally:
        slot.close()
    return interval(values)


def matrix_share(run: str) -> dict[str, Json]:
    """Wall time of a finished run over the sum of what its cells schedule."""
    summary = read_json(find_run(run) / "summary.json")
    cells = summary["cells"]
    assert isinstance(cells, list)
    scheduled_s = sum(float(str(cell["scheduled_s"])) for cell in cells if isinstance(cell, dict))
    wall_s = float(str(summary["wall_s"]))
    return {
        "run": str(find_run(run)),
        "cells": len(cells),
        "wall_s": round(wall_s, 1),
        "scheduled_s": round(scheduled_s, 1),
        "ratio": round(wall_s / scheduled_s, 4),
    }


def measure(pairs: int, run: str | None, only: Sequence[str]) -> dict[str, Json]:
    """Everything, in the order in which it is printed."""
    found: dict[str, Json] = {}
    if not only or "judge" in only:
        found["judge"] = costs()
    if set(only) == {"judge"}:
        return found
    with tempfile.TemporaryDirectory(prefix="poolproof-bench-") as scratch:
        folder = Path(scratch)
        if not only or "fixed_cost_s" in only:
            found["fixed_cost_s"] = fixed_cost_s(folder / "cells", pairs)
        stack = Stack.open(note=lambda text: print(text, file=sys.stderr))
        try:
            if not only or "harness_over_bare_loop" in only:
                found["harness_over_bare_loop"] = asyncio.run(compare(stack, folder, None, pairs))
            speeds: dict[str, Json] = {}
            for name, strategy in default_registry().strategies.items():
                if role_of(strategy) == "candidate" and (not only or name in only):
                    speeds[name] = asyncio.run(compare(stack, folder, strategy, pairs))
                    print(f"{name}: {speeds[name]}", file=sys.stderr, flush=True)
            found["strategy_over_plain_pool"] = speeds
        finally:
            stack.close()
    if run is not None:
        found["matrix_wall_over_scheduled"] = matrix_share(run)
    return found


def main() -> None:
    """``python -m harness.bench [--pairs N] [--run RUN] [--only NAME]...``."""
    parser = argparse.ArgumentParser(prog="python -m harness.bench", description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--run", help="a finished run of the default matrix: adds its wall time over its schedule")
    only = "judge, fixed_cost_s, harness_over_bare_loop, a strategy"
    parser.add_argument("--only", action="append", default=[], help=only)
    given = parser.parse_args()
    print(json.dumps(measure(given.pairs, given.run, given.only), indent=1))


if __name__ == "__main__":
    main()
