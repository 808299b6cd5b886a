"""One run: the real driving machinery on a saver in memory, in virtual time, judged by the real checkers.

Recorder, recording savers, replicas, requests, groups and the caller are those of a real cell. What differs is below
them: a wire that goes wrong as the plan says, and behind it the honest saver or a wrong one.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

import psycopg
from langgraph.checkpoint.base import BaseCheckpointSaver

from harness.checkers.isolation import Isolation
from harness.checkers.no_duplicate_turn import NoDuplicateTurn
from harness.checkers.no_lost_turn import NoLostTurn
from harness.checkers.no_silent_failure import NoSilentFailure
from harness.core.agent import AgentUnderTest
from harness.core.facts import Facts
from harness.core.history import History
from harness.core.pool import AgentHandle, Degraded, PoolStrategy, Reply, Request
from harness.core.scenario import Bounds
from harness.core.verdict import Checker, Finding, Verdict
from harness.core.workload import Outcome, User
from harness.driving.caller import Caller
from harness.driving.database import GroupDatabase
from harness.driving.group import Group
from harness.driving.recorder import Recorder
from harness.driving.replica import Replica
from harness.driving.traffic import CellTraffic
from harness.driving.watchdog import Watchdog
from tests.driving.rows import Rows
from tests.oracle.clerk import Clerk
from tests.oracle.memory_facts import final_facts
from tests.oracle.plans import Plan, Trouble
from tests.oracle.savers.honest import HonestSaver
from tests.oracle.scripted_user import ScriptedUser
from tests.oracle.virtual_time import VirtualClock, VirtualLoop
from tests.oracle.wire import Wire, WireSaver

GROUPS = ("g0", "g1")
BOUNDS = Bounds()
#: After the last call: longer than anything that is still to be done, in virtual seconds.
SETTLE_S = 60.0
#: The guarantees that speak of what is stored. Those of time and of connections have no meaning here.
JUDGES: tuple[Checker, ...] = (NoLostTurn(), NoDuplicateTurn(), Isolation(), NoSilentFailure())
_RETRIES = 3

Agents = Mapping[str, Callable[[], AgentUnderTest]]


@dataclass(frozen=True, slots=True)
class Run:
    """What a run left behind. ``met``: the troubles that really happened."""

    plan: Plan
    history: History
    facts: Facts
    findings: tuple[Finding, ...]
    met: tuple[Trouble, ...]

    @property
    def codes(self) -> frozenset[str]:
        """The anomaly codes of all findings."""
        return frozenset(code for finding in self.findings for code in finding.codes)

    @property
    def broken(self) -> tuple[str, ...]:
        """The findings that are FAIL, in words."""
        return tuple(f"{f.guarantee}: {f.summary}" for f in self.findings if f.verdict is Verdict.FAIL)


def run(
    plan: Plan,
    saver: type[HonestSaver] = HonestSaver,
    *,
    agents: Agents | None = None,
    users: Sequence[User] | None = None,
    calls: int = 10_000,
) -> Run:
    """Run ``plan`` on ``saver``. By default the users say what the plan says, to the small graph; others may be given,
    and are then stopped after ``calls`` calls in all.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        cell = _MemoryCell(plan, saver, agents or {Clerk.name: Clerk}, users, calls, runner.get_loop())
        facts = runner.run(cell.execute())
        history = cell.rows.history
        runner.run(_end_all())
    findings = tuple(judge.check(history, facts, BOUNDS) for judge in JUDGES)
    return Run(plan, history, facts, findings, tuple(cell.wire.met))


class _MemoryStrategy(PoolStrategy):
    """Hands out a saver on the wire. ``style`` is how it serves, see ``Plan``."""

    name: ClassVar[str] = "memory"

    def __init__(
        self, database: GroupDatabase, behind: HonestSaver, wire: Wire, style: str, recorder: Recorder
    ) -> None:
        super().__init__(database)
        self._behind = behind
        self._wire = wire
        self._style = style
        self._recorder = recorder
        self._savers: list[WireSaver] = []

    async def checkpointer(self, agent: AgentHandle) -> BaseCheckpointSaver[Any]:
        self._savers.append(WireSaver(self._behind, self._wire))
        return self._savers[-1]

    def die(self) -> None:
        """The process is gone, with everything in it."""
        for saver in self._savers:
            saver.die()

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        if self._style == "plain":
            return await request()
        try:
            async with asyncio.timeout(request.deadline_s * 0.9):
                return await (self._retrying(request) if self._style == "finish" else request())
        except self.errors as error:
            if self._style != "degrade":
                raise
            text = f"{request.thread_id}: refused, for {type(error).__name__}: {error}"
            self._recorder.point("log", "memory", {"level": "ERROR", "text": text, "thread": request.thread_id})
            return Degraded("database_away", 1.0)

    async def _retrying(self, request: Request) -> Reply:
        for attempt in itertools.count():
            try:
                return await (request.finish() if attempt else request())
            except psycopg.OperationalError:
                if attempt == _RETRIES:
                    raise
            await asyncio.sleep(0.05)
        raise AssertionError("unreachable")


