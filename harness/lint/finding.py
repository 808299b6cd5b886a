"""What the lint says: a finding, and what could not be checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """A file and a line; line 0 where it cannot be known."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file

    @property
    def from_here(self) -> str:
        """Relative to where the user stands, if it lies below."""
        path, here = Path(self.file), Path.cwd()
        below = path.is_absolute() and path.is_relative_to(here)
        return str(Place(str(path.relative_to(here)), self.line) if below else self)


@dataclass(frozen=True, slots=True, kw_only=True)
class LintFinding:
    """One misconfiguration.

    ``incidents`` are numbers of docs/incidents.md (``I-19``), or the public report (``owner/name#1``) where the
    catalogue has none; empty if nobody is known to have reported one, and then ``mode`` says what fails. ``scenarios``
    are those in which it can be seen.
    """

    check: str
    what: str
    where: Place
    value: str
    allowed: str
    fix: str
    incidents: tuple[str, ...]
    scenarios: tuple[str, ...] = ()
    mode: str = ""

    @property
    def causes(self) -> str:
        """The incidents in one line, or what fails."""
        return ", ".join(self.incidents) or self.mode


@dataclass(frozen=True, slots=True)
class NotChecked:
    """What could not be looked at, and why."""

    what: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LintReport:
    """All findings about one reference, in the order of the checks."""

    reference: str
    subject: str
    findings: tuple[LintFinding, ...]
    not_checked: tuple[NotChecked, ...]
