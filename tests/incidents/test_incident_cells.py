"""Red arms show their symptoms on real cells, and green arms keep what the red ones break."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.incident import SYMPTOM
from harness.core.record import CellResult
from harness.core.verdict import Verdict
from harness.registry import default_registry
from harness.slot import Slot
from tests.cells import run_cell

pytestmark = pytest.mark.proof

#: The shortest that need no timing of a loaded machine: the post's, a dead connection, a start, a pooler and its slots.
SHOWN = (
    "i_01_pool_recreated",
    "i_07_single_connection",
    "i_12_setup_races",
    "i_27_prepared_behind_pooler",
    "i_32_few_sessions",
)
#: Not the seed that every run begins with.
SEED = 11


def run(slot: Slot, folder: Path, scenario: str, strategy: str) -> CellResult:
    return run_cell(slot, folder, scenario, strategy, seed=SEED)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOWN)
def test_the_red_arm_shows_the_symptom_and_the_green_one_breaks_nothing(name: str, slot: Slot, tmp_path: Path) -> None:
    scenario = default_registry().scenario(f"incidents/{name}")
    assert scenario.incident is not None
    red = run(slot, tmp_path / "red", scenario.name, scenario.incident.red)
    assert SYMPTOM in red.caught, red.reason
    assert red.as_it_should_be, red.reason
    assert red.measures["symptom"]
    green = run(slot, tmp_path / "green", scenario.name, scenario.incident.green)
    assert green.measures["symptom_times"] == 0
    assert green.verdict is Verdict.PASS, green.reason
