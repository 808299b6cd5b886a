"""Every planted mistake is caught on the real stack, by the right guarantee and for the right reason; and the same
strategy without its mistake is not.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.core.record import CellResult
from harness.core.scenario import Scenario
from harness.core.verdict import Finding, Guarantee, Verdict
from harness.registry import default_registry, is_planted, mistake_of
from harness.slot import Slot
from tests.cells import run_cell

HONEST = f"{Path(__file__).parents[1] / 'plugins' / 'honest.py'}:OneWriter"
#: Not the seed that every run begins with.
SEED = 11

#: Planted strategy -> what the finding that catches it says, and the anomaly codes of which one must be seen.
REASONS: dict[str, tuple[str, set[str]]] = {
    "best_effort_saver": (r"acknowledged|answered", {"L1", "L2", "H1"}),
    "memory_fallback": (r"acknowledged|answered", {"L1"}),
    "skewed_clock": (r"acknowledged|answered", {"L2"}),
    "two_writers": (r"acknowledged|answered", {"L2", "P1"}),
    "error_in_reply": (r"PoolClosed reached a caller in a reply \(closed\).*Sorry, that did not work", set()),
    "error_wrapped": (r"PoolClosed reached a caller in an exception \(closed\)", set()),
    "error_in_group": (r"PoolClosed reached a caller in an exception \(closed\)", set()),
    "forgotten_task": (r"never retrieved.*last_served", set()),
    "kept_connection": (r"1 backends of group g[01] were left after tear down", set()),
    "pool_per_request": (r"group g[01] held \d+ backends .* its budget is 8", set()),
    "recreate_storm": (r"group g[01] held \d+ backends .* its budget is 8", set()),
    "blind_retry": (r"(stands|was answered) more than once", {"D1", "D2"}),
    "unreleased_lock": (r"hung: .* had to be ended by the harness", set()),
}


def scenarios() -> list[Scenario]:
    return [s for name, s in default_registry().scenarios.items() if name.startswith("trust/")]


def run(slot: Slot, folder: Path, scenario: str, strategy: str) -> CellResult:
    return run_cell(slot, folder, scenario, strategy, seed=SEED)


def finding(result: CellResult, guarantee: Guarantee) -> Finding:
    (found,) = [finding for finding in result.findings if finding.guarantee is guarantee]
    return found


def test_each_file_makes_one_mistake_and_says_which() -> None:
    strategies = {name: s for name, s in default_registry().strategies.items() if is_planted(s)}
    assert set(strategies) == set(REASONS)
    for name, strategy in strategies.items():
        assert strategy.breaks, name
        assert strategy.__module__.endswith(f".{name}"), name
        assert 30 < len(mistake_of(strategy)) < 160, name
    assert mistake_of(default_registry().strategies["naive_recreate"]) == ""


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.parametrize(
    ("scenario", "control", "guarantee"),
    [(s.name, control, guarantee) for s in scenarios() for control, guarantee in s.must_catch],
)
def test_a_planted_mistake_is_caught_for_the_right_reason(
    scenario: str, control: str, guarantee: Guarantee, slot: Slot, tmp_path: Path
) -> None:
    result = run(slot, tmp_path / "cell", scenario, control)
    words, codes = REASONS[control]
    caught = finding(result, guarantee)
    assert caught.verdict is Verdict.FAIL, caught
    assert re.search(words, caught.summary), caught.summary
    assert not codes or codes & set(caught.codes), caught.codes
    assert result.planted
    assert result.as_it_should_be


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.name)
def test_without_the_mistake_the_same_strategy_is_not_caught(scenario: Scenario, slot: Slot, tmp_path: Path) -> None:
    result = run(slot, tmp_path / "cell", scenario.name, HONEST)
    demanded = {guarantee for _, guarantee in scenario.must_catch} - {Guarantee.NO_HANG}  # a slow machine may be late
    assert {guarantee: finding(result, guarantee).verdict for guarantee in demanded} == dict.fromkeys(
        demanded, Verdict.PASS
    ), result.reason
    assert finding(result, Guarantee.NO_LOST_TURN).verdict is Verdict.PASS, result.reason
