"""What a history says, read once for all checkers: calls with their outcomes, windows of damage, stalls, samples.

A history may hold anything that its loader accepted, so every value is taken through :func:`text`, :func:`number` or
:func:`strings`, which give an empty answer instead of raising. All times are seconds on the cell's clock; what comes
before what is decided by the rows' indexes, never by times.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from operator import itemgetter
from typing import NamedTuple

from harness.checkers.conversations import Conversation
from harness.core.fault import Effect
from harness.core.history import CALLS, History, Op, OpType
from harness.core.verdict import Json

#: Saver calls that read or write the state of a thread.
SAVER_CALLS = ("aget_tuple", "aput", "aput_writes", "adelete_thread", "alist")
_NO_MORE = (math.inf, -1)
_OF_A_CALL = itemgetter("group", "agent", "thread", "turn")
_STATUS = {kind: kind.value for kind in OpType}
#: Errors that a machine which stood still can bring about by itself.
_OF_TIME = frozenset({"TimeoutError", "CancelledError", "QueryCanceled", "ConnectionTimeout", "PoolTimeout"})
_DRIVING_ENDS = ("converged", "unconverged", "quiet", "final_reads", "teardown", "end")


def text(value: Mapping[str, Json], key: str) -> str:
    """``value[key]`` if it is a string, else empty."""
    found = value.get(key)
    return found if isinstance(found, str) else ""


def number(value: Mapping[str, Json], key: str, default: float = 0.0) -> float:
    """``value[key]`` if it is a finite number, else ``default``."""
    found = value.get(key)
    if type(found) is not float and type(found) is not int:  # JSON has no subclasses, and a bool is no number
        return default
    return float(found) if -1e300 < found < 1e300 else default


def strings(value: Mapping[str, Json], key: str) -> list[str]:
    """``value[key]`` if it is a list, without what is no string in it; else an empty list."""
    found = value.get(key)
    if not isinstance(found, list):
        return []
    if set(map(type, found)) <= {str}:
        return found  # type: ignore[return-value]
    return [item for item in found if isinstance(item, str)]


def _who_and_what(value: Mapping[str, Json]) -> tuple[str, str, str, str]:
    """The group, agent, thread and turn of a call, each as :func:`text` has it, in half the time."""
    try:
        group, agent, thread, turn = _OF_A_CALL(value)
    except KeyError:
        pass
    else:
        if type(group) is type(agent) is type(thread) is type(turn) is str:
            return group, agent, thread, turn
    return text(value, "group"), text(value, "agent"), text(value, "thread"), text(value, "turn")


def opened_or_closed_by(op: Op) -> str:
    """Who a ``pool`` row says it was, innermost frame first, without the interpreter's own frames."""
    frames = [frame for frame in strings(op.value, "by") if not frame.startswith("<")]
    return " <- ".join(frames[:3]) or "an unknown place"


class Call(NamedTuple):
    """One call of a user. ``status``: ok, refused, fail, info, or open if it never completed."""

    kind: str
    user: str
    group: str
    agent: str
    thread: str
    turn: str
    began_s: float
    ended_s: float | None
    given_s: float | None  # its deadline, if its row says
    status: str
    invoke: Op
    end: Op | None

    @property
    def rows(self) -> tuple[int, ...]:
        """The indexes of its rows."""
        return (self.invoke.index,) if self.end is None else (self.invoke.index, self.end.index)

    def deadline_s(self, default: float) -> float:
        """Seconds that it was given; ``default`` if its row does not say."""
        return default if self.given_s is None else self.given_s

    @property
    def cut(self) -> bool:
        """True if a fault ended it: the client went, or the service gave it less time than its deadline."""
        return self.end is not None and number(self.end.value, "cancelled") > 0

    @property
    def stranded(self) -> bool:
        """True if a fault took away the replica that had it: no strategy could have answered it there."""
        return self.end is not None and self.end.value.get("ordered") is True and bool(text(self.end.value, "lost"))

    def __str__(self) -> str:
        return f"{self.kind} {self.turn} of {self.user} on {self.group}/{self.agent} at {self.began_s:.3f} s"

    @property
    def outcome(self) -> str:
        """How it ended, in words."""
        if self.status == "refused" and self.end is not None:
            return f"was refused ({text(self.end.value, 'code') or 'no code'})"
        if self.status == "open":
            return "never ended"
        error = self.end.error if self.end is not None else None
        if error is not None:
            return f"ended in {error.type}: {error.message[:200]}"
        return "was answered" if self.status == "ok" else f"ended as {self.status} without an error"


