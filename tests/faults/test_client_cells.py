"""Whole cells in which clients go twice: nothing is lost by it, the measures of the cell tell what it cost, and a
strategy that does not expect it is caught.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.record import CellResult
from harness.core.verdict import Guarantee, Verdict
from harness.slot import Slot
from tests.cells import run_cell

SCENARIO = "client/gone_twice"
#: What a busy machine cannot excuse; how soon somebody is answered is for the scenario's own runs.
STATE = (
    Guarantee.NO_LOST_TURN,
    Guarantee.NO_DUPLICATE_TURN,
    Guarantee.ISOLATION,
    Guarantee.CONNECTION_BUDGET,
    Guarantee.CLEAN_BACKGROUND,
    Guarantee.NO_SILENT_FAILURE,
    Guarantee.DECLARED_ERRORS,
)


LOCK_KEPT = f"{Path(__file__).parents[1] / 'plugins' / 'lock_kept.py'}:LockKept"

pytestmark = [pytest.mark.slow, pytest.mark.proof]


def run(slot: Slot, folder: Path, strategy: str) -> CellResult:
    return run_cell(slot, folder, SCENARIO, strategy, seed=5)


def test_clients_that_go_twice_leave_nothing_behind_and_are_measured(slot: Slot, tmp_path: Path) -> None:
    result = run(slot, tmp_path, "shared_swap")
    verdicts = {finding.guarantee: finding.verdict for finding in result.findings}
    assert {guarantee: verdicts[guarantee] for guarantee in STATE} == dict.fromkeys(STATE, Verdict.PASS), result.reason

    numbers = {key: float(value) for key, value in result.measures.items() if isinstance(value, int | float)}
    assert numbers["calls_cancelled"] >= 3
    assert numbers["calls_cancelled"] >= numbers["calls_cancelled_twice"] >= 1
    assert numbers["turns_in_doubt"] >= numbers["turns_left_in_doubt"] >= 0
    assert numbers["peak_saves_backlog"] >= 1
    parts = [numbers[f"recovery_{part}_s"] for part in ("detection", "stale", "backoff", "saving")]
    assert min(parts) >= 0
    assert sum(parts) == pytest.approx(numbers["recovery_first_save_s"], abs=0.005)
    assert "peak_connections_swap" not in numbers, "nobody re-created anything"


def test_a_lock_that_only_an_exception_releases_is_caught(slot: Slot, tmp_path: Path) -> None:
    """So the cancellations really arrive, and who does not expect them is seen."""
    result = run(slot, tmp_path, LOCK_KEPT)
    verdicts = {finding.guarantee: finding.verdict for finding in result.findings}
    assert verdicts[Guarantee.AVAILABLE] is Verdict.FAIL, result.reason
    assert "this replica is busy" in result.reason
