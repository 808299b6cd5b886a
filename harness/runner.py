"""Runs one cell: provision, gate, drive under the fault plan, heal and converge, final reads, tear down.

The experiment itself; everything that it needs to know arrives as objects. What it leaves behind is the history
(through the sink) and the facts; judging is somebody else's work.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from harness.core.agent import AgentUnderTest
from harness.core.cell import CellSpec
from harness.core.environment import Capability
from harness.core.errors import ComponentError, HealError
from harness.core.facts import Facts
from harness.core.fault import FaultPlan, Window, fault_to_json
from harness.core.history import OpType
from harness.core.pool import PoolStrategy
from harness.core.redaction import redacted_bytes
from harness.core.scenario import IDLE_PLAN_S, SLOW_FACTOR, Layout, Scenario
from harness.core.verdict import Json
from harness.core.workload import Outcome, User
from harness.driving.background import background
from harness.driving.caller import Caller
from harness.driving.client import CellClient
from harness.driving.database import GroupDatabase
from harness.driving.distant_caller import DistantCaller
from harness.driving.exceptions import describe
from harness.driving.final_reads import final_reads
from harness.driving.group import Group, StrategyBroken
from harness.driving.nursery import Nursery
from harness.driving.recorder import Recorder, Sink
from harness.driving.replica_process import Company, live
from harness.driving.replicas import ReplicaGroup, Replicas
from harness.driving.sampler import Sampler
from harness.driving.stock import Stock
from harness.driving.traffic import CellTraffic
from harness.driving.watchdog import Watchdog
from harness.environments.capacity import check_room
from harness.environments.cell import CellEnvironment
from harness.environments.stack import Stack

GROUPS = ("g0", "g1")
SUPERVISE_PERIOD_S = 0.1
#: The gate waits this long in all for every agent and every kind of call to succeed once.
GATE_LIMIT_S = 8.0
#: A window waits this long for its calls in flight.
IN_FLIGHT_LIMIT_S = 3.0
#: Nothing may fail for this long before a cell counts as converged.
CALM_S = 1.0
#: After the strategies are closed, backends have this long to go, besides the longest delay of the plan.
LEFTOVER_LIMIT_S = 2.0
#: How much of a component's log is kept with the cell.
LOG_TAIL_BYTES = 100_000
_POLL_S = 0.02
#: Who thinks looks this often whether the cell has ended.
_NAP_S = 0.05
_POOLERS = frozenset({Capability.PGBOUNCER_SESSION, Capability.PGBOUNCER_TRANSACTION})


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A cell with every name resolved. ``agents`` maps each agent's name to what makes a fresh instance of it; those
    that are in ``stock`` need not be made any more.
    """

    spec: CellSpec
    scenario: Scenario
    strategy: type[PoolStrategy]
    agents: Mapping[str, Callable[[], AgentUnderTest]]
    plan: FaultPlan
    stock: Stock = field(default_factory=Stock)


def needs_of(scenario: Scenario, plan: FaultPlan) -> frozenset[Capability]:
    """What a scenario and the faults of its plan need of the environment."""
    return scenario.needs.union(*(window.fault.needs for window in plan))


def pooler_of(strategy: type[PoolStrategy]) -> Capability | None:
    """The pooler that a strategy asks for, if any."""
    return next(iter(strategy.needs & _POOLERS), None)


def nursery_of(job: Job) -> Nursery | None:
    """What the cell's replica processes are forked from, where it needs them; to be closed by the caller.

    Main thread only, before there is an event loop, a thread or an open connection.
    """
    if Capability.REPLICA_PROCESS not in needs_of(job.scenario, job.plan):
        return None
    bounds, durability = job.scenario.bounds, job.spec.durability
    company = Company(strategy=job.strategy, agents=job.agents, stock=job.stock, bounds=bounds, durability=durability)
    return Nursery.fork(partial(live, company))


