"""Cells on a slot that a test holds in its hand: begin one, wait for a row of its history, take its result."""

from __future__ import annotations

import json
import time
from pathlib import Path

from harness.core.record import CellResult
from harness.core.verdict import Verdict
from harness.slot import Slot
from harness.summary import COMPONENT, Outcome
from tests.cells import begin_cell
from tests.fire.ground import PLUGINS

CELL_LIMIT_S = 120.0


def begin(slot: Slot, folder: Path, scenario: str, strategy: str = "PlainPool") -> None:
    """Start a cell of the plug-in file in ``folder``; a strategy in lower case is one that ships."""
    begin_cell(slot, folder, scenario, strategy, plugins=PLUGINS)


def wait_for_row(slot: Slot, folder: Path, f: str, kind: str) -> None:
    """Until the history of the running cell has a row of this kind; fail if the cell ends before."""
    stop_s = time.monotonic() + CELL_LIMIT_S
    while not any(row["f"] == f and row["type"] == kind for row in rows(folder)):
        result = slot.poll()
        assert result is None, f"the cell ended without {f} {kind}: {result}"
        assert time.monotonic() < stop_s, f"no row {f} {kind}"
        time.sleep(0.05)


def rows(folder: Path) -> list[dict[str, object]]:
    """The whole rows that a history has by now, without its header."""
    path = folder / "history.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True)[1:] if line.endswith("\n")]


def result_of(slot: Slot) -> CellResult:
    """Wait for the running cell, bounded."""
    stop_s = time.monotonic() + CELL_LIMIT_S
    while (result := slot.poll()) is None:
        assert time.monotonic() < stop_s, "the cell did not end"
        time.sleep(0.05)
    return result


def run_cell(slot: Slot, folder: Path, scenario: str, strategy: str = "PlainPool") -> CellResult:
    """Begin a cell and wait for it."""
    begin(slot, folder, scenario, strategy)
    return result_of(slot)


def assert_component_failed(result: CellResult, words: str) -> None:
    """ERROR for that reason, and exit 4; no guarantee is called broken."""
    assert result.verdict is Verdict.ERROR, result.reason
    assert words in result.reason
    assert [f.summary for f in result.findings if f.verdict in (Verdict.FAIL, Verdict.SLOW)] == []
    assert Outcome.of([result], planned=1).exit == COMPONENT
