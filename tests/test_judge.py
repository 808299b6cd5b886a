"""The judge: how findings are merged, what makes a cell ERROR, the numbers and the timeline, verdict.json and back."""

from __future__ import annotations

import dataclasses
import gc
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.checkers import ALL
from harness.checkers.timeline import LATENCY_LIMIT, MARK_LIMIT, timeline
from harness.core.cell import CellSpec
from harness.core.errors import UsageError
from harness.core.facts import Facts
from harness.core.history import History
from harness.core.record import CellResult
from harness.core.verdict import Checker, Finding, Guarantee, Verdict
from harness.judge import judge, result_from_json, result_to_json
from tests.checkers.made_histories import BOUNDS, CLOSED, OPERATIONAL, THREAD, MadeCell

SPEC = CellSpec(id="x-y-async-0", scenario="network/x", strategy="y", plan=[{"fault": {"kind": "reset_peer"}}])


def _judge(cell: MadeCell, facts: Facts | None = None, **changes: Any) -> CellResult:
    values: dict[str, Any] = {
        "role": "candidate",
        "breaks": frozenset(),
        "expected": (),
        "bounds": BOUNDS,
        "history": cell.history,
        "facts": cell.facts() if facts is None else facts,
    }
    return judge(SPEC, **{**values, **changes})


def _whole(*, ends: bool = True) -> MadeCell:
    """A cell of a sound strategy: a window in which one save fails and is told, then everybody is served again."""
    cell = MadeCell()
    cell.gate()
    cell.now_s = 3.0
    cell.strike()
    call = cell.begin("turn", "t1")
    cell.save("aput", parent=call, error=OPERATIONAL)
    cell.complete(call, error=OPERATIONAL, kind=type(cell.rows[0].type)("info"))
    cell.now_s = 4.0
    cell.heal()
    cell.now_s = 4.5
    cell.everybody(round_=2)
    if ends:
        cell.end()
    return cell


def _verdicts(result: CellResult) -> dict[Guarantee, Verdict]:
    return {finding.guarantee: finding.verdict for finding in result.findings}


# -- merging ------------------------------------------------------------------------------------------------------


def test_a_sound_cell_passes() -> None:
    result = _judge(_whole(), wall_s=7.5, scheduled_s=6.0, folder="cells/x")
    assert result.verdict is Verdict.PASS, result.reason
    assert result.reason == "all 12 guarantees kept"
    assert [finding.guarantee for finding in result.findings] == list(Guarantee)
    assert (result.id, result.scenario, result.strategy, result.wall_s) == ("x-y-async-0", "network/x", "y", 7.5)
    assert result.plan == ({"fault": {"kind": "reset_peer"}},)
    assert result.as_it_should_be


def test_each_guarantee_has_a_checker_in_order() -> None:
    assert list(dict.fromkeys(checker.guarantee for checker in ALL)) == list(Guarantee)


def test_a_broken_guarantee_stands_in_a_vacuous_cell() -> None:
    cell = _whole(ends=False)
    cell.call("turn", "t3", thread=f"{THREAD}7", status="info", error=CLOSED)
    result = _judge(cell)
    found = _verdicts(result)
    assert found[Guarantee.EXERCISED] is Verdict.INVALID
    assert found[Guarantee.NO_POOL_CLOSED] is Verdict.FAIL
    assert result.verdict is Verdict.FAIL
    assert result.reason.startswith("no_pool_closed: PoolClosed reached a caller")
    assert result.measures["pool_closed"] == 1


def test_a_vacuous_cell_is_invalid_and_says_why() -> None:
    result = _judge(_whole(ends=False))
    assert result.verdict is Verdict.INVALID
    assert result.reason.startswith("exercised: the cell never ended")


def test_slow_is_worse_than_pass_and_better_than_invalid() -> None:
    cell = _whole(ends=False)
    cell.call("turn", "t5", thread=f"{THREAD}7", took_s=11.0)
    cell.end()
    assert _judge(cell).verdict is Verdict.SLOW


class _Raises(Checker):
    guarantee = Guarantee.AVAILABLE

    def check(self, history: History, facts: Facts, bounds: object) -> Finding:
        raise ZeroDivisionError("a checker of ours")


def test_a_checker_that_raises_is_our_own_bug_never_a_pass() -> None:
    others = tuple(checker for checker in ALL if checker.guarantee is not Guarantee.AVAILABLE)
    result = _judge(_whole(), checkers=(*others, _Raises()))
    assert result.verdict is Verdict.ERROR
    assert "ZeroDivisionError: a checker of ours" in result.reason
    assert len(result.findings) == 12