async def run_cell(
    job: Job,
    stack: Stack,
    sink: Sink,
    *,
    give_up: Callable[[str], None],
    logs: Path | None = None,
    nursery: Nursery | None = None,
) -> Facts:
    """Run ``job`` on ``stack``. ``give_up(reason)`` is called, on another thread, if the event loop died; it must end
    the process. With a ``nursery`` the replica groups are processes of their own.

    Raises ComponentError only if the environment could not be provisioned; everything later stands in the history.
    """
    async with AsyncExitStack() as scope:
        needs = needs_of(job.scenario, job.plan)
        pooler, settings = pooler_of(job.strategy), job.strategy.pooler
        cell = stack.cell(job.spec.id, groups=GROUPS, pooler=pooler, settings=settings, needs=needs)
        env = await scope.enter_async_context(cell)
        if logs is not None:
            scope.callback(_keep_logs, env.logs, logs)
        await check_room(env.admin, len(GROUPS), job.scenario.bounds.budget)
        recorder = Recorder(sink, env.clock)
        recorder.point("phase", "runner", {"name": "provision"})
        try:
            run = _CellRun(job, env, recorder, give_up, nursery)
        except StrategyBroken as broken:
            recorder.point("harness_error", "runner", {"kind": "strategy", "text": str(broken)})
            return Facts()
        with background(recorder):
            facts = await run.execute()
        recorder.point("phase", "runner", {"name": "end"})
        return facts


def _keep_logs(logs: Mapping[str, Path], folder: Path) -> None:
    """The end of each component's log goes beside the cell's records: the stack's own folder does not outlive it."""
    for name, path in logs.items():
        try:
            text = redacted_bytes(path.read_bytes())[-LOG_TAIL_BYTES:]
        except OSError as error:
            text = f"{error}\n".encode()
        (folder / f"{name}.log").write_bytes(text)