class _MemoryCell:
    """The stages of one run."""

    def __init__(
        self,
        plan: Plan,
        saver: type[HonestSaver],
        agents: Agents,
        users: Sequence[User] | None,
        calls: int,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        clock = VirtualClock(loop)
        self.plan = plan
        self.agents = agents
        self.rows = Rows()
        self.recorder = Recorder(self.rows, clock)
        self.saver = saver(Random(f"{plan.seed}/saver"))
        troubles = {first + n: trouble for first, trouble, many in plan.troubles for n in range(many)}
        self.wire = Wire(Random(f"{plan.seed}/wire"), troubles, self._at_saver_call)
        self.strategies: dict[str, _MemoryStrategy] = {}
        self.groups = {name: self._group(name) for name in GROUPS}
        traffic = CellTraffic(tuple(self.groups.values()))
        watchdog = Watchdog(self.recorder, clock, slow_s=2.0, fail_s=12.0, give_up=_never)  # not started: no real time
        self.caller = Caller(
            self.groups,
            bounds=BOUNDS,
            durability=plan.durability,
            recorder=self.recorder,
            traffic=traffic,
            watchdog=watchdog,
        )
        self.users = users or [
            ScriptedUser(number, sayings, next(iter(agents)), GROUPS) for number, sayings in enumerate(plan.users)
        ]
        self.calls_left = calls
        self.calling: dict[asyncio.Future[Outcome], str] = {}
        self.crashing: list[asyncio.Task[None]] = []

    def _group(self, name: str) -> Group:
        database = GroupDatabase("", 24, name, self.recorder)
        strategy = _MemoryStrategy(database, self.saver, self.wire, self.plan.style, self.recorder)
        self.strategies[name] = strategy
        replicas = [Replica(make(), name, self.recorder) for make in self.agents.values()]
        return Group(name, strategy, database, replicas, self.recorder)

    async def execute(self) -> Facts:
        """Every user to the end of what there is to say, then the final reads."""
        for group in self.groups.values():
            await group.open()
        self._phase("drive")
        await asyncio.gather(*(self._user(user) for user in self.users))
        if self.crashing:
            await asyncio.gather(*self.crashing)
        self._phase("quiet")
        await asyncio.sleep(SETTLE_S)
        await self.wire.quiet()
        self._phase("final_reads")
        threads = {thread: agent for thread, agent in self.caller.threads.items() if self.caller.turns.get(thread)}
        facts = await final_facts(self.saver, threads, self.agents, self.caller.turns)
        self._phase("end")
        return facts

    def _phase(self, name: str) -> None:
        self.recorder.point("phase", "runner", {"name": name})

    async def _user(self, user: User) -> None:
        last: Outcome | None = None
        while self.calls_left > 0 and (action := user.next(last)) is not None:
            self.calls_left -= 1
            await asyncio.sleep(action.think_s)
            call = asyncio.ensure_future(self.caller.call(user.name, action))
            self.calling[call] = action.group
            await asyncio.wait({call})
            del self.calling[call]
            last = Outcome("info") if call.cancelled() else call.result()

    # -- crashes --------------------------------------------------------------------------------------------------

    def _at_saver_call(self, number: int) -> None:
        for at, group in self.plan.crashes:
            if at == number:
                self.crashing.append(asyncio.ensure_future(self._crash(GROUPS[group])))

    async def _crash(self, name: str) -> None:
        """The process of one group dies: its calls never end, and others take its place."""
        self.saver.crash()
        self.strategies[name].die()
        self.groups[name] = self._group(name)
        await self.groups[name].open()
        for call in [call for call, group in self.calling.items() if group == name]:
            call.cancel()


async def _end_all() -> None:
    """End what a dead process left; what is cancelled there may begin something new on its way out."""
    while left := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=1.0)


def _never(reason: str) -> None:
    raise AssertionError(f"the watchdog was not started, and gave up: {reason}")
