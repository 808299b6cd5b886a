"""A replica group as a process of its own: what a container of the service is, from its start to its end.

It gets calls over its channel, serves them as the cell itself would, and sends every row of the history back before
the thing happens that the row tells. SIGTERM drains it: it says so, gets no further call, answers those that it has,
closes its strategy and ends with status 0. Messages are JSON, one a line.

From the cell: ``call`` (with ``action``, ``sent_s``), ``order`` (``recreate`` or ``ensure_healthy``), ``drain`` (no
call comes any more) and ``stop``. From here: ``ready`` or ``broken``, ``row``, ``answer``, ``settled``, ``beat``,
``done``, ``draining``.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from harness.core.agent import AgentUnderTest, Turn
from harness.core.history import ErrorInfo, Op, OpType
from harness.core.pool import PoolStrategy
from harness.core.scenario import Bounds
from harness.core.verdict import Json
from harness.core.workload import Action
from harness.driving.background import background
from harness.driving.database import GroupDatabase
from harness.driving.group import Group, StrategyBroken
from harness.driving.recorder import Call, Recorder
from harness.driving.serving import Serving
from harness.driving.stock import Stock
from harness.driving.watchdog import STALL_S, Watchdog
from harness.environments.clock import RealClock

BEAT_S = 0.05
#: How a replica's process ends, besides 0 and by signals: its strategy could not begin; its event loop stood still for
#: too long; the cell hears nothing any more.
BROKEN, DEAD_LOOP, DEAF = 3, 75, 74
#: Each process numbers its calls from its name times this.
NUMBERS = 10_000_000
#: A message waits so long to be taken; the cell reads all the time.
_SEND_LIMIT_S = 20
#: The cell answers to ``draining`` at once; a cell that does not is about to die.
_DRAIN_ORDER_S = 10.0
_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """What every replica of a cell is made of; the forked process has it in memory."""

    strategy: type[PoolStrategy]
    agents: Mapping[str, Callable[[], AgentUnderTest]]
    bounds: Bounds
    durability: str
    stock: Stock = dataclasses.field(default_factory=Stock)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Which replica it is to be. ``began_s`` is when the cell's clock began, by the machine's monotonic one."""

    name: int
    group: str
    conninfo: str = dataclasses.field(repr=False)
    began_s: float


def live(company: Company, order: Mapping[str, Json], channel: socket.socket) -> NoReturn:
    """The whole life of the process."""
    os._exit(asyncio.run(_Life(company, Order(**order), Channel(channel)).live()))  # type: ignore[arg-type]


class Channel:
    """The replica's end: rows go out from any thread, and have reached the operating system when ``say`` returns."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(True)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND_LIMIT_S, 0))
        self._end = end
        self._lock = threading.Lock()
        self._rest = b""

    def fileno(self) -> int:
        return self._end.fileno()

    def say(self, message: Mapping[str, Json]) -> None:
        """Send; ends the process if nobody takes it."""
        line = json.dumps(message).encode() + b"\n"
        with self._lock:
            try:
                self._end.sendall(line)
            except OSError:
                os._exit(DEAF)

    def heard(self) -> list[dict[str, Any]]:
        """The messages that are there now; ends the process when the cell has closed its end."""
        try:
            chunk = self._end.recv(_CHUNK_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except OSError:
            chunk = b""
        if not chunk:
            os._exit(DEAF)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [json.loads(line) for line in lines]


class ChannelSink:
    """Implements ``recorder.Sink``: rows go to the cell, which gives them their index.

    That the machine stood still is for the cell to say: this process may have been stopped on purpose. That it waited
    for a core is for this one, for a process that is stopped waits for none.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._stopped = (0.0, 0.0)

    def append(
        self,
        type: OpType,  # noqa: A002 - the history's own word
        f: str,
        process: str,
        value: dict[str, Json],
        *,
        time_s: float,
        call: int | None = None,
        error: ErrorInfo | None = None,
    ) -> Op:
        """Send it."""
        op = Op(0, time_s, type, f, process, call, value, error)
        if f != "stall" or self._is_told(time_s, value):
            self._channel.say({"row": op.to_json()})
        return op

    def _is_told(self, time_s: float, value: dict[str, Json]) -> bool:
        """Only the watchdog's thread comes here. A stall of the loop is told without the time of a stop in it."""
        seconds = float(str(value.get("seconds")))
        if value.get("host") is not True:
            since_s, until_s = self._stopped
            stopped_s = max(0.0, min(time_s, until_s) - max(time_s - seconds, since_s))
            value["seconds"] = round(seconds - stopped_s, 3)
            return seconds - stopped_s > STALL_S
        if value.get("starved") is not True:
            self._stopped = (time_s - seconds, time_s)
        return value.get("starved") is True


