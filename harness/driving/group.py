"""A replica group: one strategy object, its own database (budget, application_name), one replica of each agent.

Every call of the strategy is recorded and bounded. What it raises is a finding about the strategy, never our error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from harness.core.history import OpType
from harness.core.pool import PoolStrategy
from harness.core.verdict import Json
from harness.driving.database import GroupDatabase
from harness.driving.exceptions import describe
from harness.driving.recorder import Recorder
from harness.driving.replica import Made, Replica

#: No strategy call may take longer than this, in seconds; what a call of a user may take is the scenario's business.
OPEN_LIMIT_S = 20.0
CLOSE_LIMIT_S = 30.0
ORDER_LIMIT_S = 30.0
HEALTH_PERIOD_S = 0.5
_CANCEL_LIMIT_S = 15.0


class StrategyBroken(Exception):
    """The strategy could not even begin: it raised, hung, or gave no saver. The cell is FAIL with this reason."""


class Group:
    """One replica group. ``strategy`` lives on the loop that called :meth:`open`."""

    def __init__(
        self,
        name: str,
        strategy: PoolStrategy,
        database: GroupDatabase,
        replicas: Sequence[Replica],
        recorder: Recorder,
    ) -> None:
        self.name = name
        self.strategy = strategy
        self.database = database
        self.replicas: Mapping[str, Replica] = {replica.name: replica for replica in replicas}
        self._recorder = recorder
        self._checking = False

    @classmethod
    def made(
        cls,
        database: GroupDatabase,
        strategy: type[PoolStrategy],
        agents: Iterable[Made],
        recorder: Recorder,
    ) -> Group:
        """The group that ``database`` is for, with a fresh strategy. ``agents`` are instances of its own, each with its
        graph, which nothing else uses (``Stock.take``). Raises StrategyBroken, also for what ``agents`` raises.
        """
        name = database.group
        try:
            replicas = [Replica(agent, name, recorder, graph) for agent, graph in agents]
            return cls(name, strategy(database), database, replicas, recorder)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            raise StrategyBroken(f"strategy or agents of group {name} could not be made: {text}") from error

    async def open(self) -> None:
        """Open the strategy and start every agent; raises StrategyBroken with the reason."""
        await self._begin("open", {}, self.strategy.open)
        for replica in self.replicas.values():

            async def start(replica: Replica = replica) -> None:
                saver = await self.strategy.checkpointer(replica)
                if saver is None:
                    raise StrategyBroken("checkpointer() returned None; allowed: a BaseCheckpointSaver")
                replica.checkpointer = saver

            await self._begin("checkpointer", {"agent": replica.name}, start)

    async def _begin(self, f: str, value: Mapping[str, Json], step: Callable[[], Awaitable[None]]) -> None:
        error = await self._call(f, value, step, OPEN_LIMIT_S)
        if error is not None:
            text = f"{type(error).__name__}: {error}" if not isinstance(error, StrategyBroken) else str(error)
            raise StrategyBroken(f"strategy {self.strategy.name!r} failed in {f} of group {self.name}: {text}")

    async def close(self) -> None:
        """Close the strategy; what it raises, or that it hung, stands in the history."""
        await self._call("close", {}, self.strategy.close, CLOSE_LIMIT_S)

    async def ensure_healthy(self) -> None:
        """The timer's health check: never two at once."""
        if not self._checking:
            self._checking = True
            try:
                await self._call("ensure_healthy", {}, self.strategy.ensure_healthy, ORDER_LIMIT_S)
            finally:
                self._checking = False

    async def keep_checking(self) -> None:
        """The health check that the post runs on a timer, and the strategy's own numbers, until it is cancelled."""
        while True:
            await self._recorder.clock.sleep(HEALTH_PERIOD_S)
            await self.ensure_healthy()
            self.sample()

    async def order_health_check(self) -> None:
        """A scenario's health check: any number side by side."""
        await self._call("ensure_healthy", {"ordered": True}, self.strategy.ensure_healthy, ORDER_LIMIT_S)

    async def order_recreate(self, value: Mapping[str, Json]) -> None:
        """A scenario's re-creation."""
        await self._call("recreate", {"ordered": True, **value}, self.strategy.recreate, ORDER_LIMIT_S)

    async def order_set_ups(self) -> list[BaseException | None]:
        """A scenario's herd: ``setup()`` of every replica's saver, side by side. Savers that have none are left out."""
        savers: list[tuple[str, Any]] = [(replica.name, replica.checkpointer) for replica in self.replicas.values()]
        return await asyncio.gather(
            *(
                self._call("setup", {"agent": name, "ordered": True}, saver.setup, ORDER_LIMIT_S)
                for name, saver in savers
                if hasattr(saver, "setup")
            )
        )

    def sample(self) -> None:
        """Record the strategy's own numbers."""
        try:
            stats: dict[str, Json] = {str(key): int(number) for key, number in self.strategy.stats().items()}
        except Exception as error:  # noqa: BLE001 - the strategy's own code
            stats = {"error": f"{type(error).__name__}: {error}"}
        self._recorder.point("stats", self.name, stats)

    def waiters(self) -> int:
        """Requests queued for a connection in the group's instrumented pools."""
        return self.database.waiters()

    def saver_waiters(self) -> int:
        """Saver calls queued behind another call of the same saver."""
        return sum(replica.queued for replica in self.replicas.values())

    async def _call(
        self, f: str, value: Mapping[str, Json], step: Callable[[], Awaitable[None]], limit_s: float
    ) -> BaseException | None:
        """Run one strategy call, recorded, with a bound that really ends."""
        row = self._recorder.invoke(f, self.name, value)
        task = asyncio.ensure_future(_run(step))
        try:
            await asyncio.wait({task}, timeout=limit_s)
        finally:
            ended = await cancel_hard(task)
        error: BaseException | None
        if not ended:
            error = TimeoutError(f"{f} did not end within {limit_s:g} s, not even when it was cancelled")
        elif task.cancelled():
            error = TimeoutError(f"{f} took longer than {limit_s:g} s")
        else:
            error = task.exception()
        if error is None:
            self._recorder.complete(row, OpType.OK)
        else:
            self._recorder.complete(row, OpType.INFO, error=describe(error, self.strategy.errors))
        return error


async def _run(step: Callable[[], Awaitable[None]]) -> None:
    await step()


async def cancel_hard(task: asyncio.Task[object] | asyncio.Future[object], limit_s: float = _CANCEL_LIMIT_S) -> bool:
    """Cancel until it ends, every 0.25 s; false if it would not end within ``limit_s``."""
    for _ in range(int(limit_s / 0.25)):
        if task.done():
            break
        task.cancel()
        await asyncio.wait({task}, timeout=0.25)
    if task.done() and not task.cancelled():
        task.exception()
    return task.done()