def test_no_checkers_decide_nothing() -> None:
    assert _judge(_whole(), checkers=()).verdict is Verdict.INVALID


@pytest.mark.parametrize("kind", ["bug", "component", "heal"])
def test_a_stage_that_failed_is_an_error(kind: str) -> None:
    cell = _whole()
    cell.point("harness_error", "runner", {"kind": kind, "text": "toxiproxy died"})
    result = _judge(cell)
    assert result.verdict is Verdict.ERROR
    assert "toxiproxy died" in result.reason


@pytest.mark.parametrize("kind", ["bug", "component", "heal"])
def test_what_a_failed_stage_may_have_caused_decides_nothing(kind: str) -> None:
    cell = _whole(ends=False)
    cell.now_s = 40.0
    cell.call("turn", "t9", thread=f"{THREAD}7", status="info", error=OPERATIONAL)
    cell.end()
    sound = _judge(cell)
    blamed = {Guarantee.AVAILABLE, Guarantee.RECOVERS, Guarantee.DECLARED_ERRORS}
    assert {guarantee for guarantee, verdict in _verdicts(sound).items() if verdict is Verdict.FAIL} == blamed
    cell.point("harness_error", "runner", {"kind": kind, "text": "toxiproxy died"})
    result = _judge(cell)
    assert {guarantee for guarantee, verdict in _verdicts(result).items() if verdict is Verdict.INVALID} == blamed
    assert result.verdict is Verdict.ERROR


def test_a_leak_stands_although_the_stage_failed() -> None:
    cell = _whole()
    cell.call("turn", "t9", thread=f"{THREAD}7", status="info", error=CLOSED)
    cell.point("harness_error", "runner", {"kind": "component", "text": "toxiproxy died"})
    assert _judge(cell).verdict is Verdict.FAIL


def test_what_the_leak_check_found_is_an_error() -> None:
    cell = _whole()
    result = _judge(cell, dataclasses.replace(cell.facts(), leftovers=("toxic latency_down",)))
    assert result.verdict is Verdict.ERROR
    assert "toxic latency_down" in result.reason


@pytest.mark.parametrize(("opened", "words"), [(False, "the strategy never opened"), (True, "the strategy broke down")])
def test_a_strategy_that_raised_is_a_finding(opened: bool, words: str) -> None:
    cell = MadeCell()
    if opened:
        cell.phase("gate")
    row = cell.point("harness_error", "runner", {"kind": "strategy", "text": "open() raised KeyError: 'dsn'"})
    cell.phase("end")
    result = _judge(cell)
    assert result.verdict is Verdict.FAIL
    assert result.reason == f"available: {words}: open() raised KeyError: 'dsn'"
    available = next(finding for finding in result.findings if finding.guarantee is Guarantee.AVAILABLE)
    assert row.index in available.evidence


def test_a_cell_that_left_nothing_behind() -> None:
    result = _judge(MadeCell(), Facts(complete=False))
    assert result.verdict is Verdict.INVALID
    assert result.timeline is None
    assert result.measures == {}


def test_the_collector_runs_again_afterwards() -> None:
    assert gc.isenabled()
    _judge(_whole())
    assert gc.isenabled()


# -- controls -----------------------------------------------------------------------------------------------------


def _leaky() -> MadeCell:
    cell = _whole()
    cell.call("turn", "t9", thread=f"{THREAD}7", status="info", error=CLOSED)
    return cell


def test_a_control_that_is_caught() -> None:
    due = (Guarantee.NO_POOL_CLOSED,)
    result = _judge(_leaky(), role="control", breaks=frozenset(due), expected=due)
    assert (result.expected, result.caught) == (("no_pool_closed",), ("no_pool_closed",))
    assert result.as_it_should_be
    assert "not among what this control says it breaks: declared_errors" in result.reason


def test_a_control_that_is_not_caught() -> None:
    due = (Guarantee.NO_POOL_CLOSED, Guarantee.RECOVERS)
    result = _judge(_whole(), role="control", breaks=frozenset(due), expected=due)
    assert (result.expected, result.caught) == (("no_pool_closed", "recovers"), ())
    assert not result.as_it_should_be


# -- numbers ------------------------------------------------------------------------------------------------------


