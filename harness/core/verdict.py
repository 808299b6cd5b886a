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
        return list(Verdict).index(self)

    @classmethod
    def worst(cls, verdicts: Iterable[Verdict]) -> Verdict:
        """The worst of ``verdicts``; INVALID when there is none, because nothing was decided."""
        return min(verdicts, key=lambda verdict: verdict.rank, default=cls.INVALID)


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
