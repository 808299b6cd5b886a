"""The replica groups of a cell as processes, kept running by a supervisor and reached through a balancer.

The supervisor is what a container's restart policy is: a process that ended by itself is started again, after 0.1 s
and twice as long each time. One that a fault has ended stays away until the fault says otherwise. The balancer brings
a call to another group if the one that it was meant for takes none.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import signal
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from harness.core.environment import Clock
from harness.core.errors import ComponentError
from harness.core.verdict import Json
from harness.driving.group import CLOSE_LIMIT_S, OPEN_LIMIT_S, ORDER_LIMIT_S, StrategyBroken
from harness.driving.nursery import Nursery
from harness.driving.recorder import Recorder
from harness.driving.replica_link import Link
from harness.driving.replica_process import Order

#: What a container engine gives a process that was told to end, before it is killed.
DRAIN_LIMIT_S = 30.0
#: The first pause before a process that ended by itself is started again, and the longest.
RESTART_S, RESTART_LIMIT_S = 0.1, 6.4
_KILL_LIMIT_S = 5.0
_STOP_LIMIT_S = 3.0
_POLL_S = 0.002
_LINE_BYTES = 1 << 22


class ReplicaGroup:
    """One group as the runner and the cell's traffic see it; ``link`` is its present process, or the last one."""

    def __init__(self, name: str, conninfo: str, replicas: Replicas) -> None:
        self.name = name
        self.conninfo = conninfo
        self.link: Link | None = None
        self.opened = False
        self.beginning: asyncio.Task[None] | None = None  # the present process is being started
        self.restarts = 0
        self._replicas = replicas

    async def open(self) -> None:
        """Start its first process; raises StrategyBroken with the reason."""
        await self._replicas.begin(self)

    async def close(self) -> None:
        """Have its strategy closed and its process ended. Bounded."""
        await self._replicas.end(self)

    def waiters(self) -> int:
        """Requests queued for a connection, as its process said last."""
        return 0 if self.link is None else self.link.waiting[0]

    def saver_waiters(self) -> int:
        """Saver calls queued behind another one, likewise."""
        return 0 if self.link is None else self.link.waiting[1]

    async def order_recreate(self, value: Mapping[str, Json]) -> None:
        """A scenario's re-creation."""
        await self._replicas.order(self, "recreate", value)

    async def order_health_check(self) -> None:
        """A scenario's health check."""
        await self._replicas.order(self, "ensure_healthy", {})


