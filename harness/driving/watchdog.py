"""Judges time from a thread outside the event loop: overdue calls, a loop that does not turn, a host that does not
run us.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from harness.core.environment import Clock
from harness.core.verdict import Json
from harness.driving.recorder import Call, Recorder
from harness.driving.starvation import Starvation

TICK_S = 0.05
#: Shorter stalls of the loop are not recorded.
STALL_S = 0.2
#: A loop that has not turned for this long will not turn again: the process is given up.
DEAD_LOOP_S = 30.0


@dataclass(slots=True)
class _Open:
    call: Call
    deadline_s: float
    told: int = 0


class Watchdog:
    """``slow_s`` and ``fail_s`` are the seconds over a call's deadline at which it is reported as overdue.

    ``give_up`` is called on this thread when the loop has been dead for DEAD_LOOP_S; it must end the process.
    """

    def __init__(
        self, recorder: Recorder, clock: Clock, *, slow_s: float, fail_s: float, give_up: Callable[[str], None]
    ) -> None:
        self._recorder = recorder
        self._clock = clock
        self._limits = (slow_s, fail_s)
        self._give_up = give_up
        self._open: dict[int, _Open] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._beat_s = clock.now_s()
        self._thread = threading.Thread(target=self._run, name="poolproof-watchdog", daemon=True)
        self._main = threading.get_ident()
        self._starvation = Starvation(threading.get_native_id(), self._beat_s)
        self._heart: asyncio.Task[None] | None = None
        self._ordered: list[tuple[float, float]] = []

    def start(self) -> None:
        """Begin to watch the running loop."""
        self._heart = asyncio.ensure_future(self._beat())
        self._thread.start()

    async def stop(self) -> None:
        """Stop watching, bounded."""
        self._stop.set()
        if self._heart is not None:
            self._heart.cancel()
        await asyncio.to_thread(self._thread.join, 2.0)

    def opened(self, call: Call, deadline_s: float) -> None:
        """A call of a user began."""
        with self._lock:
            self._open[call.number] = _Open(call, deadline_s)

    def closed(self, call: Call) -> None:
        """It ended."""
        with self._lock:
            self._open.pop(call.number, None)

    def stall(self, seconds: float) -> None:
        """Have the running loop stand still for ``seconds``, because a scenario wants it; the row will say so."""
        began_s = self._clock.now_s()
        self._ordered.append((began_s, began_s + seconds))
        time.sleep(seconds)

    def _ordered_s(self, began_s: float, ended_s: float) -> float:
        """How much of that was ordered."""
        return sum(max(0.0, min(ended_s, until_s) - max(began_s, since_s)) for since_s, until_s in self._ordered)

    async def _beat(self) -> None:
        while True:
            self._beat_s = self._clock.now_s()
            await asyncio.sleep(TICK_S)

    def _run(self) -> None:
        last_s = self._clock.now_s()
        stalled_since: float | None = None
        where = ""
        while not self._stop.wait(TICK_S):
            now_s = self._clock.now_s()
            if now_s - last_s > STALL_S:  # this thread itself was not run: the host is busy, or the GIL is held
                self._recorder.point("stall", "watchdog", {"seconds": round(now_s - last_s, 3), "host": True})
                self._beat_s = max(self._beat_s, now_s)  # the loop was not run either: it is asked again from now on
            last_s = now_s
            if starved_s := self._starvation.told(now_s):
                waited: dict[str, Json] = {"seconds": round(starved_s, 3), "host": True, "starved": True}
                self._recorder.point("stall", "watchdog", waited)
            silent_s = now_s - self._beat_s - TICK_S
            if silent_s > STALL_S:
                if stalled_since is None:
                    stalled_since, where = self._beat_s, self._stack()
                if silent_s > DEAD_LOOP_S:
                    self._give_up(f"the event loop has not turned for {silent_s:.0f} s; it is in:\n{self._stack()}")
                    return
            elif stalled_since is not None:
                seconds = round(self._beat_s - stalled_since - TICK_S, 3)
                stood: dict[str, Json] = {"seconds": seconds, "host": False, "stack": where}
                if ordered_s := self._ordered_s(stalled_since, self._beat_s):
                    stood["ordered_s"] = round(min(ordered_s, seconds), 3)
                self._recorder.point("stall", "watchdog", stood)
                stalled_since = None
            self._overdue(now_s)

    def _overdue(self, now_s: float) -> None:
        with self._lock:
            open_calls = list(self._open.values())
        for item in open_calls:
            over_s = now_s - item.call.started_s - item.deadline_s
            if item.told < len(self._limits) and over_s > self._limits[item.told]:
                item.told += 1
                self._recorder.point(
                    "overdue",
                    "watchdog",
                    {"call": item.call.number, "seconds": round(over_s, 2), "stack": self._stack()},
                )

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._main)
        return "".join(traceback.format_stack(frame, limit=12))[-2000:] if frame else ""
