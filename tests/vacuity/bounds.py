"""How near real cells come to the bounds of vacuity: ``python -m tests.vacuity.bounds RUN``.

The bounds were chosen with this. A bound that the candidates of a busy machine come near is too tight: their cells
would be INVALID for the machine's sake.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harness.checkers.effects import operations
from harness.checkers.reading import Damage, number, read
from harness.checkers.vacuity import CLOCK_S, CLOCK_SHARE, CONDITIONS, UNKNOWN_SHARE, Evidence
from harness.core.fault import Effect
from harness.registry import CONTROL, default_registry, role_of
from harness.store import CELLS, open_cell


class Cell(NamedTuple):
    """One candidate's cell, as its history tells it."""

    name: str
    evidence: Evidence


def candidates(run: Path) -> Iterator[Cell]:
    """The cells of a run whose strategy is no control."""
    registry = default_registry()
    for folder in sorted((run / CELLS).iterdir()):
        spec, history, facts = open_cell(folder)
        if len(history) and role_of(registry.strategy(spec.strategy)) != CONTROL:
            yield Cell(spec.id, Evidence(read(history), facts))


def unknown_share(evidence: Evidence) -> float:
    """The share of a cell's turns that were begun to be saved and never acknowledged (V8)."""
    turns = [call for call in evidence.reading.calls if call.kind == "turn"]
    sure = {call.turn for call in turns if call.status == "ok"}
    begun = {call.turn for call in turns if call.invoke.call in evidence.saves_of} - sure
    return len(begun) / max(1, len({call.turn for call in turns}))


def missed_length(evidence: Evidence, damage: Damage) -> tuple[float, float]:
    """(seconds, share) by which a window missed its planned length (V14); zeros where the history does not say."""
    order = evidence.orders[damage.row].value
    planned_s = number(order, "stop_s") - number(order, "start_s")
    begun = [op.time_s for op, _ in evidence.reading.pairs("heal") if number(op.value, "window", -1.0) == damage.number]
    if planned_s <= 0 or not begun:
        return 0.0, 0.0
    stood = evidence.installed_at.get(damage.row)
    missed_s = begun[0] - max(damage.began_s + planned_s, stood.time_s if stood is not None else 0.0)
    return abs(missed_s), abs(missed_s) / planned_s


def failures(evidence: Evidence, damage: Damage) -> int:
    """Calls and saver calls that met a window and failed (V4)."""
    return sum(
        op.bad and op.began_s <= damage.ended_s and op.ended_s >= damage.began_s for op in operations(evidence.reading)
    )


def report(run: Path) -> str:
    """The figures, a line each."""
    cells = list(candidates(run))
    windows = [(cell, damage) for cell in cells for damage in cell.evidence.reading.damages]
    away = [(c, d) for c, d in windows if d.effect == Effect.DISTURBS and not d.usable]
    looks = sum("error" in op.value for cell in cells for op in cell.evidence.reading.points("connections"))
    stood_s = (cell.evidence.reading.standstills.covered_s(d.began_s, d.ended_s) for cell, d in windows)
    stalls = [seconds for seconds in stood_s if seconds]
    missed = [missed_length(cell.evidence, damage) for cell, damage in windows]
    gaps = Counter(
        gap.code.value if gap.code else "whole"
        for cell in cells
        for condition in CONDITIONS
        for gap in condition(cell.evidence)
    )
    unfelt = sum(not failures(cell.evidence, damage) for cell, damage in away)
    longest_s, missed_s = max(stalls, default=0.0), max((seconds for seconds, _ in missed), default=0.0)
    share = max((share for _, share in missed), default=0.0)
    unknown = max((unknown_share(cell.evidence) for cell in cells), default=0.0)
    return "\n".join(
        (
            f"cells of candidates     {len(cells)}, windows {len(windows)}",
            f"V4  windows in which the database was away: {len(away)}; in which no operation failed: {unfelt}",
            f"V5  looks past the proxy that failed: {looks}",
            f"V8  largest share of turns with an unknown fate: {unknown:.0%} (bound {UNKNOWN_SHARE:.0%})",
            f"V14 windows in which the machine stood still: {len(stalls)}, the longest {longest_s:.2f} s",
            f"V14 length missed by at most {missed_s:.2f} s, {share:.1%} (bound {CLOCK_S:g} s, {CLOCK_SHARE:.0%})",
            f"conditions not met      {dict(sorted(gaps.items())) or 'none'}",
        )
    )


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.vacuity.bounds", description=__doc__)
    parser.add_argument("run", type=Path, help="the folder of a run, for example reports/latest")
    print(report(parser.parse_args().run))


if __name__ == "__main__":
    main()
