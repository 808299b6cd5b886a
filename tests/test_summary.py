"""The exit status over every combination of what can happen, and the sentence that says what to ship."""

from __future__ import annotations

import dataclasses
import itertools
import signal
from collections.abc import Sequence

import pytest

from harness.core.record import CellResult, RunSummary
from harness.core.verdict import Finding, Guarantee, Json, Verdict
from harness.judge import OWN_BUG
from harness.store import RunRecord
from harness.summary import standings, summarize, summarize_record

LEAK = Guarantee.NO_POOL_CLOSED
DUE = (("network/post_incident", "naive_recreate", "no_pool_closed"),)


def cell(
    strategy: str = "shared_swap",
    verdict: Verdict = Verdict.PASS,
    *,
    scenario: str = "network/steady",
    guarantee: Guarantee = LEAK,
    role: str = "candidate",
    measures: dict[str, Json] | None = None,
    seed: int = 0,
    caught: Sequence[str] = (),
) -> CellResult:
    findings = () if verdict is Verdict.SKIP else (Finding(guarantee=guarantee, verdict=verdict, summary="seen"),)
    return CellResult(
        id=f"{scenario}-{strategy}-{seed}",
        scenario=scenario,
        strategy=strategy,
        agents=("A",),
        durability="async",
        seed=seed,
        role=role,
        verdict=verdict,
        findings=findings,
        measures=measures or {},
        caught=tuple(caught),
    )


def control(verdict: Verdict = Verdict.FAIL, *, scenario: str = "network/post_incident", seed: int = 0) -> CellResult:
    return cell("naive_recreate", verdict, scenario=scenario, role="control", seed=seed)


def run(
    cells: Sequence[CellResult],
    *,
    planned: int | None = None,
    interrupted: int | None = None,
    require_all: bool = False,
    bug: str | None = None,
) -> RunSummary:
    return summarize(
        cells,
        planned=len(cells) if planned is None else planned,
        scenarios=(),
        started="2026-11-21T12:00:00Z",
        wall_s=1.0,
        interrupted=interrupted,
        require_all=require_all,
        must_catch=DUE,
        bug=bug,
    )


# What can happen in a run, each with the status that it alone leads to, in the documented order of precedence.
HAPPENINGS = {
    "bug": 70,
    "sigint": 130,
    "sigterm": 143,
    "error": 4,
    "required skip": 4,
    "fail": 1,
    "slow": 1,
    "invalid": 3,
    "control not caught": 3,
}
ORDER = (70, 130, 143, 4, 1, 3, 0)


@pytest.mark.parametrize("size", range(len(HAPPENINGS) + 1))
def test_of_several_at_once_the_documented_one_wins(size: int) -> None:
    for together in itertools.combinations(HAPPENINGS, size):
        if {"sigint", "sigterm"} <= set(together):
            continue
        cells = [cell("kept"), control(Verdict.PASS if "control not caught" in together else Verdict.FAIL)]
        verdicts = {"error": "ERROR", "required skip": "SKIP", "fail": "FAIL", "slow": "SLOW", "invalid": "INVALID"}
        cells += [cell(what.split()[0], Verdict(verdicts[what])) for what in together if what in verdicts]
        number = signal.SIGINT if "sigint" in together else signal.SIGTERM if "sigterm" in together else None
        summary = run(
            cells,
            interrupted=number,
            require_all="required skip" in together,
            bug="KeyError: 'x'" if "bug" in together else None,
        )
        expected = min((HAPPENINGS[what] for what in together), key=ORDER.index, default=0)
        assert summary.exit == expected, together
        assert summary.interrupted is (number is not None)
        if together:
            # Whatever else was found is still said.
            assert summary.exit_reason.count("; also: ") == len(together) - 1 - ({"fail", "slow"} <= set(together))


def test_all_kept_is_0_and_says_in_how_many_cells() -> None:
    summary = run([cell("a"), cell("b"), control()])
    assert (summary.exit, summary.exit_reason) == (0, "every guarantee kept in 2 cells")


def test_nothing_selected_is_5() -> None:
    summary = run([])
    assert summary.exit == 5
    assert "Nothing ran" in summary.decision


def test_a_skipped_cell_is_no_failure_unless_all_are_required() -> None:
    cells = [cell("a"), cell("b", Verdict.SKIP), control()]
    assert run(cells).exit == 0
    assert run(cells, require_all=True).exit == 4


def test_when_every_candidate_was_skipped_nothing_is_proved() -> None:
    assert run([cell("a", Verdict.SKIP), control()]).exit == 3


def test_what_a_control_breaks_beyond_its_dues_does_not_matter() -> None:
    cells = [cell("a"), control(), control(Verdict.FAIL, scenario="network/slicer"), control(Verdict.INVALID, seed=1)]
    other = cell("naive_recreate", Verdict.SLOW, scenario="network/latency", role="control")
    assert run([*cells[:3], other]).exit == 0
    # ... but each repeat of a cell in which it is due has to catch it.
    assert run([*cells, other]).exit == 3