class Replicas:
    """Implements ``core.environment.Replicas``. ``groups`` maps the groups' names to their conninfo."""

    def __init__(self, nursery: Nursery, groups: Mapping[str, str], recorder: Recorder, began_s: float) -> None:
        """``began_s``: when the cell's clock began, by the machine's monotonic one."""
        self.groups = {name: ReplicaGroup(name, conninfo, self) for name, conninfo in groups.items()}
        self._nursery = nursery
        self._recorder = recorder
        self._clock: Clock = recorder.clock
        self._began_s = began_s
        self._names = itertools.count(1)
        self._numbers = itertools.count(1)
        self._links: dict[int, Link] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        nursery.attend(self._news)

    def pids(self) -> tuple[int, ...]:
        """Of all processes that run now."""
        links = tuple(self._links.values())  # the sampler's thread asks
        return tuple(link.pid.result() for link in links if link.pid.done() and not link.ended.done())

    def taker(self, wanted: str) -> Link | None:
        """Where a call for group ``wanted`` goes: there, else to another group that takes calls, else nowhere."""
        now_s = self._clock.now_s()
        links = (self.groups[name].link for name in (wanted, *self.groups))
        return next((link for link in links if link is not None and link.takes(now_s)), None)

    # -- from start to end ----------------------------------------------------------------------------------------

    async def begin(self, group: ReplicaGroup) -> None:
        """Start a process of the group and wait until it takes calls. Raises StrategyBroken, ComponentError.

        There is never more than one: whoever comes while one is being started waits for that, and whoever is
        cancelled leaves it to them.
        """
        if group.beginning is None or group.beginning.done():
            group.beginning = asyncio.ensure_future(self._begin(group))
            group.beginning.add_done_callback(_heard)
        await asyncio.shield(group.beginning)

    async def _begin(self, group: ReplicaGroup) -> None:
        link = Link(next(self._names), group.name, self._recorder, self._draining)
        self._links[link.name] = group.link = link
        order = Order(name=link.name, group=group.name, conninfo=group.conninfo, began_s=self._began_s)
        end = self._nursery.start(dataclasses.asdict(order))
        reader, writer = await asyncio.open_connection(sock=end, limit=_LINE_BYTES)
        self._keep(self._attend(link, link.listen(reader, writer)))
        limit_s = OPEN_LIMIT_S * 6  # each step of a strategy's beginning has its own limit
        done, _ = await asyncio.wait({link.ready}, timeout=limit_s)
        why = link.ready.result() if done else f"the process of group {group.name} was not ready after {limit_s:g} s"
        if why:
            raise StrategyBroken(why)
        group.opened = True
        self._note(link, "ready")

    async def _attend(self, link: Link, listening: Coroutine[Any, Any, None]) -> None:
        """A link's whole life: rows say how it ended, and the supervisor does what is to be done."""
        await listening
        if not await self._over(link, _KILL_LIMIT_S):
            link.ended.set_result(None)  # its parent is gone as well
        self._note(link, "ended", status=link.ended.result(), lost=[*link.lost], ordered=link.ordered)
        group = self.groups[link.group]
        if group.opened and self._missed(group, link):
            await self._clock.sleep(min(RESTART_S * 2**group.restarts, RESTART_LIMIT_S))
            group.restarts += 1
            if self._missed(group, link):
                with contextlib.suppress(StrategyBroken):  # its own end brings us here again
                    await self.begin(group)

    def _missed(self, group: ReplicaGroup, link: Link) -> bool:
        """True if the process that ended is the group's present one, and nobody meant it to end."""
        return group.link is link and not (self._closing or link.told or link.ordered)

    async def end(self, group: ReplicaGroup) -> None:
        """Close the strategy and end the process; kill it if it does not. Bounded."""
        self._closing = True
        link = group.link
        if link is None or link.ended.done() or not link.ready.done():
            return
        link.taking, link.ordered = False, True
        if link.ready.result() == "":
            link.say({"stop": True})
        if not await self._over(link, CLOSE_LIMIT_S + DRAIN_LIMIT_S):
            self._recorder.point(
                "harness_error",
                "runner",
                {"kind": "strategy", "text": f"the process of group {group.name} did not end, and was killed"},
            )
            self._nursery.signal(link.name, signal.SIGKILL)
            await self._over(link, 2 * _KILL_LIMIT_S)

    async def finish(self) -> None:
        """Wait until every row of the processes is written. Bounded."""
        self._closing = True
        for group in self.groups.values():
            if group.beginning is not None:
                group.beginning.cancel()
        if self._tasks:
            _, left = await asyncio.wait(self._tasks, timeout=_KILL_LIMIT_S)
            for task in left:
                task.cancel()

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            text = f"{type(error).__name__}: {error}"
            self._recorder.point("harness_error", "runner", {"kind": "bug", "text": text})

    def _news(self, news: Mapping[str, Json]) -> None:
        link = self._links[int(str(news.get("started", news.get("ended"))))]
        if "started" in news:
            link.pid.set_result(int(str(news["pid"])))
            self._note(link, "started")
        else:
            link.end(int(str(news["status"])))

    def _draining(self, link: Link) -> None:
        self._note(link, "draining", in_flight=link.in_flight)

    def _note(self, link: Link, event: str, **more: Json) -> None:
        pid = link.pid.result() if link.pid.done() else None
        self._recorder.point("replica", link.group, {"event": event, "pid": pid, **more})

    # -- what faults do -------------------------------------------------------------------------------------------

    async def order(self, group: ReplicaGroup, what: str, value: Mapping[str, Json]) -> None:
        """Have the strategy of the group's present process do something; bounded."""
        if group.link is not None and group.link.taking:
            await group.link.order(next(self._numbers), what, value, ORDER_LIMIT_S)

    def in_flight(self, group: str) -> int:
        link = self.groups[group].link
        return 0 if link is None else link.in_flight

    def takes_calls(self, group: str) -> bool:
        link = self.groups[group].link
        return link is not None and link.takes(self._clock.now_s())

    async def kill(self, group: str) -> Mapping[str, Json]:
        return await self._end_by(group, signal.SIGKILL, _KILL_LIMIT_S)

    async def drain(self, group: str) -> Mapping[str, Json]:
        return await self._end_by(group, signal.SIGTERM, DRAIN_LIMIT_S)

    async def _end_by(self, group: str, number: signal.Signals, limit_s: float) -> Mapping[str, Json]:
        link = self._present(group)
        #  A drained process owes every call that it took an answer; a killed one cannot.
        link.ordered = number is signal.SIGKILL
        change = self._signal(link, number)
        link.told = True
        await self._ended(link, limit_s)
        return {**change, "status": link.ended.result()}

    async def _ended(self, link: Link, limit_s: float = DRAIN_LIMIT_S) -> None:
        """Wait for the end of a process that was told to end; kill it after ``limit_s``, as a container engine does."""
        if not await self._over(link, limit_s):
            self._nursery.signal(link.name, signal.SIGKILL)
            if not await self._over(link, _KILL_LIMIT_S):
                pid = link.pid.result()
                raise ComponentError(f"replica {link.group} (pid {pid}) does not end, not even by SIGKILL")

    async def freeze(self, group: str) -> Mapping[str, Json]:
        link = self._present(group)
        link.ordered, link.stopped_s = True, self._clock.now_s()
        change = self._signal(link, signal.SIGSTOP)
        if not await self._until(lambda: link.state() == "T", _STOP_LIMIT_S):
            raise ComponentError(f"replica {group} (pid {change['pid']}) does not stand still: {link.state()}")
        return {**change, "state": link.state()}

    async def cut(self, group: str) -> int:
        link = self.groups[group].link
        return 0 if link is None else len(link.cut())

    async def thaw(self, group: str) -> None:
        link = self.groups[group].link
        if link is None or link.stopped_s is None:
            return
        self._nursery.signal(link.name, signal.SIGCONT)
        if not await self._until(lambda: link.state() != "T", _STOP_LIMIT_S):
            raise ComponentError(f"replica {group} (pid {link.pid.result()}) does not go on")
        link.ordered, link.stopped_s = False, None
        self._note(link, "thawed")

    async def start(self, group: str) -> None:
        found = self.groups[group]
        if found.link is not None and found.link.told:
            await self._ended(found.link)  # whoever told it may have been cancelled since
        elif found.link is not None and found.link.taking:
            return
        try:
            await self.begin(found)
        except StrategyBroken as broken:
            raise ComponentError(f"replica {group} could not be started again: {broken}") from broken

    def _present(self, group: str) -> Link:
        link = self.groups[group].link
        if link is None or not link.taking or not link.pid.done():
            raise ComponentError(f"replica {group} takes no calls, so there is nothing to do to it")
        return link

    def _signal(self, link: Link, number: signal.Signals) -> dict[str, Json]:
        change: dict[str, Json] = {"group": link.group, "pid": link.pid.result(), "signal": number.name}
        change["in_flight"] = link.in_flight
        self._recorder.point("replica", link.group, {"event": "signal", **change})
        self._nursery.signal(link.name, number)
        return change

    async def _over(self, link: Link, limit_s: float) -> bool:
        await asyncio.wait({link.ended}, timeout=limit_s)
        return link.ended.done()

    async def _until(self, true: Callable[[], bool], limit_s: float) -> bool:
        stop_s = self._clock.now_s() + limit_s
        while not true():
            if self._clock.now_s() > stop_s:
                return False
            await asyncio.sleep(_POLL_S)
        return True


def _heard(beginning: asyncio.Task[None]) -> None:
    """Whoever waited for it may have been cancelled: then nobody else asks what it ended in."""
    if not beginning.cancelled():
        beginning.exception()
