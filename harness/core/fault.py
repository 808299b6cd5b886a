"""One kind of damage, and when it acts.

A fault is a frozen dataclass: its public fields are its configuration, its JSON and its documentation. ``active`` is
a scope: leaving it heals, whatever happened inside, also when it is cancelled.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

from harness.core.environment import Capability, Environment
from harness.core.errors import UsageError
from harness.core.verdict import Json

#: No window may begin or end later than this.
PLAN_LIMIT_S = 600.0


class Effect(StrEnum):
    """What a fault must be seen to do to this cell's own operations; ``exercised`` demands it of each window."""

    DISTURBS = "disturbs"  # a call or saver call that overlaps the window ended in an error (``tells``), or stalled
    DELAYS = "delays"  # ... or took at least 0.8 x delay_ms longer than the gate's median
    RENEWS = "renews"  # a backend from before the window is gone after it
    LINGERS = "lingers"  # the change read back at the heal counts sockets that stood half closed (lingering_sockets)
    RECREATES = "recreates"  # an ordered re-creation, with turns in flight and a waiter queued
    STRIKES = "strikes"  # a message was hit while a saver call waited for it, which then failed or came delay_ms late
    CHECKS = "checks"  # health checks ran side by side
    STRANDS = "strands"  # a replica's process was ended or stood still, and calls that it had were never answered
    DRAINS = "drains"  # a replica's process that had calls ended by itself, with status 0
    CANCELS = "cancels"  # calls of this cell were cut short while they were under way
    STALLS = "stalls"  # the event loop stood still because it was told to
    SETS_UP = "sets_up"  # set-ups ran side by side


@dataclass(slots=True)
class Witness:
    """What the component itself said: the change read back, and afterwards the healing read back.

    ``change`` is filled by the fault; the effect on operations is judged later, from the history. If it has ``tells``,
    the error of a saver call has to say these words: for a fault that runs beside another one which disturbs too.
    """

    change: dict[str, Json] = field(default_factory=dict)


@runtime_checkable
class Fault(Protocol):
    """One kind of damage."""

    kind: ClassVar[str]
    needs: ClassVar[frozenset[Capability]]
    #: True if the database stays usable, so that every turn under it must still be answered (``available``).
    usable: ClassVar[bool]
    effect: ClassVar[Effect]
    #: Turns that must be in flight when the window begins; 0 for damage to idle connections.
    in_flight: ClassVar[int]
    #: True if connections may be held open by the component until it heals (black holes).
    holds_connections: ClassVar[bool]

    @property
    def delay_ms(self) -> float:
        """How late an answer may come because of this fault; 0 if it delays nothing."""
        ...

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """Do the damage; leaving heals. Raises ComponentError if it could not, HealError if it would not heal."""
        ...


@dataclass(frozen=True, slots=True)
class Window:
    """A fault from start to stop, in seconds after the plan began. Refuses impossible times when it is made."""

    fault: Fault
    start_s: float
    stop_s: float

    def __post_init__(self) -> None:
        for name in ("start_s", "stop_s"):
            value: Any = getattr(self, name)
            if not _is_number(value):
                raise UsageError(f"window of {self.fault.kind!r}: {name} is {value!r}; allowed: a number of seconds")
            if not 0 <= value <= PLAN_LIMIT_S:
                late = f" ({value - PLAN_LIMIT_S:g} s after the end of the longest plan)" if value > 0 else ""
                raise UsageError(
                    f"window of {self.fault.kind!r}: {name} is {value!r}; allowed: 0 to {PLAN_LIMIT_S:g}{late}"
                )
        if self.stop_s <= self.start_s:
            raise UsageError(
                f"window of {self.fault.kind!r}: stop_s is {self.stop_s!r}; allowed: later than {self.start_s!r}"
            )


FaultPlan: TypeAlias = tuple[Window, ...]


def fault_to_json(fault: Fault) -> dict[str, Json]:
    """``{"kind": ..., field: value, ...}``."""
    configured: Any = fault  # a dataclass, which a protocol cannot say
    return {"kind": fault.kind, **{item.name: getattr(fault, item.name) for item in dataclasses.fields(configured)}}