@pytest.mark.parametrize("verdict", [v for v in Verdict if v is not Verdict.FAIL])
def test_a_due_control_is_caught_only_by_a_fail_of_just_that_guarantee(verdict: Verdict) -> None:
    summary = run([cell("a"), control(verdict)])
    assert summary.exit == (4 if verdict is Verdict.ERROR else 3)
    assert "proves nothing" in summary.decision
    assert "Ship" not in summary.decision
    elsewhere = cell(
        "naive_recreate", Verdict.FAIL, scenario="network/post_incident", guarantee=Guarantee.NO_HANG, role="control"
    )
    assert run([cell("a"), elsewhere]).exit == 3


def test_where_a_missing_component_skips_a_whole_scenario_nothing_need_be_caught_there() -> None:
    lost = control(Verdict.SKIP, seed=1)
    caught = cell("naive_recreate", Verdict.FAIL, scenario="network/timeout", role="control", guarantee=LEAK)
    caught = dataclasses.replace(caught, expected=(LEAK.value,), caught=(LEAK.value,))
    without = run([cell("a"), caught, lost, cell("a", Verdict.SKIP, scenario="network/post_incident")])
    assert without.exit == 0
    assert "wherever they had to be (1 cell; 1 skipped with their scenarios)" in without.decision
    assert run([cell("a"), caught, lost], require_all=True).exit == 4
    assert run([cell("a"), lost]).exit == 3  # nothing was caught at all
    assert run([cell("a"), caught, lost, cell("a", scenario="network/post_incident")]).exit == 3


def test_dues_of_controls_that_were_not_selected_do_not_count() -> None:
    summary = run([cell("a")])
    assert summary.exit == 0
    assert "No control had to be caught" in summary.decision


def test_dues_are_written_into_the_cells_so_that_all_formats_agree() -> None:
    summary = run([cell("a"), control(), control(Verdict.PASS, seed=1)])
    first, second = (c for c in summary.cells if c.role == "control")
    assert (first.expected, first.caught, first.as_it_should_be) == (("no_pool_closed",), ("no_pool_closed",), True)
    assert (second.expected, second.caught, second.as_it_should_be) == (("no_pool_closed",), (), False)


@pytest.mark.parametrize(
    ("cells", "status"),
    [
        ([control()], 1),
        ([control(Verdict.PASS)], 3),
        ([control(), control(Verdict.PASS, seed=1)], 3),
        ([control(scenario="network/slicer")], 1),
        ([control(Verdict.SLOW, scenario="network/slicer")], 1),
        ([control(Verdict.PASS, scenario="network/slicer")], 3),
        ([control(Verdict.SKIP, scenario="network/slicer")], 3),
        ([control(Verdict.ERROR)], 4),
    ],
)
def test_a_selection_of_controls_alone(cells: list[CellResult], status: int) -> None:
    summary = run(cells)
    assert (summary.exit, summary.selection) == (status, "controls")


def test_a_cell_that_vanished_is_our_own_bug() -> None:
    summary = run([cell("a"), control()], planned=3)
    assert summary.exit == 70
    assert "1 planned cell left no result" in summary.exit_reason


def test_an_interrupted_run_says_how_far_it_came_and_what_it_found() -> None:
    summary = run([cell("a", Verdict.FAIL), control()], planned=60, interrupted=signal.SIGINT)
    assert summary.exit == 130
    assert summary.exit_reason.startswith("interrupted by SIGINT after 2 of 60 cells; also: candidates broke")
    assert summary.decision.startswith("Interrupted by SIGINT after 2 of 60 cells.")


def test_an_unfinished_run_ships_nothing_yet() -> None:
    cells = [measured("a"), measured("a", scenario="network/slicer"), control()]
    summary = run(cells, planned=60, interrupted=signal.SIGTERM)
    assert summary.exit == 143
    assert "So far the best is `a`" in summary.decision
    assert "Ship" not in summary.decision


# -- the sentence -------------------------------------------------------------------------------------------------


def measured(
    name: str,
    verdict: Verdict = Verdict.PASS,
    *,
    calls: int = 12_093,
    in_doubt: int = 5,
    recovery_s: float = 0.38,
    scenario: str = "network/steady",
) -> CellResult:
    measures: dict[str, Json] = {
        "calls": calls, "in_doubt": in_doubt, "failed": 1, "refused": 2, "recovery_s": recovery_s,
    }  # fmt: skip
    return cell(name, verdict, measures=measures, scenario=scenario)


