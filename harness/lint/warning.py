"""What the lint says beside a run: a line for each finding in the strategies that do not ship with Poolproof."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.core.cell import CellSpec
from harness.core.errors import UsageError
from harness.lint import lint
from harness.registry import default_registry


def warnings(cells: Sequence[CellSpec]) -> tuple[str, ...]:
    """A line for each finding; what cannot be linted is left to the run."""
    registry = default_registry()
    names = dict.fromkeys(cell.strategy for cell in cells)
    return tuple(line for name in names if not _ships(registry.strategy(name)) for line in _lines(name))


def _ships(strategy: type) -> bool:
    return strategy.__module__.startswith("harness.")


def _lines(name: str) -> Iterator[str]:
    try:
        report = lint(name)
    except UsageError:
        return
    for found in report.findings:
        place = found.where.from_here
        yield f"lint        {place} {found.value}: {found.what} ({found.causes}); poolproof lint {name}"
