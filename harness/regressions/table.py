"""The table version x incident: measured, expected, and whether they agree; as text, markdown and JSON."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.core.verdict import Json
from harness.regressions.catalogue import TODAY, Regression, Shown
from harness.regressions.running import Ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One script in one set of versions. ``version`` is what the catalogue says: a number, or today."""

    regression: Regression
    version: str
    pins: Mapping[str, str]
    ended: Ended

    @property
    def expected(self) -> Shown:
        """What the file beside the script says."""
        return self.regression.expected[self.version]

    @property
    def as_expected(self) -> bool:
        """A script that hangs or breaks is never expected."""
        return self.ended.shown is self.expected

    @property
    def package_version(self) -> str:
        """``psycopg-pool 3.2.7``; today's with its number."""
        said = " (today)" if self.version == TODAY else ""
        return f"{self.regression.package} {self.pins[self.regression.package]}{said}"


def surprises(cells: Sequence[Cell]) -> tuple[str, ...]:
    """A sentence for each cell that is not as expected."""
    return tuple(
        f"{cell.regression.name} with {cell.package_version}: measured '{cell.ended.shown}', "
        f"expected '{cell.expected}'{': ' + cell.ended.said if cell.ended.said else ''}"
        for cell in cells
        if not cell.as_expected
    )


def as_markdown(cells: Sequence[Cell]) -> str:
    """One row for each version of a package, one column for each incident; then what each run said."""
    incidents = list(dict.fromkeys(cell.regression.name for cell in cells))
    found: dict[str, dict[str, Cell]] = {}
    for cell in cells:
        found.setdefault(cell.package_version, {})[cell.regression.name] = cell
    lines = [
        "# Regressions",
        "",
        "Which version shows which incident (docs/incidents.md). Each row is an environment in which that one version",
        f"differs from today's; Python {platform.python_version()}.",
        "",
        _row(["version", *incidents]),
        _row(["---"] * (len(incidents) + 1)),
    ]
    lines += [
        _row([row, *(_mark(columns.get(name)) for name in incidents)])
        for row, columns in sorted(found.items(), key=_order)
    ]
    lines += ["", "| incident | version | measured | expected | s | what it said |", _row(["---"] * 6)]
    for cell in cells:
        ended = cell.ended
        said = ended.said.replace("|", "\\|")
        columns = [cell.regression.name, cell.package_version, ended.shown, cell.expected, f"{ended.took_s:.1f}", said]
        lines.append(_row(columns))
    bounds = {cell.regression.name: cell.regression.bound for cell in cells}
    lines += ["", *(f"* {name}: {bound}" for name, bound in bounds.items())]
    lines += ["", *(surprises(cells) or ("Everything as expected.",))]
    return "\n".join(lines) + "\n"


def as_json(cells: Sequence[Cell]) -> str:
    """The same, with the versions of each environment."""
    rows: list[Json] = [
        {
            "incident": cell.regression.incident,
            "script": cell.regression.script.stem,
            "package": cell.regression.package,
            "version": cell.version,
            "pins": dict(cell.pins),
            "measured": str(cell.ended.shown),
            "expected": str(cell.expected),
            "as_expected": cell.as_expected,
            "said": cell.ended.said,
            "took_s": round(cell.ended.took_s, 2),
        }
        for cell in cells
    ]
    return json.dumps({"python": platform.python_version(), "cells": rows}, indent=1) + "\n"


def _order(item: tuple[str, object]) -> tuple[str, tuple[int, ...]]:
    """By package, then by version as numbers."""
    package, _, version = item[0].partition(" ")
    return package, tuple(int(part) for part in re.findall(r"\d+", version))


def _mark(cell: Cell | None) -> str:
    if cell is None:
        return ""
    return str(cell.ended.shown) if cell.as_expected else f"**{cell.ended.shown}** (expected: {cell.expected})"


def _row(columns: Sequence[str]) -> str:
    return f"| {' | '.join(columns)} |"
