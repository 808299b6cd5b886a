"""What is reported: one frozen object that every format renders, so that all of them show the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.core.verdict import Finding, Json, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Something to point at on a cell's timeline: a PoolClosed at a caller, a pool closed, a re-creation ..."""

    time_s: float
    kind: str  # leak, error, refused, pool_closed_by, pool_opened, recreate, hang, replica_down, replica_up
    text: str
    index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """What the chart of one cell shows. Times in seconds on the cell's clock, latencies in milliseconds.

    ``bands``: (fault, start, stop). ``latencies``: (completion time, latency, status) of every call, or of those that
    show the most where there are too many; ``calls`` is how many there were. ``connections``: (time, backends of all
    groups).
    """

    end_s: float
    bands: tuple[tuple[str, float, float], ...] = ()
    latencies: tuple[tuple[float, float, str], ...] = ()
    calls: int = 0
    connections: tuple[tuple[float, int], ...] = ()
    marks: tuple[Mark, ...] = ()
    phases: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """One cell, judged.

    ``role`` is control or candidate (a user's own strategy is a candidate). ``expected`` are the guarantees that a
    control must be caught breaking here, and ``symptom`` where it must show an incident's; ``caught`` those of them
    that were FAIL, or seen. ``measures`` are numbers and short texts beside the guarantees.
    ``reason`` says in one sentence why the verdict is what it is. ``mistake`` says what a control that is planted to
    test the judge does wrong, and is empty for any other strategy. ``timeline`` is None when the cell has no history.
    """

    id: str
    scenario: str
    strategy: str
    agents: tuple[str, ...]
    durability: str
    seed: int
    role: str
    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    measures: Mapping[str, Json] = field(default_factory=dict)
    reason: str = ""
    plan: tuple[Json, ...] = ()
    expected: tuple[str, ...] = ()
    caught: tuple[str, ...] = ()
    timeline: Timeline | None = None
    folder: str = ""  # relative to the run's folder
    wall_s: float = 0.0
    scheduled_s: float = 0.0
    mistake: str = ""

    @property
    def planted(self) -> bool:
        """True if this cell tests the judge: a planted mistake in a scenario that has to catch it."""
        return bool(self.mistake and self.expected)

    @property
    def as_it_should_be(self) -> bool:
        """True if this cell needs no attention: a kept candidate, or a control caught wherever it had to be."""
        if self.role == "control":
            return self.verdict not in (Verdict.ERROR, Verdict.SKIP) and set(self.expected) <= set(self.caught)
        return self.verdict is Verdict.PASS

    @property
    def starved(self) -> bool:
        """True if nothing but a machine that stood still kept this cell from a verdict, or a control from being caught.

        A cell that broke a guarantee, or proved nothing for another reason, was not starved.
        """
        if self.role == "control":
            missed = set(self.expected) - set(self.caught)
            known = {finding.guarantee.value for finding in self.findings}
            open_ = [finding for finding in self.findings if finding.guarantee.value in missed]
            return bool(missed) and missed <= known and all(finding.details.get("host") is True for finding in open_)
        left = [finding for finding in self.findings if finding.verdict is not Verdict.PASS]
        return (
            self.verdict is Verdict.INVALID
            and bool(left)
            and all(finding.details.get("host") is True for finding in left)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioInfo:
    """What a report says of a scenario, in words."""

    name: str
    title: str
    why: str
    question: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One run: what ``summary.json`` says, and what html, junit, markdown and the terminal show.

    ``exit`` is the exit status of the command line, ``decision`` the one sentence that readers want first.
    ``selection`` is ``mixed``, ``controls`` or ``candidates``. ``interrupted`` marks a partial report; ``planned`` is
    how many cells there should have been.
    """

    exit: int
    exit_reason: str
    decision: str
    started: str  # ISO 8601, UTC
    wall_s: float
    planned: int
    cells: tuple[CellResult, ...]
    scenarios: tuple[ScenarioInfo, ...]
    interrupted: bool = False
    selection: str = "mixed"
    command: str = ""
    components: tuple[Mapping[str, Json], ...] = ()  # name, version, where, how it was chosen
    provenance: Mapping[str, Json] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
