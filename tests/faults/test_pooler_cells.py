"""The family ``pooler``: who runs in it, who does not, and what a cell says of a strategy that has no pooler."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.verdict import Guarantee, Verdict
from harness.registry import CANDIDATE, default_registry, is_behind_pooler, is_compared
from harness.runner import pooler_of
from harness.selection import Size, Wish, select
from harness.slot import Slot
from tests.cells import run_cell

FAMILY = {name: s for name, s in default_registry().scenarios.items() if name.startswith("pooler/")}


def test_every_scenario_names_strategies_that_have_a_pooler() -> None:
    registry = default_registry()
    assert FAMILY
    for scenario in FAMILY.values():
        assert scenario.strategies
        assert all(pooler_of(registry.strategy(name)) for name in scenario.strategies)
        assert any(registry.role(name) == CANDIDATE for name in scenario.strategies)


def test_what_is_behind_a_pooler_runs_where_a_scenario_names_it() -> None:
    registry = default_registry()
    special = {name for name, strategy in registry.strategies.items() if is_behind_pooler(strategy)}
    assert special
    assert not any(is_compared(registry.strategies[name]) for name in special)
    cells = select(registry, Wish(size=Size.FULL)).cells
    used = {(cell.scenario.partition("/")[0], cell.strategy) for cell in cells}
    assert special <= {strategy for _, strategy in used}
    assert {family for family, strategy in used if strategy in special} <= {"pooler", "incidents"}


def test_the_default_size_asks_for_no_pooler_that_not_everybody_has() -> None:
    registry = default_registry()
    usual = [s for s in FAMILY.values() if not s.full_only]
    assert 1 <= len(usual) <= 2
    assert not any(scenario.quick for scenario in FAMILY.values())
    for scenario in usual:
        assert not any("max_prepared_statements" in registry.strategy(name).pooler for name in scenario.strategies)


@pytest.mark.slow
def test_cells_of_a_pooler(slot: Slot, tmp_path: Path) -> None:
    """A strategy without one is SKIP; prepared statements without ``max_prepared_statements`` are caught."""
    none = run_cell(slot, tmp_path / "none", "pooler/restart", "self_healing")
    assert none.verdict is Verdict.SKIP
    assert "no pooler" in none.reason
    broken = run_cell(slot, tmp_path / "prepared", "pooler/prepared_statements", "prepared_by_default")
    found = {finding.guarantee: finding.verdict for finding in broken.findings}
    assert found[Guarantee.AVAILABLE] is Verdict.FAIL
