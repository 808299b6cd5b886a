"""An incident that somebody reported in public: where, what they saw, and the strategies that show it and cure it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.core.errors import UsageError
from harness.core.history import CALLS

#: Stands among what a control must be caught at, beside the guarantees: the words that the user saw.
SYMPTOM = "symptom"
#: Stands in ``seen_by`` where the words stood in the service's log alone: a pool that cannot connect tells nobody else.
LOG = "log"

_REPO = re.compile(r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """``repo`` (``owner/name``, or a forum's host) and ``issue`` say where it was reported.

    ``red`` is the control with the configuration that the user had, ``green`` the candidate with the cure; both run
    under the scenario's one plan. ``symptom`` is a regular expression for ``Class: message`` of an exception or of one
    in its graph, met by an operation whose ``f`` is in ``seen_by``: those of callers, unless the user saw it elsewhere
    (``aput`` for a save in the background, ``open`` for a start, ``log`` for a line of the log).
    It is empty where the symptom is a silence, a hang or slowness; then the scenario's ``must_catch`` names the
    guarantee that shows it. ``wasted_nodes`` is how many nodes must have run on behind a save that failed as well, for
    an incident whose words any outage has. ``correction`` says, in words, what the report has wrong, or what is
    different with the versions of today.
    """

    number: int
    repo: str
    issue: int
    red: str
    green: str
    symptom: str = ""
    seen_by: tuple[str, ...] = CALLS
    wasted_nodes: int = 0
    correction: str = ""

    def __post_init__(self) -> None:
        where = f"incident {self.number}"
        if self.number < 1 or self.issue < 1:
            raise UsageError(f"{where}: number and issue are {self.number} and {self.issue}; allowed: 1 and above")
        if not _REPO.match(self.repo):
            raise UsageError(f"{where}: repo is {self.repo!r}; allowed: owner/name, or a forum's host")
        if self.wasted_nodes < 0:
            raise UsageError(f"{where}: wasted_nodes is {self.wasted_nodes}; allowed: 0 and above")
        if self.red == self.green:
            raise UsageError(f"{where}: red and green are both {self.red!r}; allowed: two strategies")
        try:
            re.compile(self.symptom)
        except re.error as error:
            raise UsageError(f"{where}: symptom {self.symptom!r} is no regular expression: {error}") from error

    @property
    def source(self) -> str:
        """``langchain-ai/langgraph#5675``; a forum's thread as ``host/t/1730``."""
        return f"{self.repo}#{self.issue}" if "/" in self.repo else f"{self.repo}/t/{self.issue}"
