"""``poolproof run``: select, run, and print what came out."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import click

from harness.cli.ending import NOTHING, Ending
from harness.core.record import RunSummary
from harness.core.redaction import redacted
from harness.environments.target_dsn import Target
from harness.registry import default_registry
from harness.selection import Wish, select
from harness.store import LATEST, REPORTS


def run_cells(
    wish: Wish,
    *,
    command: str,
    out: Path | None,
    jobs: int | None,
    require_all: bool,
    as_json: bool,
    target: Target | None = None,
) -> Ending:
    """Run what ``wish`` stands for. Nothing starts before every name and every plug-in has proved usable."""
    from harness.campaign import Plan, run_campaign
    from harness.lint.warning import warnings

    selection = select(default_registry(), wish)
    if not selection.cells:
        return Ending(NOTHING, "nothing was selected: no scenario is both named and in this size", line=not as_json)
    plan = Plan(
        cells=selection.cells,
        command=command,
        out=out,
        jobs=jobs,
        require_all=require_all,
        environment=wish.environment,
        must_catch=selection.must_catch,
        whole=selection.whole,
        notes=(*selection.notes, *notes_of(target), *warnings(selection.cells)),
        target=target,
    )
    summary = run_campaign(plan, note=note, live=is_live())
    click.echo(redacted(_as_json(summary) if as_json else as_text(summary, report_of(out))), nl=False)
    return Ending(summary.exit, summary.exit_reason, line=False)


def notes_of(target: Target | None) -> tuple[str, ...]:
    """What the report says of a server of the user's own."""
    if target is None:
        return ()
    place = f"{target.endpoint.host}:{target.endpoint.port}/{target.name}"
    remote = f"; allowed beyond this machine: {', '.join(target.remote)}" if target.remote else ""
    return (f"target      {place}, a server of the user's own{remote}; databases are named chaos_{target.run}_...",)


def note(text: str) -> None:
    """Progress goes to stderr."""
    click.echo(redacted(text), err=True)


def is_live() -> bool:
    """True if somebody watches: stderr is a terminal that can move its cursor."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def report_of(out: Path | None) -> str:
    """Where the run that just ended left its report."""
    folder = out if out is not None else (REPORTS / LATEST).resolve()
    return _shown(folder / "report.html")


def as_text(summary: RunSummary, report: str) -> str:
    """The table, the worst cell, the decision; its last line is the exit status and why."""
    from harness.rendering import terminal

    watched = sys.stdout.isatty()
    width = min(160, shutil.get_terminal_size().columns) if watched else 100
    return terminal.render(summary, report=report, width=width, colour=watched and not os.environ.get("NO_COLOR"))


def _as_json(summary: RunSummary) -> str:
    from harness.rendering import summary_json

    return summary_json.render(summary)


def _shown(path: Path) -> str:
    """Relative to where the user stands, if it lies below."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