def test_the_sentence_names_the_best_with_its_bound_and_the_rest_with_their_sins() -> None:
    cells = [
        measured("shared_swap"),
        measured("self_healing_retry", in_doubt=0),
        measured("null_pool", Verdict.FAIL),
        measured("per_agent_pool", Verdict.INVALID),
        control(),
    ]
    names = ("shared_swap", "self_healing_retry", "null_pool", "per_agent_pool")
    cells += [measured(name, calls=0, in_doubt=0, scenario="network/slicer") for name in names]
    assert run(cells).decision == (
        "Ship `self_healing_retry`: 0 PoolClosed in 12,093 calls across 2 scenarios (at most 0.025 % at 95 %), "
        "every acknowledged turn kept, back within 0.4 s. Kept every guarantee too: `shared_swap`. "
        "Do not ship `null_pool` (no_pool_closed in network/steady). Undecided: `per_agent_pool` (1 cell). "
        "The controls were caught wherever they had to be (1 cell)."
    )


def test_one_scenario_alone_is_no_ground_for_shipping() -> None:
    decision = run([measured("a"), measured("b", in_doubt=9), control()]).decision
    assert decision.startswith("`a` kept every guarantee in network/steady, the only scenario: 0 PoolClosed in 12,093")
    assert "Ship" not in decision


@pytest.mark.parametrize(
    ("calls", "bound"),
    [(3, "100 %"), (30, "10 %"), (299, "1.1 %"), (300, "1 %"), (301, "1 %"), (3_001, "0.1 %"), (48_212, "0.0063 %")],
)
def test_the_bound_is_three_in_n_rounded_up(calls: int, bound: str) -> None:
    assert f"(at most {bound} at 95 %)" in run([measured("a", calls=calls), control()]).decision
    assert 3 / calls <= float(bound.split()[0]) / 100 + 1e-12


def test_without_calls_there_is_no_bound() -> None:
    assert "at most" not in run([measured("a", calls=0), control()]).decision


def test_best_is_kept_then_most_cells_then_most_answered_then_soonest_back_then_by_name() -> None:
    cells = [
        measured("broken", Verdict.FAIL, in_doubt=0),
        measured("undecided", Verdict.INVALID, in_doubt=0),
        measured("in one scenario only", in_doubt=0),
        *(measured("slow", scenario=s, recovery_s=2.0) for s in ("network/steady", "network/slicer")),
        *(measured("zeta", scenario=s, recovery_s=1.0) for s in ("network/steady", "network/slicer")),
        *(measured("alpha", scenario=s, recovery_s=1.0) for s in ("network/steady", "network/slicer")),
        *(measured("in doubt", scenario=s, in_doubt=9, recovery_s=0.1) for s in ("network/steady", "network/slicer")),
    ]
    order = [standing.strategy for standing in standings(cells)]
    assert order == ["alpha", "zeta", "slow", "in doubt", "in one scenario only", "undecided", "broken"]


def test_if_no_candidate_kept_everything_none_is_to_be_shipped() -> None:
    decision = run([measured("a", Verdict.SLOW), control()]).decision
    assert decision.startswith("Ship none of these")
    assert "Do not ship `a`" in decision


def test_measures_that_are_missing_or_no_numbers_do_no_harm() -> None:
    odd: dict[str, Json] = {"calls": "many", "recovery_s": float("nan"), "in_doubt": True, "failed": None}
    summary = run([cell("a", measures=odd), control()])
    assert "`a` kept every guarantee in network/steady, the only scenario: 0 PoolClosed in 0 calls" in summary.decision


def test_our_own_bug_is_said_first() -> None:
    decision = run([measured("a"), control()], bug="KeyError: 'x'").decision
    assert decision.startswith("Poolproof itself failed: KeyError: 'x'.")
    assert "Ship" not in decision


def test_a_run_read_back_from_its_record_is_summed_up_alike() -> None:
    cells = [measured("a"), control()]
    record = RunRecord(started="2026-11-21T12:00:00Z", planned=2, must_catch=DUE, wall_s=1.0)
    assert summarize_record(RunRecord.from_json(record.to_json()), cells) == run(cells)


def test_the_order_in_which_cells_finish_changes_nothing() -> None:
    cells = [measured("b"), measured("a"), measured("c", Verdict.FAIL), control()]
    results = {repr(run(list(order))) for order in itertools.permutations(cells)}
    assert len(results) == 1


def test_a_run_that_a_component_ended_early_is_exit_4_and_says_so() -> None:
    summary = summarize(
        [cell("kept")], planned=3, scenarios=(), started="2026-11-21T12:00:00Z", wall_s=1.0, broke="no room"
    )
    assert summary.exit == 4
    assert summary.exit_reason.startswith("ended early after 1 of 3 cells: no room")


def test_a_cell_that_our_own_code_failed_in_is_exit_70() -> None:
    summary = run([cell("kept"), dataclasses.replace(cell("error", Verdict.ERROR), reason=f"{OWN_BUG}: KeyError")])
    assert summary.exit == 70
    assert "KeyError" in summary.exit_reason
