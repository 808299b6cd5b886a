"""``poolproof replay``: the same cell again, with the plan and the seed that it had.

A real machine is not exact, so the answer is a rate: k of n times it ended the same way. Under other versions of what
is tested it is no replay at all but a new run of an old plan, and says so.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from harness.cli.ending import BROKEN, COMPONENT, KEPT, UNPROVED, Ending
from harness.cli.running import is_live, note, notes_of, report_of
from harness.cli.versions import changed_versions
from harness.core.cell import CellSpec
from harness.core.errors import UsageError
from harness.core.record import CellResult
from harness.core.verdict import Verdict
from harness.environments.stack import KINDS
from harness.environments.target_dsn import TARGET, Target
from harness.registry import Registry, default_registry
from harness.store import find_cell, folder_name, open_cell, read_result
from harness.verdicts import plan_of

_STATUS = {
    Verdict.FAIL: BROKEN,
    Verdict.SLOW: BROKEN,
    Verdict.ERROR: COMPONENT,
    Verdict.INVALID: UNPROVED,
    Verdict.SKIP: UNPROVED,
    Verdict.PASS: KEPT,
}
#: Which status wins when the replays end differently.
_WORST = (COMPONENT, BROKEN, UNPROVED, KEPT)


def replay_cell(text: str, *, times: int, command: str, require_all: bool, target: Target | None = None) -> Ending:
    """Run the cell that ``text`` names ``times`` times and compare with how it ended then."""
    from harness.campaign import Plan, gather_provenance, run_campaign

    folder = find_cell(text)
    spec = open_cell(folder)[0]
    try:
        _check_names(default_registry(), spec)
    except UsageError as error:
        raise UsageError(f"{folder / 'cell.json'}: {error}") from None
    if target is None and spec.environment == TARGET:
        raise UsageError(
            f"{folder / 'cell.json'}: this cell ran on a server of your own; "
            "add --target-dsn and --i-own-this-database to replay it on one"
        )
    if target is not None:
        spec = dataclasses.replace(spec, environment=TARGET)
    stored = _stored(folder)
    changed = changed_versions(spec.provenance, gather_provenance())
    source = f"runs the plan of {folder}: {changed}" if changed else f"replays {folder}"
    cells = tuple(dataclasses.replace(spec, id=f"{spec.id}.again{n}") for n in range(1, times + 1))
    plan = Plan(
        cells=cells,
        command=command,
        require_all=require_all,
        environment=spec.environment,
        notes=(source, *notes_of(target)),
        target=target,
    )
    summary = run_campaign(plan, note=note, live=is_live())
    click.echo(_tally(stored, summary.cells, times, changed))
    click.echo(f"report {report_of(None)}")
    if summary.interrupted:
        return Ending(summary.exit, summary.exit_reason)
    found = {_STATUS[cell.verdict] for cell in summary.cells}
    status = next(status for status in _WORST if status in found)
    return Ending(status, _reproduced(stored, summary.cells, times, changed))


def _check_names(registry: Registry, spec: CellSpec) -> None:
    """Raise UsageError before anything starts if the cell names what is not there any more, or has nothing to do."""
    folder_name(spec.id)
    if spec.environment not in (*KINDS, TARGET):
        raise UsageError(f"environment is {spec.environment!r}; allowed: {', '.join((*KINDS, TARGET))}")
    scenario = registry.scenario(spec.scenario)
    plan_of(spec, scenario, registry)
    if spec.plan == [] and not scenario.baseline:
        allowed = f"at least one window, because {scenario.name} is no baseline"
        raise UsageError(f"cell {spec.id}: plan has no window; allowed: {allowed}")
    registry.strategy(spec.strategy)
    for agent in spec.agents:
        registry.agent(agent)


def _stored(folder: Path) -> CellResult | None:
    return read_result(folder) if (folder / "verdict.json").is_file() else None


def same_end(stored: CellResult, again: CellResult) -> bool:
    """True if ``again`` reproduces ``stored``: the same verdict and, for a broken guarantee, one of the same."""
    if stored.verdict is not again.verdict:
        return False
    broken = _broken(stored)
    return not broken or bool(broken & _broken(again))


def _broken(result: CellResult) -> set[str]:
    bad = (Verdict.FAIL, Verdict.SLOW)
    return {str(finding.guarantee) for finding in result.findings if finding.verdict in bad}


def _reproduced(stored: CellResult | None, cells: Sequence[CellResult], times: int, changed: str) -> str:
    if stored is None:
        return f"the cell had no verdict to compare with; ran {len(cells)} of {times} times"
    same = sum(same_end(stored, cell) for cell in cells)
    return f"{same} of {times} ended the same way, but versions differ" if changed else f"{same} of {times} reproduced"


def _tally(stored: CellResult | None, cells: Sequence[CellResult], times: int, changed: str) -> str:
    if stored is None:
        lines = [_reproduced(stored, cells, times, changed)]
    else:
        broken = ", ".join(sorted(_broken(stored)))
        lines = [f"then   {stored.verdict}{f' ({broken})' if broken else ''}"]
    for (verdict, broken), count in sorted(
        Counter((str(c.verdict), ", ".join(sorted(_broken(c)))) for c in cells).items()
    ):
        lines.append(f"again  {verdict}{f' ({broken})' if broken else ''}  {count} of {times}")
    return "\n".join([*lines, changed] if changed else lines)