class _Life:
    def __init__(self, company: Company, order: Order, channel: Channel) -> None:
        self.company = company
        self.order = order
        self.channel = channel
        self.clock = RealClock(order.began_s)
        self.recorder = Recorder(ChannelSink(channel), self.clock, first=order.name * NUMBERS)
        self.calls: set[asyncio.Task[None]] = set()
        self.orders: set[asyncio.Task[None]] = set()
        self.over = asyncio.Event()

    async def live(self) -> int:
        """The status to end with."""
        bounds = self.company.bounds
        watchdog = Watchdog(
            self.recorder, self.clock, slow_s=bounds.hang_slow_s, fail_s=bounds.hang_fail_s, give_up=self._give_up
        )
        with background(self.recorder):
            watchdog.start()
            try:
                self.group = Group.made(
                    GroupDatabase(self.order.conninfo, bounds.budget, self.order.group, self.recorder),
                    self.company.strategy,
                    self.company.stock.take(self.company.agents),
                    self.recorder,
                )
                await self.group.open()
            except StrategyBroken as broken:
                self.channel.say({"broken": str(broken)})
                return BROKEN
            loop = asyncio.get_running_loop()
            loop.add_reader(self.channel.fileno(), self._hear)
            loop.add_signal_handler(signal.SIGTERM, self._drain)
            timers = [asyncio.ensure_future(timer()) for timer in (self.group.keep_checking, self._beat)]
            self.channel.say({"ready": True})
            await self.over.wait()
            await self._finish_calls()
            for timer in timers:
                timer.cancel()
            await self.group.close()
        await watchdog.stop()
        return 0

    def _give_up(self, reason: str) -> None:
        self.recorder.point("harness_error", "runner", {"kind": "strategy", "text": reason})
        os._exit(DEAD_LOOP)

    async def _beat(self) -> None:
        """Who waits at the pool and at the savers, for faults that strike at a chosen state."""
        last: list[Json] = []
        while True:
            now: list[Json] = [self.group.waiters(), self.group.saver_waiters()]
            if now != last:
                self.channel.say({"beat": now})
                last = now
            await asyncio.sleep(BEAT_S)

    def _drain(self) -> None:
        """SIGTERM: nothing is refused, for the cell brings nothing any more once it has heard this."""
        self.channel.say({"draining": True})
        asyncio.get_running_loop().call_later(_DRAIN_ORDER_S, self.over.set)

    async def _finish_calls(self) -> None:
        """Answer what was taken. Every call has a deadline, and ends itself some time after it."""
        if self.calls:
            bounds = self.company.bounds
            await asyncio.wait(self.calls, timeout=bounds.deadline_s + bounds.hang_fail_s)

    def _hear(self) -> None:
        for message in self.channel.heard():
            if "call" in message:
                self._begin(self.calls, self._serve(message))
            elif "order" in message:
                self._begin(self.orders, self._obey(message))
            else:  # "drain" or "stop"
                self.over.set()

    def _begin(self, among: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        among.add(task)
        task.add_done_callback(among.discard)

    async def _obey(self, message: Mapping[str, Any]) -> None:
        if message["what"] == "recreate":
            await self.group.order_recreate(message["value"])
        else:
            await self.group.order_health_check()
        self.channel.say({"done": message["order"]})

    async def _serve(self, message: Mapping[str, Any]) -> None:
        """Answer as soon as the call has ended, and say later whether it left nothing behind."""
        bounds = self.company.bounds
        if self.clock.now_s() > message["sent_s"] + bounds.deadline_s:
            return  # its caller is gone, and the deadline came with the request
        action = Action(**{**message["action"], "turn": Turn(**message["action"]["turn"])})
        row = Call(message["call"], action.kind, message["user"], message["sent_s"], message["value"])
        serving = Serving(
            self.group, action, row, bounds=bounds, durability=self.company.durability, recorder=self.recorder
        )
        ending = await serving.ended()
        error = None if ending.error is None else ending.error.to_json()
        answer: dict[str, Json] = {"kind": ending.kind.value, "value": ending.value, "error": error}
        self.channel.say({"answer": row.number, **answer})
        self.channel.say({"settled": row.number, "clean": await serving.left_nothing()})
