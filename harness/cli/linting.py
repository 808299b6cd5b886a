"""``poolproof lint``: what is misconfigured, where, what is allowed, and the incident that it causes."""

from __future__ import annotations

import dataclasses
import json
import textwrap

import click

from harness.cli.ending import BROKEN, KEPT, Ending
from harness.core.verdict import Json
from harness.lint import Given, LintFinding, LintReport, lint

_WIDTH = 110


def show(reference: str, given: Given, *, as_json: bool) -> Ending:
    """Print every finding about ``reference``; exit 1 if there is one."""
    report = lint(reference, given)
    click.echo(json.dumps(_as_json(report), indent=1) if as_json else _as_text(report), nl=as_json)
    n = len(report.findings)
    said = f"{n} finding{'s' if n > 1 else ''} in {report.subject}" if n else f"nothing found in {report.subject}"
    return Ending(BROKEN if n else KEPT, said, line=not as_json)


def _as_text(report: LintReport) -> str:
    parts = [f"{report.subject}\n"]
    parts += [_finding_text(found) for found in report.findings]
    parts += [_wrapped(f"not checked: {item.what} ({item.why})", "  ") for item in report.not_checked]
    return "".join(parts)


def _finding_text(found: LintFinding) -> str:
    seen_in = f"; poolproof run {' '.join(found.scenarios)}" if found.scenarios else ""
    rows = (
        ("value", found.value),
        ("allowed", found.allowed),
        ("fix", found.fix),
        ("causes", found.causes + seen_in),
    )
    head = _wrapped(f"✗ {found.check}  {found.where.from_here}: {found.what}", "  ")
    return head + "".join(_wrapped(f"    {key:<8} {value}", " " * 13) for key, value in rows)


def _wrapped(text: str, indent: str) -> str:
    """With its own line breaks, and what is longer than a line indented."""
    wrap = textwrap.TextWrapper(_WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return wrap.fill(text) + "\n"


def _as_json(report: LintReport) -> dict[str, Json]:
    return {
        "reference": report.reference,
        "subject": report.subject,
        "findings": [
            {
                **{key: value for key, value in dataclasses.asdict(found).items() if key != "where"},
                "file": found.where.file,
                "line": found.where.line or None,
                "incidents": list(found.incidents),
                "scenarios": list(found.scenarios),
            }
            for found in report.findings
        ],
        "not_checked": [dataclasses.asdict(item) for item in report.not_checked],
    }
