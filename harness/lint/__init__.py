"""Misconfigurations that cause known incidents, read off a pool or a pool strategy without connecting to anything.

``loading`` makes a :class:`Subject` of a reference: the pools that are there (``seen``) and the source around them
(``source``). ``checks`` has one file for each thing that is looked at. Nothing is opened and nothing is asked over the
network; what could therefore not be seen is said.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.lint.checks import CHECKS
from harness.lint.finding import LintFinding, LintReport, NotChecked
from harness.lint.loading import subject_of
from harness.lint.subject import Given

__all__ = ["Given", "LintFinding", "LintReport", "NotChecked", "lint"]


def lint(reference: str, given: Given | None = None, versions: Mapping[str, str] | None = None) -> LintReport:
    """Everything that can be found about ``reference``; UsageError if it names no pool and no strategy.

    ``given`` is what the user says of the place it runs in, ``versions`` those of psycopg and psycopg-pool (default:
    the installed ones).
    """
    subject = subject_of(reference, given or Given(), versions)
    said = [item for check in CHECKS for item in check(subject)]
    findings = (item for item in said if isinstance(item, LintFinding))
    not_checked = [*subject.not_checked, *(item for item in said if isinstance(item, NotChecked))]
    return LintReport(
        reference=reference,
        subject=subject.name,
        findings=tuple(dict.fromkeys(findings)),
        not_checked=tuple(dict.fromkeys(not_checked)),
    )
