"""An experiment free of any strategy: load, fault plan, bounds, and what it must catch."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from enum import StrEnum

from harness.core.environment import Capability
from harness.core.errors import UsageError
from harness.core.fault import FaultPlan, check_plan
from harness.core.incident import Incident
from harness.core.verdict import Guarantee
from harness.core.workload import Workload

_NAME = re.compile(r"^[a-z0-9_]+/[a-z0-9_]+$")

#: A bound of time missed by up to this factor is SLOW, by more FAIL.
SLOW_FACTOR = 3.0
#: How long a scenario without any window is driven.
IDLE_PLAN_S = 2.0
#: The bound after an outage of at least this many seconds: reconnects back off meanwhile.
LONG_RECOVER_S, LONG_OUTAGE_S = 6.0, 10.0
#: Recovery bounds above this are refused.
RECOVER_LIMIT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The bounds of one scenario, in seconds. ``recover_why`` is required when ``recover_s`` is not the standard 3 (6
    after outages of 10 s).
    """

    deadline_s: float = 8.0
    recover_s: float = 3.0
    recover_why: str = ""
    #: What a call may take over its deadline before it is SLOW, and before it is FAIL.
    hang_slow_s: float = 2.0
    hang_fail_s: float = 12.0
    budget: int = 24

    def __post_init__(self) -> None:
        for name, low, high in (("deadline_s", 0.1, 120.0), ("recover_s", 0.1, RECOVER_LIMIT_S)):
            value = getattr(self, name)
            if not math.isfinite(value) or not low <= value <= high:
                raise UsageError(f"bounds: {name} is {value!r}; allowed: {low:g} to {high:g}")
        if self.recover_s not in (3.0, LONG_RECOVER_S) and not self.recover_why:
            raise UsageError(f"bounds: recover_s is {self.recover_s:g}, so recover_why must say why")


class Layout(StrEnum):
    """Where the replica groups live."""

    ONE_LOOP = "one_loop"  # two groups in one process, one event loop
    SECOND_THREAD = "second_thread"  # users of the second group call from a second thread with a loop of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Load + fault plan + bounds. ``why`` says in a sentence or two what production event this is.

    ``question`` is the post's question that it answers: 1 shared or per agent, and thread safety; 2 safe re-creation;
    3 updating living savers; 4 retry, degrade or fail fast. ``must_catch`` lists (control, guarantee): pairs that
    this scenario has to show. ``strategies`` names those that it runs with unless the user names others (empty: with
    every one that is not planted). With ``on_request`` it runs only when it, its family or its file is named,
    with ``full_only`` in the full size as well. ``durabilities`` are those that it runs under unless the user names
    another (empty: those of the run's size).
    With an ``incident`` it shows a public report: its arms are the ``strategies``, if none are named.
    A plan without any window proves nothing of a strategy under damage, so only a ``baseline`` may have that.
    """

    name: str
    title: str
    why: str
    question: int
    load: Workload
    plan: FaultPlan = ()
    bounds: Bounds = field(default_factory=Bounds)
    must_catch: tuple[tuple[str, Guarantee], ...] = ()
    needs: frozenset[Capability] = frozenset()
    layout: Layout = Layout.ONE_LOOP
    #: Load without faults before the plan begins; extended (bounded) until every kind of turn has succeeded.
    gate_s: float = 1.5
    #: Load after the plan's end that is driven in any case.
    tail_s: float = 1.0
    quick: bool = False
    strategies: tuple[str, ...] = ()
    on_request: bool = False
    full_only: bool = False
    baseline: bool = False
    durabilities: tuple[str, ...] = ()
    incident: Incident | None = None

    def __post_init__(self) -> None:
        self._check_incident()
        if not _NAME.match(self.name):
            raise UsageError(f"scenario name {self.name!r}; allowed: family/name in lower case, digits and _")
        if self.question not in (1, 2, 3, 4):
            raise UsageError(f"scenario {self.name}: question is {self.question!r}; allowed: 1 to 4")
        check_plan(self.plan)
        outage_s = max((window.stop_s - window.start_s for window in self.plan), default=0.0)
        if self.bounds.recover_s == LONG_RECOVER_S and not self.bounds.recover_why and outage_s < LONG_OUTAGE_S:
            raise UsageError(
                f"scenario {self.name}: recover_s is {LONG_RECOVER_S:g}, its longest window {outage_s:g} s; allowed: "
                f"windows of {LONG_OUTAGE_S:g} s and more, or a recover_why"
            )
        if bool(self.plan) is self.baseline:
            has = f"a plan of {len(self.plan)} windows" if self.plan else "a plan without any window"
            allowed = "a baseline has none" if self.plan else "at least one window, or baseline=True"
            raise UsageError(f"scenario {self.name}: has {has}; allowed: {allowed}")

    def _check_incident(self) -> None:
        incident = self.incident
        if incident is None:
            return
        if not self.strategies:
            object.__setattr__(self, "strategies", (incident.red, incident.green))
        if not incident.symptom and incident.red not in {control for control, _ in self.must_catch}:
            raise UsageError(
                f"scenario {self.name}: the incident has no symptom in words; allowed: such a text, or a guarantee "
                f"in must_catch that {incident.red!r} breaks"
            )

    @property
    def heading(self) -> str:
        """The title, and where an incident was reported."""
        return f"{self.title} ({self.incident.source})" if self.incident else self.title

    @property
    def scheduled_s(self) -> float:
        """What this scenario takes when all goes well: gate, plan, and the tail in which nothing may fail any more."""
        return self.gate_s + max((w.stop_s for w in self.plan), default=IDLE_PLAN_S) + self.tail_s

    def must_not_recover(self, control: str) -> bool:
        """Whether this control must be caught breaking ``recovers`` here. Its cells take three bounds longer then."""
        return (control, Guarantee.RECOVERS) in self.must_catch