def plan_to_json(plan: FaultPlan) -> list[Json]:
    """A plan as it stands in ``cell.json`` and in reports."""
    return [{"fault": fault_to_json(w.fault), "start_s": w.start_s, "stop_s": w.stop_s} for w in plan]


def fault_from_json(data: Mapping[str, Json], kinds: Mapping[str, type[Any]], where: str = "plan") -> Fault:
    """Build a fault from its JSON. Unknown kinds or fields, and values of a wrong type, raise UsageError."""
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise UsageError(f"{where}: kind is {kind!r}; allowed: {', '.join(sorted(kinds))}")
    fields = {item.name: item for item in dataclasses.fields(kinds[kind])}
    values: dict[str, Any] = {}
    for name, value in data.items():
        if name == "kind":
            continue
        if name not in fields:
            allowed = ", ".join(sorted(fields)) or "none"
            raise UsageError(f"{where}: {kind} has no field {name!r}; allowed: {allowed}")
        default = fields[name].default
        if default is not dataclasses.MISSING and not _same_kind(value, default):
            raise UsageError(f"{where}: {kind}.{name} is {value!r}; allowed: a {type(default).__name__}")
        values[name] = value
    try:
        built: Fault = kinds[kind](**values)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where}: {kind}: {error}") from error
    return built


def _same_kind(value: Json, default: object) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return _is_number(value)
    return isinstance(value, type(default))


def _is_number(value: object) -> bool:
    """A finite number that a float can hold: JSON may bring integers of any size."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def plan_from_json(data: Json, kinds: Mapping[str, type[Any]]) -> FaultPlan:
    """Read a plan; every mistake is a UsageError that names the window, the field, the value and what is allowed."""
    if not isinstance(data, list):
        raise UsageError(f"plan: is a {type(data).__name__}; allowed: a list of windows")
    windows: list[Window] = []
    for number, row in enumerate(data):
        where = f"plan, window {number}"
        if not isinstance(row, dict) or set(row) != {"fault", "start_s", "stop_s"}:
            raise UsageError(f"{where}: allowed: an object with just fault, start_s and stop_s")
        fault = row["fault"]
        if not isinstance(fault, dict):
            raise UsageError(f"{where}: fault is {fault!r}; allowed: an object with kind and the fault's fields")
        start_s, stop_s = row["start_s"], row["stop_s"]
        built = fault_from_json(fault, kinds, where)
        try:
            windows.append(Window(built, start_s, stop_s))  # type: ignore[arg-type]
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from error
    plan = tuple(windows)
    check_plan(plan)
    return plan


def check_plan(plan: Sequence[Window]) -> None:
    """Refuse two windows that overlap where healing one would heal the other.

    That is so for two of the same fault (same JSON), and for two whose optional property ``heals`` names the same
    thing: a toxic, the proxy's port ... It is one name, or a tuple of them.
    """
    for first in range(len(plan)):
        for second in range(first + 1, len(plan)):
            a, b = plan[first], plan[second]
            shared_s = min(a.stop_s, b.stop_s) - max(a.start_s, b.start_s)
            if shared_s > 0 and (same := _healed_by_both(a.fault, b.fault)):
                kinds = " and ".join(repr(kind) for kind in dict.fromkeys((a.fault.kind, b.fault.kind)))
                raise UsageError(
                    f"plan: windows {first} and {second} of {kinds} overlap "
                    f"({a.start_s}..{a.stop_s} and {b.start_s}..{b.stop_s}, so for {shared_s:g} s), and healing one "
                    f"heals {same} of the other; allowed: one after the other"
                )


def _healed_by_both(a: Fault, b: Fault) -> str:
    """What the healing of either would take from the other; empty if nothing."""
    if fault_to_json(a) == fault_to_json(b):
        return "the damage"
    others = _heals(b)
    return next((name for name in _heals(a) if name in others), "")


def _heals(fault: Fault) -> tuple[str, ...]:
    names: str | tuple[str, ...] = getattr(fault, "heals", ())
    return (names,) if isinstance(names, str) else names