class SaverCall(NamedTuple):
    """One call of a recording saver; ``ended_s`` is None if it never completed."""

    f: str
    replica: str
    thread: str
    turn: str
    parent: int | None
    began_s: float
    ended_s: float | None
    invoke: Op
    end: Op | None


class Damage(NamedTuple):
    """One window, from its ``fault`` invocation to its ``heal`` ok (to the end of the history, if there is none)."""

    number: int
    kind: str
    began_s: float
    ended_s: float
    installed: bool
    healed: bool
    usable: bool
    effect: str
    delay_ms: float
    holds_connections: bool
    needs_in_flight: float
    fault: Mapping[str, Json]
    change: Mapping[str, Json]  # what the component said last: at the heal, else when it was installed
    row: int

    def __str__(self) -> str:
        return f"window {self.number} ({self.kind}, {self.began_s:.2f} to {self.ended_s:.2f} s)"


class Sample(NamedTuple):
    """The client backends of every group at ``time_s``, by pid; None if the sample failed."""

    time_s: float
    backends: Mapping[str, frozenset[int]] | None
    row: int


class Spans:
    """Intervals of time, merged, so that asking costs the logarithm of their number."""

    def __init__(self, spans: Iterable[tuple[float, float]]) -> None:
        self._starts: list[float] = []
        self._ends: list[float] = []
        for start, end in sorted(spans):
            if self._ends and start <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end)
            else:
                self._starts.append(start)
                self._ends.append(end)

    def __iter__(self) -> Iterator[tuple[float, float]]:
        return iter(zip(self._starts, self._ends, strict=True))

    def overlaps(self, start: float, end: float) -> bool:
        """True if any of them touches start..end."""
        at = bisect_right(self._starts, end) - 1
        return at >= 0 and self._ends[at] >= start

    def free(self, start: float, end: float) -> Iterator[tuple[float, float]]:
        """The parts of start..end that none of them covers, in order."""
        for since, until in self:
            if start < since and start < end:
                yield start, min(since, end)
            start = max(start, until)
        if start < end:
            yield start, end

    def covered_s(self, start: float, end: float) -> float:
        """How much of start..end they cover, in seconds."""
        at, covered = bisect_right(self._starts, end) - 1, 0.0
        while at >= 0 and self._ends[at] > start:
            covered += min(end, self._ends[at]) - max(start, self._starts[at])
            at -= 1
        return covered