class _CellRun:
    """The stages of one cell, in order."""

    def __init__(
        self,
        job: Job,
        env: CellEnvironment,
        recorder: Recorder,
        give_up: Callable[[str], None],
        nursery: Nursery | None,
    ) -> None:
        self.job = job
        self.env = env
        self.recorder = recorder
        self.clock = env.clock
        self.bounds = job.scenario.bounds
        self.stopping = threading.Event()  # users of the second thread read it too
        self.replicas = None if nursery is None else self._replicas(nursery)
        here = {name: self._group(name) for name in GROUPS} if self.replicas is None else {}
        self.groups: Mapping[str, Group | ReplicaGroup] = here if self.replicas is None else self.replicas.groups
        self.traffic = CellTraffic(tuple(self.groups.values()), behind_pooler=pooler_of(job.strategy) is not None)
        env.traffic = self.traffic
        self.watchdog = Watchdog(
            recorder,
            env.clock,
            slow_s=self.bounds.hang_slow_s,
            fail_s=self.bounds.hang_fail_s,
            give_up=self._dead_loop(give_up),
        )
        self.sampler = Sampler(env.backends, recorder, env.clock, env.routes if env.tells_routes else None)
        if self.replicas is None:
            self.traffic.called_by(CellClient(tuple(here.values()), self.watchdog, job.spec.seed))
        self.caller = self._caller(here)

    def _caller(self, here: Mapping[str, Group]) -> Caller:
        bounds, durability, recorder = self.bounds, self.job.spec.durability, self.recorder
        traffic, watchdog = self.traffic, self.watchdog
        if self.replicas is None:
            return Caller(
                here, bounds=bounds, durability=durability, recorder=recorder, traffic=traffic, watchdog=watchdog
            )
        return DistantCaller(
            self.replicas, bounds=bounds, durability=durability, recorder=recorder, traffic=traffic, watchdog=watchdog
        )

    def _replicas(self, nursery: Nursery) -> Replicas:
        conninfos = {name: self.env.conninfo(name) for name in GROUPS}
        replicas = Replicas(nursery, conninfos, self.recorder, self.env.clock.start_s)
        self.env.put_replicas(replicas, replicas.pids)
        return replicas

    def _group(self, name: str) -> Group:
        database = GroupDatabase(self.env.conninfo(name), self.bounds.budget, name, self.recorder)
        return Group.made(database, self.job.strategy, self.job.stock.take(self.job.agents), self.recorder)

    def _dead_loop(self, give_up: Callable[[str], None]) -> Callable[[str], None]:
        def dead(reason: str) -> None:
            self.recorder.point("harness_error", "runner", {"kind": "strategy", "text": reason})
            give_up(reason)

        return dead

    async def execute(self) -> Facts:
        """All stages; what goes wrong is a row, and later stages run all the same."""
        self.watchdog.start()
        self.sampler.start()
        timers: list[asyncio.Task[None]] = []
        users: list[asyncio.Future[None]] = []
        try:
            for group in self.groups.values():
                await group.open()
            here = [group for group in self.groups.values() if isinstance(group, Group)]  # processes have their own
            timers = [asyncio.ensure_future(group.keep_checking()) for group in here]
            timers.append(asyncio.ensure_future(self._supervise()))
            self._phase("gate")
            users = self._start_users()
            await self._gate()
            await self._drive()
            await self._converge()
        except StrategyBroken as broken:
            self.recorder.point("harness_error", "runner", {"kind": "strategy", "text": str(broken)})
        except Exception as error:  # noqa: BLE001 - our own bug must be a row, and the tear-down must run
            self._own_error("bug", error)
        finally:
            self.stopping.set()
            await self._quiet(users)
            await _end(timers)
        leftover = await self._close()
        facts = await self._final_reads(leftover)
        self._phase("teardown")
        await asyncio.to_thread(self.sampler.stop)
        await self.watchdog.stop()
        return facts

    def _phase(self, name: str) -> None:
        self.recorder.point("phase", "runner", {"name": name})

    def _own_error(self, kind: str, error: BaseException) -> None:
        if kind == "bug" and isinstance(error, ComponentError):
            kind = "component"
        text = f"{type(error).__name__}: {error}"
        self.recorder.point("harness_error", "runner", {"kind": kind, "text": text}, error=describe(error))

    async def _supervise(self) -> None:
        """A pooler that dies of a fault is started again, as in production, and the history says so."""
        while True:
            await self.clock.sleep(SUPERVISE_PERIOD_S)
            words = self.env.revive()
            if words:
                self.recorder.point(
                    "component", "runner", {"what": "PgBouncer died and was started again", "log": words}
                )

    def _start_users(self) -> list[asyncio.Future[None]]:
        """Every user on this loop, or the odd ones on a second thread with a loop of its own."""
        load = self.job.scenario.load
        users = load.users(seed=self.job.spec.seed, agents=tuple(self.job.agents), groups=tuple(self.groups))
        if self.job.scenario.layout is Layout.ONE_LOOP or self.replicas is not None:  # each process has its own loop
            return [asyncio.ensure_future(self._user(user)) for user in users]
        here, there = users[::2], users[1::2]
        return [*(asyncio.ensure_future(self._user(user)) for user in here), self._second_thread(there)]

    def _second_thread(self, users: Sequence[User]) -> asyncio.Future[None]:
        """Run ``users`` on a new thread's own loop; the future is done when they are."""
        home = asyncio.get_running_loop()
        done: asyncio.Future[None] = home.create_future()

        def end() -> None:
            if not done.done():
                done.set_result(None)

        async def all_of_them() -> None:
            await asyncio.gather(*(self._user(user) for user in users))

        def run() -> None:
            try:
                asyncio.run(all_of_them())
            except Exception as error:  # noqa: BLE001 - our own bug on that thread is a row as well
                self._own_error("bug", error)
            finally:
                home.call_soon_threadsafe(end)

        threading.Thread(target=run, name="poolproof-second-loop", daemon=True).start()
        return done

    async def _user(self, user: User) -> None:
        """One user's life: think, call, again, until the cell stops."""
        last: Outcome | None = None
        while not self.stopping.is_set():
            action = user.next(last)
            if action is None:
                return
            await self._think(action.think_s)
            while self.traffic.paused and not self.stopping.is_set():
                await self.clock.sleep(_POLL_S)
            if self.stopping.is_set():
                return
            last = await self.caller.call(user.name, action)

    async def _think(self, think_s: float) -> None:
        """Sleep, but not past the end of the cell: on whichever loop, so no event is awaited."""
        until_s = self.clock.now_s() + think_s
        while not self.stopping.is_set() and (left_s := until_s - self.clock.now_s()) > 0:
            await self.clock.sleep(min(left_s, _NAP_S))

    async def _gate(self) -> None:
        """Load without faults until each agent of each group, and each kind that was tried, has succeeded."""
        began_s = self.clock.now_s()
        while (waited_s := self.clock.now_s() - began_s) < GATE_LIMIT_S:
            everyone = all(self.caller.answered_by[replica] for replica in self._everybody())
            every_kind = all(self.caller.answered[kind] for kind in self.caller.tried)
            if waited_s >= self.job.scenario.gate_s and everyone and every_kind:
                break
            await self._nap(began_s + self.job.scenario.gate_s)
        answered: dict[str, Json] = {
            f"{group}/{agent}": n for (group, agent), n in sorted(self.caller.answered_by.items())
        }
        kinds: dict[str, Json] = {kind: self.caller.answered[kind] for kind in sorted(self.caller.tried)}
        agents: list[Json] = list(self.job.agents)
        route = self.env.tells_routes
        self.recorder.point("gate", "runner", {"kinds": kinds, "agents": agents, "answered": answered, "route": route})

    async def _drive(self) -> None:
        """Every window of the plan on its own task, on one clock."""
        self._phase("drive")
        zero_s = self.clock.now_s()
        windows = [self._window(n, window, zero_s) for n, window in enumerate(self.job.plan)]
        if windows:
            await asyncio.gather(*windows)
        else:
            await self.clock.sleep(IDLE_PLAN_S)
        self._phase("healed")

    async def _window(self, number: int, window: Window, zero_s: float) -> None:
        fault = window.fault
        await self.clock.sleep(max(0.0, zero_s + window.start_s - self.clock.now_s()))
        await self._until(lambda: self.traffic.in_flight() >= fault.in_flight, IN_FLIGHT_LIMIT_S)
        row = self.recorder.invoke(
            "fault",
            "faults",
            {
                "window": number,
                "fault": fault_to_json(fault),
                "kind": fault.kind,
                "usable": fault.usable,
                "effect": fault.effect.value,
                "delay_ms": fault.delay_ms,
                "holds_connections": fault.holds_connections,
                "needs_in_flight": fault.in_flight,
                "needs": [*sorted(need.value for need in fault.needs)],
                "start_s": window.start_s,
                "stop_s": window.stop_s,
                "in_flight": self.traffic.in_flight(),
            },
        )
        stop_s = self.clock.now_s() + window.stop_s - window.start_s
        heal = None
        try:
            async with AsyncExitStack() as scope:
                witness = await scope.enter_async_context(fault.active(self.env))
                self.recorder.complete(row, OpType.OK, {"window": number, "change": dict(witness.change)})
                await self.clock.sleep(max(0.0, stop_s - self.clock.now_s()))
                heal = self.recorder.invoke("heal", "faults", {"window": number})
            self.recorder.complete(heal, OpType.OK, {"window": number, "change": dict(witness.change)})
        except ComponentError as error:
            self.recorder.complete(row, OpType.INFO, error=describe(error))
            if heal is not None:
                self.recorder.complete(heal, OpType.INFO, error=describe(error))
            self._own_error("heal" if isinstance(error, HealError) else "component", error)

    async def _nap(self, until_s: float) -> None:
        """Sleep until the next look, which is at ``until_s`` if that is sooner."""
        left_s = until_s - self.clock.now_s()
        await self.clock.sleep(min(left_s, _POLL_S) if left_s > 0 else _POLL_S)

    async def _until(self, true: Callable[[], bool], limit_s: float) -> None:
        stop_s = self.clock.now_s() + limit_s
        while not true() and self.clock.now_s() < stop_s:
            await self.clock.sleep(_POLL_S)

    async def _converge(self) -> None:
        """Drive on until everybody was answered twice and nothing has failed for a second; at most to three bounds.

        Three, because that tells late from never. Of a control that need not show it here, past the bound is enough:
        whoever does not answer then is not asked for another second.
        """
        healed_s, everybody = self.clock.now_s(), self._everybody()
        self.caller.forget()
        strategy, scenario = self.job.strategy, self.job.scenario
        wanted = not strategy.breaks or scenario.must_not_recover(strategy.name)
        limit_s = healed_s + self.bounds.recover_s * (SLOW_FACTOR if wanted else 1.0)
        while (now_s := self.clock.now_s()) < limit_s + CALM_S:
            if not wanted and self.caller.lost_after(limit_s, everybody):
                break
            calm_s = max(healed_s, self.caller.unanswered_since_s()) + CALM_S
            twice = all(self.caller.answered_by[replica] >= 2 for replica in everybody)
            shown = self.caller.tried <= self.caller.succeeded  # a kind that never succeeded would prove nothing
            soonest_s = max(calm_s, healed_s + self.job.scenario.tail_s)
            if now_s >= soonest_s and twice and shown:
                self._phase("converged")
                return
            await self._nap(soonest_s)
        self._phase("unconverged")

    def _everybody(self) -> list[tuple[str, str]]:
        return [(group, agent) for group in self.groups for agent in self.job.agents]

    async def _quiet(self, users: list[asyncio.Future[None]]) -> None:
        """Let the open calls end; each is bounded by its deadline + 12 s and the cancellations after it."""
        if users:
            limit_s = self.bounds.deadline_s + self.bounds.hang_fail_s + 25.0
            _, late = await asyncio.wait(users, timeout=limit_s)
            for user in users:
                if user.done() and not user.cancelled() and (error := user.exception()) is not None:
                    self._own_error("bug", error)
            if late:
                self.recorder.point(
                    "harness_error", "runner", {"kind": "strategy", "text": f"{len(late)} users never came back"}
                )
                await _end(list(late))
        self._phase("quiet")

    async def _close(self) -> dict[str, int]:
        """Close every strategy, then wait until no backend of the cell is left; what is left is a finding."""
        await asyncio.gather(*(group.close() for group in self.groups.values()))
        if self.replicas is not None:
            await self.replicas.finish()
        delay_s = max((window.fault.delay_ms for window in self.job.plan), default=0.0) / 1000
        stop_s = self.clock.now_s() + LEFTOVER_LIMIT_S + delay_s
        while True:
            try:
                left = await self.env.leftover_backends(tuple(self.groups))
            except Exception as error:  # noqa: BLE001 - a count that fails is ours to tell
                self._own_error("component", error)
                return {}
            if not any(left.values()) or self.clock.now_s() > stop_s:
                return dict(left)
            await self.clock.sleep(0.1)

    async def _final_reads(self, leftover: dict[str, int]) -> Facts:
        self._phase("final_reads")
        threads = {thread: agent for thread, agent in self.caller.threads.items() if self.caller.turns.get(thread)}
        facts = await final_reads(self.env.admin.conninfo(), threads, self.job.agents, self.caller.turns)
        try:
            leftovers = await self.env.leftovers()
        except ComponentError as error:
            self._own_error("component", error)
            leftovers = ()
        return Facts(
            threads=facts.threads,
            table_threads=facts.table_threads,
            leftover_backends=leftover,
            leftovers=leftovers,
            problems=facts.problems,
            complete=facts.complete,
        )


async def _end(tasks: list[Any]) -> None:
    """Cancel tasks and wait for them, bounded."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=5.0)
