"""What a checker decides, and how decisions are merged.

Verdicts are three-valued in spirit (broken, nothing proved, kept), as in Jepsen, with two refinements: SLOW is a
bound of time missed by less than the factor that makes it FAIL, and ERROR is our own or a component's failure, which
must never look like a finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from harness.core.facts import Facts
    from harness.core.history import History
    from harness.core.scenario import Bounds

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


class Verdict(StrEnum):
    """The verdict of a cell or of one finding, worst first."""

    FAIL = "FAIL"
    ERROR = "ERROR"
    INVALID = "INVALID"
    SLOW = "SLOW"
    PASS = "PASS"  # noqa: S105 - a verdict, not a password
    SKIP = "SKIP"

    @property
    def rank(self) -> int:
        """0 for the worst verdict (FAIL), growing towards SKIP."""
        return _RANKS[self.value]

    @classmethod
    def worst(cls, verdicts: Iterable[Verdict]) -> Verdict:
        """The worst of ``verdicts``; INVALID when there is none, because nothing was decided."""
        return min(verdicts, key=lambda verdict: verdict.rank, default=cls.INVALID)


_RANKS = {verdict.value: rank for rank, verdict in enumerate(Verdict)}


class Guarantee(StrEnum):
    """What a strategy promises; one checker decides each."""

    NO_POOL_CLOSED = "no_pool_closed"
    NO_LOST_TURN = "no_lost_turn"
    NO_DUPLICATE_TURN = "no_duplicate_turn"
    ISOLATION = "isolation"
    AVAILABLE = "available"
    NO_HANG = "no_hang"
    RECOVERS = "recovers"
    DECLARED_ERRORS = "declared_errors"
    NO_SILENT_FAILURE = "no_silent_failure"
    CONNECTION_BUDGET = "connection_budget"
    CLEAN_BACKGROUND = "clean_background"
    EXERCISED = "exercised"


class Anomaly(StrEnum):
    """What can be wrong with the state of a conversation; findings name the code, and codes never change their meaning.

    A turn is acknowledged when its caller got its answer, in doubt when the caller cannot know, and certainly failed
    when no save of it was ever begun.
    """

    L1 = "L1"
    L2 = "L2"
    R1 = "R1"
    R2 = "R2"
    D1 = "D1"
    D2 = "D2"
    H1 = "H1"
    X1 = "X1"
    T1 = "T1"
    N1 = "N1"
    S1 = "S1"
    P1 = "P1"
    O1 = "O1"
    I1 = "I1"
    Z1 = "Z1"
    Q1 = "Q1"

    @property
    def meaning(self) -> str:
        """The definition, in one line."""
        return _MEANINGS[self.value]

    @property
    def guarantee(self) -> Guarantee:
        """The guarantee that it breaks."""
        return _BROKEN[self.value]


_MEANINGS = {
    "L1": "an acknowledged turn is gone from its thread, or one of the two readers does not find it",
    "L2": "an acknowledged turn is hidden: an older checkpoint of the thread holds it, the newest does not",
    "R1": "a turn that certainly failed is there",
    "R2": "a turn in doubt was shown by one read and is gone in a later one",
    "D1": "a turn stands twice in one list",
    "D2": "a turn has two answers, or an entry of the effects channel stands twice",
    "H1": "an acknowledged turn is there without its answer",
    "X1": "a turn stands in another thread than its own",
    "T1": "a torn checkpoint: a mixed state, or a missing parent that hides an acknowledged turn",
    "N1": "a read is not an extension of the read before it",
    "S1": "a read that began after the acknowledgement lacks the turn",
    "P1": "a fork that nobody asked for hides an acknowledged turn",
    "O1": "two turns stand in the opposite order of the one in which they were acknowledged and sent",
    "I1": "an interrupt was lost, or resumed twice",
    "Z1": "a deleted thread, or a turn of it, came back",
    "Q1": "content that nobody ever sent",
}
_BROKEN = {
    **dict.fromkeys(("L1", "L2", "S1", "N1", "R2", "H1"), Guarantee.NO_LOST_TURN),
    **dict.fromkeys(("D1", "D2", "I1"), Guarantee.NO_DUPLICATE_TURN),
    **dict.fromkeys(("R1", "X1", "O1", "Q1", "Z1", "T1", "P1"), Guarantee.ISOLATION),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A checker's decision on one cell; PASS findings are kept too, for they say what was looked at.

    ``evidence`` holds indexes of history operations; ``codes`` the anomaly codes (L1, D2, ...) that were seen;
    ``details`` whatever else a reader of the report needs, as plain JSON.
    """

    guarantee: Guarantee
    verdict: Verdict
    summary: str
    evidence: tuple[int, ...] = ()
    codes: tuple[str, ...] = ()
    details: Mapping[str, Json] = field(default_factory=dict)


class Checker(Protocol):
    """History and facts in, one finding out. Pure: the same input gives the same finding, on any machine."""

    guarantee: Guarantee

    def check(self, history: History, facts: Facts, bounds: Bounds) -> Finding:
        """Decide the guarantee. Never raises on a history that the loader accepted."""
        ...