class Reading:
    """One history, grouped; what is expensive is worked out when first asked for."""

    def __init__(self, history: History) -> None:
        invokes: defaultdict[str, list[Op]] = defaultdict(list)
        points: defaultdict[str, list[Op]] = defaultdict(list)
        ends: dict[int, Op] = {}
        invoke = OpType.INVOKE
        for op in history:
            if op.type is invoke:
                invokes[op.f].append(op)
            elif op.call is None:
                points[op.f].append(op)
            else:
                ends[op.call] = op
        self.torn = history.torn
        self.end_s = history[-1].time_s if len(history) else 0.0
        self._invokes, self._points, self._ends = invokes, points, ends

    def pairs(self, f: str) -> Iterator[tuple[Op, Op | None]]:
        """(invocation, completion or None) of every operation ``f``, in the order of invocation."""
        for op in self._invokes.get(f, ()):
            end = None if op.call is None else self._ends.get(op.call)
            yield op, end if end is not None and end.f == f else None

    def points(self, f: str) -> list[Op]:
        """Rows ``f`` that belong to no call."""
        return self._points.get(f, [])

    # -- calls ----------------------------------------------------------------------------------------------------

    @cached_property
    def calls(self) -> tuple[Call, ...]:
        """Every call of a user, in the order of invocation."""
        found = [self._call(op, end) for kind in CALLS for op, end in self.pairs(kind)]
        return tuple(sorted(found, key=lambda call: call.invoke.index))

    @staticmethod
    def _call(op: Op, end: Op | None) -> Call:
        value = op.value
        given_s = number(value, "deadline_s", -1.0)
        status = "open" if end is None else _STATUS[end.type]
        if status == "info" and end is not None and end.value.get("refused") is True:
            status = "refused"
        return Call(
            op.f,
            op.process,
            *_who_and_what(value),
            op.time_s,
            None if end is None else end.time_s,
            None if given_s < 0 else given_s,
            status,
            op,
            end,
        )

    @cached_property
    def call_numbers(self) -> dict[int, Call]:
        """Calls of users by their number."""
        return {call.invoke.call: call for call in self.calls if call.invoke.call is not None}

    @cached_property
    def call_at(self) -> dict[int, Call]:
        """Calls of users by the indexes of their rows."""
        return {row: call for call in self.calls for row in call.rows}

    def unanswered(self, call: Call, deadline_s: float) -> bool:
        """True if the call did not get its answer. One that the end of the history cut off before its deadline (the
        given one, if its row does not say) might still have; one that was stranded could not. Of one that a fault cut
        short nobody waited for it.
        """
        if call.status == "open":
            return self.end_s > call.began_s + call.deadline_s(deadline_s)
        return call.status != "ok" and not call.stranded and not call.cut

    @cached_property
    def saver_calls(self) -> tuple[SaverCall, ...]:
        """Every call of a recording saver, by kind and then in the order of invocation."""
        return tuple(self._saver_call(f, op, end) for f in SAVER_CALLS for op, end in self.pairs(f))

    @cached_property
    def saver_calls_of(self) -> dict[str, list[SaverCall]]:
        """The same by thread."""
        found: defaultdict[str, list[SaverCall]] = defaultdict(list)
        for saver in self.saver_calls:
            found[saver.thread].append(saver)
        return found

    @staticmethod
    def _saver_call(f: str, op: Op, end: Op | None) -> SaverCall:
        parent = op.value.get("parent")
        return SaverCall(
            f,
            op.process,
            text(op.value, "thread"),
            text(op.value, "turn"),
            parent if isinstance(parent, int) and not isinstance(parent, bool) else None,
            op.time_s,
            None if end is None else end.time_s,
            op,
            end,
        )

    @cached_property
    def conversations(self) -> dict[str, Conversation]:
        """Every thread that the workload used, its calls played in the order of the history's rows."""
        return self._played()

    def _played(self) -> dict[str, Conversation]:
        threads = {name: Conversation(name) for name in dict.fromkeys(call.thread for call in self.calls)}
        ends = iter(sorted((call.end.index, place) for place, call in enumerate(self.calls) if call.end is not None))
        row, place = next(ends, _NO_MORE)
        for call in self.calls:
            while row < call.invoke.index:
                ended = self.calls[place]
                threads[ended.thread].ended(ended)
                row, place = next(ends, _NO_MORE)
            threads[call.thread].began(call)
        while place >= 0:
            ended = self.calls[place]
            threads[ended.thread].ended(ended)
            row, place = next(ends, _NO_MORE)
        return threads

    # -- phases, windows, stalls ----------------------------------------------------------------------------------

    @cached_property
    def phases(self) -> dict[str, float]:
        """When each phase first began."""
        return self._phases()

    def _phases(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for op in self.points("phase"):
            found.setdefault(text(op.value, "name"), op.time_s)
        return found

    @cached_property
    def gate_end_s(self) -> float:
        """Until when there was load without faults: phase ``drive``, else the first window, else the end."""
        began = [damage.began_s for damage in self.damages]
        return self.phases.get("drive", min(began, default=self.end_s))

    @cached_property
    def driving_end_s(self) -> float:
        """When users were no longer asked to call."""
        return min((self.phases[name] for name in _DRIVING_ENDS if name in self.phases), default=self.end_s)

    @cached_property
    def damages(self) -> tuple[Damage, ...]:
        """Every window, in the order in which they began."""
        return self._damages()

    def _damages(self) -> tuple[Damage, ...]:
        ends = {
            f: {self._window(op): end for op, end in self.pairs(f) if end is not None and end.type is OpType.OK}
            for f in ("fault", "heal")
        }
        installed, healed = ends["fault"], ends["heal"]
        found = []
        for op, _ in self.pairs("fault"):
            value, window = op.value, self._window(op)
            fault = value.get("fault")
            last = healed.get(window) or installed.get(window)
            change = last.value.get("change") if last is not None else None
            found.append(
                Damage(
                    number=window,
                    kind=text(value, "kind") or "unnamed fault",
                    began_s=op.time_s,
                    ended_s=healed[window].time_s if window in healed else self.end_s,
                    installed=window in installed,
                    healed=window in healed,
                    usable=value.get("usable") is True,
                    effect=text(value, "effect"),
                    delay_ms=number(value, "delay_ms"),
                    holds_connections=value.get("holds_connections") is True,
                    needs_in_flight=number(value, "needs_in_flight"),
                    fault=fault if isinstance(fault, dict) else {},
                    change=change if isinstance(change, dict) else {},
                    row=op.index,
                )
            )
        return tuple(found)

    @staticmethod
    def _window(op: Op) -> int:
        return int(number(op.value, "window", -1.0))

    @cached_property
    def healed_s(self) -> float | None:
        """The end of the last window; None without windows."""
        return max((damage.ended_s for damage in self.damages), default=None)

    def taken_away(self, after_s: float) -> Mapping[str, Spans]:
        """By group, when a fault had ended or stopped its process, each ``after_s`` longer."""
        spans: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        for damage in self.damages:
            hit = damage.change.get("processes")
            if damage.effect == Effect.STRANDS and isinstance(hit, list):
                for process in hit:
                    if isinstance(process, dict):
                        spans[text(process, "group")].append((damage.began_s, damage.ended_s + after_s))
        return {group: Spans(found) for group, found in spans.items()}

    def damaged(self, after_s: float, *, usable: bool) -> Spans:
        """The windows, each ``after_s`` longer; those that leave the database usable only if ``usable``."""
        return Spans((d.began_s, d.ended_s + after_s) for d in self.damages if usable or not d.usable)

    @cached_property
    def host_stalls(self) -> Spans:
        """When the whole process was not run, or hardly: what was late then may be the machine's fault."""
        return self._stalls_of_the_host(starved=True)

    @cached_property
    def standstills(self) -> Spans:
        """When the whole process was not run at all."""
        return self._stalls_of_the_host(starved=False)

    def _stalls_of_the_host(self, *, starved: bool) -> Spans:
        rows = (op for op in self.points("stall") if op.value.get("host") and (starved or not op.value.get("starved")))
        stalls = ((op.time_s, number(op.value, "seconds")) for op in rows)
        return Spans((time_s - seconds, time_s) for time_s, seconds in stalls)

    # -- what the database showed ---------------------------------------------------------------------------------

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        """The sampler's rows; each holds until the next."""
        return tuple(Sample(op.time_s, _backends(op.value), op.index) for op in self.points("connections"))

    def sample_at(self, time_s: float) -> Sample | None:
        """The last sample at or before ``time_s``; None if there is none, or it failed."""
        at = bisect_right(self.samples, time_s, key=lambda sample: sample.time_s) - 1
        return self.samples[at] if at >= 0 and self.samples[at].backends is not None else None


def of_time(call: Call) -> bool:
    """True if a machine that stood still can by itself have kept this call from its answer."""
    error = None if call.end is None else call.end.error
    if error is None:
        return True
    names = {error.type, *error.classes, *(name for _, name, _ in error.links)}
    return any(name.rpartition(".")[2] in _OF_TIME for name in names)


def _backends(value: Mapping[str, Json]) -> dict[str, frozenset[int]] | None:
    groups = value.get("backends")
    if not isinstance(groups, dict):
        return None
    return {
        group: frozenset(pid for pid in pids if isinstance(pid, int)) if isinstance(pids, list) else frozenset()
        for group, pids in groups.items()
    }


@lru_cache(maxsize=1)
def read(history: History) -> Reading:
    """The reading of ``history``; all checkers of one cell share it."""
    return Reading(history)
