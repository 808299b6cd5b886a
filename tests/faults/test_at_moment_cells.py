"""What the lost answer to a commit does to whole cells: a turn that is sent again blindly is there twice, one that is
brought to its end is not, and each hit leaves its caller in doubt.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.record import CellResult
from harness.core.verdict import Guarantee, Verdict
from harness.slot import Slot
from tests.cells import run_cell

SCENARIO = "protocol/answer_to_commit_lost"

pytestmark = [pytest.mark.slow, pytest.mark.proof]


def run(slot: Slot, folder: Path, strategy: str) -> CellResult:
    return run_cell(slot, folder, SCENARIO, strategy, seed=3)


def number_of(result: CellResult, measure: str) -> int:
    return int(str(result.measures[measure]))


def verdict_of(result: CellResult, guarantee: Guarantee) -> Verdict:
    (found,) = [finding.verdict for finding in result.findings if finding.guarantee is guarantee]
    return found


def test_who_sends_again_blindly_is_caught_and_who_finishes_the_turn_is_not(slot: Slot, tmp_path: Path) -> None:
    blind = run(slot, tmp_path / "blind", "blind_retry")
    assert verdict_of(blind, Guarantee.EXERCISED) is Verdict.PASS
    assert verdict_of(blind, Guarantee.NO_DUPLICATE_TURN) is Verdict.FAIL, (
        f"hit {number_of(blind, 'messages_struck')} times"
    )
    honest = run(slot, tmp_path / "honest", "self_healing_retry")
    assert verdict_of(honest, Guarantee.EXERCISED) is Verdict.PASS
    assert number_of(honest, "messages_struck") >= 3
    for guarantee in (Guarantee.NO_DUPLICATE_TURN, Guarantee.NO_LOST_TURN, Guarantee.ISOLATION):
        assert verdict_of(honest, guarantee) is Verdict.PASS


def test_each_hit_leaves_a_save_that_failed_and_a_call_in_doubt(slot: Slot, tmp_path: Path) -> None:
    result = run(slot, tmp_path / "doubt", "self_healing")
    assert verdict_of(result, Guarantee.EXERCISED) is Verdict.PASS
    struck = number_of(result, "messages_struck")
    assert struck >= 3
    assert number_of(result, "saves_failed") >= struck
    assert number_of(result, "in_doubt") >= struck
