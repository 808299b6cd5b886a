"""``poolproof verify`` and ``poolproof report``: what can be done with a run's folder alone, at any later time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import click

from harness.cli.ending import BROKEN, KEPT, NOTHING, Ending
from harness.cli.running import as_text
from harness.core.errors import UsageError
from harness.core.record import CellResult
from harness.core.verdict import Verdict
from harness.registry import default_registry
from harness.rendering import render_all
from harness.store import CELLS, CellFolder, find_run, load_cells, read_record, read_result, write_whole
from harness.summary import summarize_record
from harness.verdicts import Judging

#: Verdicts that come from how the cell's process ended: its records alone cannot give them again.
_FROM_OUTSIDE = (Verdict.ERROR, Verdict.SKIP)


def verify_run(text: str) -> Ending:
    """Judge every cell of a run again; exit 0 if the verdicts are what was stored, else 1."""
    run = find_run(text)
    folders = sorted(path.parent for path in (run / CELLS).glob("*/cell.json"))
    differing = unjudged = 0
    for folder in folders:
        if not (folder / "verdict.json").is_file():
            unjudged += 1
            click.echo(f"–  {folder.name}  was never judged: the run ended before")
            continue
        try:
            differences = list(_differences(folder))
        except UsageError as error:
            differences = [f"cannot be judged: {error}"]
        differing += bool(differences)
        for difference in differences:
            click.echo(f"✗  {folder.name}  {difference}")
        if not differences:
            click.echo(f"✓  {folder.name}")
    judged = len(folders) - unjudged
    if not judged:
        return Ending(NOTHING, f"no judged cell in {run}")
    if differing:
        return Ending(BROKEN, f"{differing} of {judged} cells are judged differently than stored, or cannot be")
    return Ending(KEPT, f"all {judged} stored verdicts follow from the records")


def _differences(folder: Path) -> Iterator[str]:
    """What the records say and the stored verdict does not, in words."""
    stored = read_result(folder)
    again = Judging(CellFolder(folder), wall_s=stored.wall_s, registry=default_registry()).result()
    if stored.verdict in _FROM_OUTSIDE and again.verdict is not Verdict.FAIL:
        return
    if stored.verdict is not again.verdict:
        yield f"stored {stored.verdict}, judged {again.verdict} again ({again.reason})"
    before, after = _decisions(stored), _decisions(again)
    for guarantee in sorted(before.keys() | after.keys()):
        old, new = before.get(guarantee, "nothing"), after.get(guarantee, "nothing")
        if old != new:
            yield f"{guarantee}: stored {old}, judged {new} again"


def _decisions(result: CellResult) -> dict[str, str]:
    return {str(finding.guarantee): str(finding.verdict) for finding in result.findings}


def report_run(text: str) -> Ending:
    """Render every report again, from the stored verdicts; the exit status is the run's own."""
    run = find_run(text)
    record, cells = read_record(run), load_cells(run)
    if not record.wall_s and len(cells) < record.planned:  # it was never written again, as at the end of a run
        record = dataclasses.replace(record, broke="the run was killed, or still goes on")
    summary = summarize_record(record, cells)
    for name, content in render_all(summary).items():
        write_whole(run / name, content)
    click.echo(as_text(summary, str(run / "report.html")), nl=False)
    return Ending(summary.exit, summary.exit_reason, line=False)
