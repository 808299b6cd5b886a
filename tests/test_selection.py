"""Which cells a command stands for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core.cell import DEFAULT_AGENTS, DURABILITIES
from harness.core.errors import UsageError
from harness.core.scenario import Scenario
from harness.registry import CONTROL, default_registry, is_compared, is_planted, role_of
from harness.selection import Selection, Size, Wish, ci_requires_all, select

POOL = """
from typing import Any
from harness import PoolStrategy

class Mine(PoolStrategy):
    name = "mine"
    async def checkpointer(self, agent: Any) -> Any: ...
"""


def chosen(wish: Wish, *, sentinels: bool = True) -> Selection:
    return select(default_registry(), wish, sentinels=sentinels)


def usual(wanted: Callable[[Scenario], bool]) -> set[tuple[str, str]]:
    """Scenario and strategy of what runs when nobody names anything, for the scenarios that are ``wanted``."""
    registry = default_registry()
    compared = [name for name, strategy in registry.strategies.items() if is_compared(strategy)]
    scenarios = [s for s in registry.scenarios.values() if wanted(s) and not s.on_request]
    return {(scenario.name, name) for scenario in scenarios for name in scenario.strategies or compared}


class TestSizes:
    """Quick, default, full."""

    def test_default_is_every_scenario_under_every_strategy_once(self) -> None:
        cells = chosen(Wish()).cells
        expected = usual(lambda scenario: not scenario.full_only)
        assert {(cell.scenario, cell.strategy) for cell in cells} == expected
        assert len(cells) == len(expected)
        assert {cell.durability for cell in cells} == {"async"}

    def test_quick_is_the_marked_scenarios_under_every_strategy(self) -> None:
        cells = chosen(Wish(size=Size.QUICK)).cells
        assert {(cell.scenario, cell.strategy) for cell in cells} == usual(lambda scenario: scenario.quick)

    def test_full_is_every_durability_three_times(self) -> None:
        cells = chosen(Wish(size=Size.FULL)).cells
        once = {name: len(s.durabilities) or 3 for name, s in default_registry().scenarios.items()}
        assert len(cells) == sum(3 * once[scenario] for scenario, _ in usual(lambda _: True))
        assert {cell.durability for cell in cells} == set(DURABILITIES)
        assert {cell.seed for cell in cells} == {0, 1, 2}

    def test_a_size_and_names_narrow_each_other(self) -> None:
        assert chosen(Wish(scenarios=["network/latency"], size=Size.QUICK)).cells == ()
        quick = chosen(Wish(scenarios=["network"], size=Size.QUICK)).cells
        every = chosen(Wish(size=Size.QUICK)).cells
        assert quick == tuple(cell for cell in every if cell.scenario.startswith("network/"))

    def test_what_only_the_full_size_runs_has_to_be_picked_by_name(self) -> None:
        picked = {
            cell.scenario for cell in chosen(Wish(scenarios=["server"])).cells if cell.scenario.startswith("server/")
        }
        beside = {cell.scenario for cell in chosen(Wish(scenarios=["server"], picked=False), sentinels=False).cells}
        registry = default_registry()
        assert beside == {name for name in picked if not registry.scenario(name).full_only}
        assert beside < picked

    def test_ids_are_unique_and_the_same_every_time(self) -> None:
        ids = [cell.id for cell in chosen(Wish(size=Size.FULL)).cells]
        assert len(set(ids)) == len(ids)
        assert ids == [cell.id for cell in chosen(Wish(size=Size.FULL)).cells]


class TestOptions:
    """What narrows or repeats."""

    def test_repeats_take_the_next_seeds(self) -> None:
        wish = Wish(scenarios=["network/steady"], strategies=["naive_recreate"], seed=7, repeat=3)
        assert [cell.seed for cell in chosen(wish).cells] == [7, 8, 9]

    def test_a_name_given_twice_counts_once(self) -> None:
        wish = Wish(scenarios=["network/steady", "network"], strategies=["naive_recreate", "naive_recreate"])
        network = [name for name in default_registry().scenarios if name.startswith("network/")]
        assert [cell.scenario for cell in chosen(wish).cells].count("network/steady") == 1
        assert len(chosen(wish).cells) == len(network)

    def test_agents_run_together_in_one_cell(self) -> None:
        wish = Wish(
            scenarios=["network/steady"],
            strategies=["naive_recreate"],
            agents=["SupervisorAgent", "TrialAnalysisAgent"],
        )
        (cell,) = chosen(wish).cells
        assert cell.agents == ("SupervisorAgent", "TrialAnalysisAgent")
        assert cell.id == "network.steady-naive_recreate-SupervisorAgent+TrialAnalysisAgent-async-0"

    @pytest.mark.parametrize(
        "wish", [Wish(scenarios=["network/x"]), Wish(strategies=["x"]), Wish(agents=["x"]), Wish(durability="x")]
    )
    def test_unknown_names_are_refused(self, wish: Wish) -> None:
        with pytest.raises(UsageError):
            chosen(wish)

    def test_a_file_becomes_absolute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "mine.py").write_text(POOL)
        monkeypatch.chdir(tmp_path)
        cells = chosen(Wish(scenarios=["network/latency"], strategies=["mine.py:Mine"]), sentinels=False).cells
        assert [cell.strategy for cell in cells] == [f"{tmp_path}/mine.py:Mine"]
        assert cells[0].id == "network.latency-Mine-async-0"

    def test_two_strategies_that_would_share_an_id_are_refused(self, tmp_path: Path) -> None:
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "pool.py").write_text(POOL)
        both = [f"{tmp_path}/a/pool.py:Mine", f"{tmp_path}/b/pool.py:Mine"]
        with pytest.raises(UsageError, match=r"would both be the cell 'network\.steady-Mine-async-0'"):
            chosen(Wish(scenarios=["network/steady"], strategies=both))


class TestSentinels:
    """A selection without a control still has to show that it could catch one."""

    def test_candidates_alone_get_a_control_and_a_baseline(self) -> None:
        selection = chosen(Wish(scenarios=["network/latency"], strategies=["per_agent_pool"]))
        assert [(cell.scenario, cell.strategy) for cell in selection.cells] == [
            ("network/latency", "per_agent_pool"),
            ("network/recreate_no_fault", "naive_recreate"),
            ("network/steady", "per_agent_pool"),
        ]
        assert len(selection.notes) == 1
        assert all(cell.id in selection.notes[0] for cell in selection.cells[1:])
        assert "network.latency" not in selection.notes[0]

    def test_the_baseline_is_not_run_twice(self) -> None:
        selection = chosen(Wish(scenarios=["network/steady"], strategies=["per_agent_pool"]))
        assert len(selection.cells) == 2

    def test_the_control_runs_with_the_shipped_agents(self) -> None:
        wish = Wish(scenarios=["network/latency"], strategies=["per_agent_pool"], agents=["SupervisorAgent"])
        by_strategy = {cell.strategy: cell for cell in chosen(wish).cells}
        assert by_strategy["naive_recreate"].agents == DEFAULT_AGENTS
        assert by_strategy["per_agent_pool"].agents == ("SupervisorAgent",)

    @pytest.mark.parametrize("strategies", [["naive_recreate"], ["naive_recreate", "per_agent_pool"], []])
    def test_a_selection_with_a_control_gets_none(self, strategies: list[str]) -> None:
        selection = chosen(Wish(scenarios=["network/latency"], strategies=strategies))
        assert {cell.scenario for cell in selection.cells} == {"network/latency"}
        assert selection.notes == ()

    def test_an_empty_selection_stays_empty(self) -> None:
        wish = Wish(scenarios=["network/latency"], strategies=["per_agent_pool"], size=Size.QUICK)
        assert chosen(wish).cells == ()

    def test_the_sentinel_is_something_that_must_be_caught(self) -> None:
        must = chosen(Wish(scenarios=["network/latency"], strategies=["per_agent_pool"])).must_catch
        assert {(scenario, control) for scenario, control, _ in must} == {
            ("network/recreate_no_fault", "naive_recreate")
        }


class TestTheJudgesTest:
    """Planted mistakes run wherever nobody narrowed the selection, and nowhere else unless they are named."""

    @pytest.mark.parametrize("size", list(Size))
    def test_every_unnarrowed_run_of_any_size_holds_every_planted_mistake_and_what_must_catch_it(
        self, size: Size
    ) -> None:
        planted = {name for name, strategy in default_registry().strategies.items() if is_planted(strategy)}
        selection = chosen(Wish(size=size))
        assert {control for scenario, control, _ in selection.must_catch if scenario.startswith("trust/")} == planted
        assert {cell.strategy for cell in selection.cells} >= planted

    @pytest.mark.parametrize(
        "wish",
        [
            Wish(strategies=["per_agent_pool"]),
            Wish(scenarios=["network"]),
            Wish(scenarios=["network"], strategies=["per_agent_pool"], agents=["SupervisorAgent"]),
        ],
    )
    def test_a_narrowed_run_leaves_them_out(self, wish: Wish) -> None:
        names = {cell.strategy for cell in chosen(wish, sentinels=False).cells}
        assert not any(is_planted(default_registry().strategies[name]) for name in names)
        assert not any(cell.scenario.startswith("trust/") for cell in chosen(wish, sentinels=False).cells)

    def test_the_users_agents_are_not_what_they_are_tested_with(self) -> None:
        cells = chosen(Wish(agents=["SupervisorAgent"])).cells
        assert {cell.agents for cell in cells if cell.scenario.startswith("trust/")} == {DEFAULT_AGENTS}
        assert {cell.agents for cell in cells if cell.scenario.startswith("network/")} == {("SupervisorAgent",)}

    def test_who_names_both_gets_both(self) -> None:
        wish = Wish(scenarios=["trust/calm"], strategies=["per_agent_pool"], agents=["SupervisorAgent"])
        (cell,) = chosen(wish, sentinels=False).cells
        assert (cell.scenario, cell.strategy, cell.agents) == ("trust/calm", "per_agent_pool", ("SupervisorAgent",))

    def test_a_file_that_was_not_named_keeps_to_its_own_strategies(self) -> None:
        scenarios = ["trust/calm", "trust/two_writers", "canary/impossible", "network/steady"]
        wish = Wish(scenarios=scenarios, strategies=["per_agent_pool", "two_writers"], picked=False)
        assert [(cell.scenario, cell.strategy) for cell in chosen(wish, sentinels=False).cells] == [
            ("trust/two_writers", "two_writers"),
            ("network/steady", "per_agent_pool"),
            ("network/steady", "two_writers"),
        ]

    @pytest.mark.parametrize("size", list(Size))
    def test_the_canary_sings_only_when_it_is_asked(self, size: Size) -> None:
        assert not any(cell.scenario.startswith("canary/") for cell in chosen(Wish(size=size)).cells)
        for name in ("canary", "canary/impossible"):
            wish = Wish(scenarios=[name], size=Size.QUICK)
            assert [cell.scenario for cell in chosen(wish, sentinels=False).cells] == ["canary/impossible"]

    def test_each_scenario_runs_with_just_what_it_must_catch(self) -> None:
        registry = default_registry()
        planted = {name for name, strategy in registry.strategies.items() if is_planted(strategy)}
        scenarios = [s for name, s in registry.scenarios.items() if name.startswith("trust/")]
        for scenario in scenarios:
            assert list(dict.fromkeys(name for name, _ in scenario.must_catch)) == list(scenario.strategies)
        assert sorted(name for s in scenarios for name in s.strategies) == sorted(planted)


def test_must_catch_holds_the_pairs_of_the_selected_cells_only() -> None:
    registry = default_registry()
    assert {control for _, control, _ in chosen(Wish()).must_catch} == {
        control for s in registry.scenarios.values() if not s.full_only for control, _ in s.must_catch
    }
    assert chosen(Wish(strategies=["per_agent_pool"]), sentinels=False).must_catch == ()
    assert all(role_of(registry.strategies[control]) == CONTROL for _, control, _ in chosen(Wish()).must_catch)


@pytest.mark.parametrize(
    ("value", "expected"), [(None, False), ("", False), ("0", False), ("false", False), ("1", True), ("true", True)]
)
def test_ci_requires_all(value: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    if value is not None:
        monkeypatch.setenv("CI", value)
    assert ci_requires_all() is expected