def test_measures() -> None:
    cell = _whole()
    measures = _judge(cell, cell.facts(forks=2, orphan_writes=3, dangling_parents=1)).measures
    assert {key: measures[key] for key in ("calls", "acknowledged", "in_doubt", "refused", "failed")} == {
        "calls": 5,
        "acknowledged": 4,
        "in_doubt": 1,
        "refused": 0,
        "failed": 0,
    }
    assert measures["recovery_first_s"] == pytest.approx(0.55)
    assert measures["recovery_s"] == measures["recovery_agents_s"] == pytest.approx(0.6)
    assert measures["recovery_last_failure_s"] == 0
    assert measures["p95_ms"] == measures["gate_p50_ms"] == pytest.approx(50.0)
    assert measures["peak_connections"] == 2
    assert measures["saves_failed"] == 1
    assert (measures["forks"], measures["orphan_writes"], measures["dangling_parents"]) == (2, 3, 1)
    assert measures["pool_closed"] == measures["lost_turns"] == measures["duplicate_turns"] == 0


def test_an_agent_that_never_came_back_has_no_recovery_time() -> None:
    cell = _whole(ends=False)
    cell.call("turn", "t1", thread="TrialAnalysisAgent.u4.0", status="refused")
    cell.end()
    measures = _judge(cell).measures
    assert "recovery_s" not in measures
    assert "recovery_first_s" in measures


# -- timeline -----------------------------------------------------------------------------------------------------


def test_a_timeline() -> None:
    line = timeline(_leaky().history)
    assert [(kind, start, stop) for kind, start, stop in line.bands] == [("reset_peer", 3.0, 4.0)]
    assert sorted({status for _, _, status in line.latencies}) == ["info", "ok"]
    assert [mark.kind for mark in line.marks] == ["error", "leak"]
    assert line.phases[0] == ("gate", 0.0)
    assert line.connections == ((0.0, 4),)


@pytest.mark.slow
def test_a_timeline_keeps_what_is_odd_and_the_envelope() -> None:
    cell = MadeCell()
    for number in range(20_000):
        cell.call("turn", f"t{number}", thread=f"{THREAD}{number // 100}", took_s=0.05 + (number % 7) / 100)
    cell.call("turn", "slow", took_s=5.0, turns=())
    for number in range(40):
        cell.call("turn", f"b{number}", status="refused")
    line = timeline(cell.history)
    assert len(line.latencies) <= LATENCY_LIMIT
    assert sum(status == "refused" for _, _, status in line.latencies) == 40
    assert max(ms for _, ms, status in line.latencies if status == "ok") == pytest.approx(5000.0)
    assert list(line.latencies) == sorted(line.latencies)


def test_marks_are_bounded_and_leaks_come_first() -> None:
    cell = MadeCell()
    for number in range(MARK_LIMIT + 50):
        cell.call("turn", f"t{number}", status="refused")
    cell.call("turn", "last", status="info", error=CLOSED)
    marks = timeline(cell.history).marks
    assert len(marks) == MARK_LIMIT
    assert marks[-1].kind == "leak"


# -- verdict.json -------------------------------------------------------------------------------------------------


def test_verdict_json_and_back() -> None:
    for result in (
        _judge(_leaky()),
        _judge(MadeCell(), Facts(complete=False)),
        _judge(_whole(), expected=ALL_GUARANTEES),
    ):
        again = result_from_json(json.loads(json.dumps(result_to_json(result))))
        assert again == result


ALL_GUARANTEES = tuple(Guarantee)

_DAMAGE = st.none() | st.booleans() | st.integers(-2, 2) | st.text(max_size=3) | st.just([1]) | st.just({"a": 1})


@pytest.fixture(scope="module")
def leaky_json() -> dict[str, Any]:
    return dict(result_to_json(_judge(_leaky())))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(field=st.sampled_from(sorted(CellResult.__dataclass_fields__)), value=_DAMAGE, missing=st.booleans())
def test_a_damaged_verdict_json_is_told_in_words(
    leaky_json: dict[str, Any], field: str, value: Any, missing: bool
) -> None:
    data = {key: item for key, item in leaky_json.items() if key != field or not missing}
    if not missing:
        data[field] = value
    try:
        again = result_from_json(data)
    except UsageError as error:
        complaint = str(error)
        assert complaint.startswith("verdict.json: ")
    else:
        assert result_to_json(again).keys() == leaky_json.keys()


def test_no_measure_is_infinite_or_nan() -> None:
    for value in _judge(_leaky()).measures.values():
        assert not isinstance(value, float) or math.isfinite(value)
