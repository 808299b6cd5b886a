"""What lies exactly on a bound, and what a finding carries beside its verdict: evidence, numbers, its own guarantee."""

from __future__ import annotations

from typing import Any

import pytest

from harness.checkers import ALL
from harness.checkers.clean_background import CleanBackground
from harness.checkers.connection_budget import ConnectionBudget
from harness.checkers.exercised import Exercised
from harness.checkers.no_pool_closed import NoPoolClosed
from harness.checkers.no_silent_failure import NoSilentFailure
from harness.checkers.reading import Reading, Spans, of_time, read
from harness.core.facts import Facts
from harness.core.history import ErrorInfo, History, Op, OpType
from harness.core.verdict import Checker, Finding, Json, Verdict
from tests.checkers.made_histories import AGENT, BOUNDS, CANCELLED, CLOSED, OPERATIONAL, TIMEOUT, MadeCell, shows

FOREIGN = ErrorInfo("KeyError", "'x'", ("KeyError", "LookupError", "Exception", "BaseException"))


def _ask(checker: Checker, cell: MadeCell) -> Finding:
    return checker.check(cell.history, cell.facts(), BOUNDS)


@pytest.mark.parametrize("checker", ALL, ids=lambda checker: checker.guarantee.value)
@pytest.mark.parametrize("broken", [False, True])
def test_a_finding_is_about_the_checker_s_own_guarantee(checker: Checker, broken: bool) -> None:
    for faulty in (False, True):
        cell = MadeCell()
        cell.gate()
        if faulty:
            cell.strike()
            cell.heal()
        if broken:
            cell.call("turn", "t1", status="info", error=CLOSED, took_s=30.0)
            cell.save(error=OPERATIONAL)
            cell.point("background", "g0", {"what": "never_awaited", "text": "x"})
            cell.sample(g0=list(range(99)))
            cell.now_s += 1.0
            cell.sample(g0=list(range(99)))
        assert _ask(checker, cell).guarantee is checker.guarantee


# -- what a history says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "overlaps", "covered_s", "free"),
    [
        (0.0, 1.0, False, 0.0, [(0.0, 1.0)]),
        (0.0, 2.0, True, 0.0, [(0.0, 2.0)]),
        (0.0, 3.0, True, 1.0, [(0.0, 2.0)]),
        (3.0, 4.0, True, 1.0, []),
        (4.0, 6.0, True, 0.0, [(4.0, 6.0)]),
        (4.5, 6.0, False, 0.0, [(4.5, 6.0)]),
        (0.0, 20.0, True, 4.0, [(0.0, 2.0), (4.0, 8.0), (10.0, 20.0)]),
        (9.0, 20.0, True, 1.0, [(10.0, 20.0)]),
        (5.0, 5.0, False, 0.0, []),
        (2.0, 3.0, True, 1.0, []),
        (4.0, 4.0, True, 0.0, []),
        (2.0, 2.0, True, 0.0, []),
    ],
)
def test_spans(start: float, end: float, overlaps: bool, covered_s: float, free: list[tuple[float, float]]) -> None:
    spans = Spans([(8.0, 9.0), (2.0, 3.0), (3.0, 4.0), (8.5, 10.0)])
    assert list(spans) == [(2.0, 4.0), (8.0, 10.0)]
    assert spans.overlaps(start, end) is overlaps
    assert spans.covered_s(start, end) == covered_s
    assert list(spans.free(start, end)) == free


def test_saver_calls_are_read_as_their_rows_say() -> None:
    cell = MadeCell()
    cell.save("aput", parent=7, turn="t3")
    cell.invoke("aput", f"g1/{AGENT}", {"thread": "a", "parent": True, "turn": 3})
    cell.invoke("aput", f"g1/{AGENT}", {"thread": "a", "parent": "7"})
    saves = Reading(cell.history).saver_calls
    first, second, third = saves
    assert (first.f, first.replica, first.turn, first.parent) == ("aput", f"g0/{AGENT}", first.thread + "/t3", 7)
    assert (first.began_s, first.ended_s) == (0.0, 0.01)
    assert (second.parent, second.turn, second.ended_s, second.end) == (None, "", None, None)
    assert third.parent is None
    assert Reading(cell.history).saver_calls_of == {first.thread: [first], "a": [second, third]}


def test_calls_are_read_as_their_rows_say() -> None:
    cell = MadeCell()
    cell.call("turn", "t1", group="g1", deadline_s=3.0)
    (call,) = Reading(cell.history).calls
    assert (call.kind, call.user, call.group, call.agent) == ("turn", "u0", "g1", AGENT)
    assert (call.thread, call.turn, call.status) == (f"{AGENT}.u0.0", f"{AGENT}.u0.0/t1", "ok")
    assert (call.began_s, call.ended_s, call.given_s) == (0.0, 0.1, 3.0)


@pytest.mark.parametrize(("given", "read_s"), [(0.5, 0.5), (0, 0.0), (-1.0, None), ("8", None), (True, None)])
def test_a_deadline_is_read_as_its_row_says(given: Any, read_s: float | None) -> None:
    cell = MadeCell()
    cell.begin("turn", "t1", deadline_s=given)
    assert Reading(cell.history).calls[0].given_s == read_s


def test_a_refusal_is_told_apart_from_an_unknown_outcome() -> None:
    cell = MadeCell()
    cell.call("turn", "t1", status="refused")
    cell.call("turn", "t2", status="info")
    cell.call("turn", "t3", value={"refused": True})
    cell.begin("turn", "t4")
    assert [call.status for call in Reading(cell.history).calls] == ["refused", "info", "ok", "open"]


def test_a_finding_counts_codes_only_where_there_are_any() -> None:
    cell = MadeCell()
    cell.call("turn", "t1", status="info", error=CLOSED)
    assert "codes" not in _ask(NoPoolClosed(), cell).details


def test_gaps_carry_the_rows_that_they_are_about() -> None:
    """A window that read nothing back, one never installed, a re-creation that renewed nothing, replicas and kinds
    that never answered.
    """
    cell = MadeCell()
    cell.phase("gate")
    cell.sample(g0=[1, 2], g1=[3])
    kinds: dict[str, Json] = {"turn": 1, "fork": 0}
    gate = cell.point("gate", "runner", {"kinds": kinds, "agents": {f"g0/{AGENT}": 1, "Other": 1}}).index
    cell.phase("drive")
    cell.call("turn", "t1")
    cell.now_s = 1.0
    bare = len(cell.rows)
    cell.strike(0)
    cell.heal(0)
    refused = len(cell.rows)
    cell.complete(cell.invoke("fault", "faults", {"window": 1, "kind": "x", "effect": "disturbs"}), OpType.INFO, {})
    renew = len(cell.rows)
    cell.complete(cell.invoke("recreate", "g0", {"ordered": True}))
    cell.now_s = 9.0
    cell.end()
    finding = _ask(Exercised(), cell)
    assert finding.verdict is Verdict.INVALID
    assert {gate, bare, refused, renew, renew + 1} <= set(finding.evidence)


@pytest.mark.parametrize("key", ["group", "agent", "thread", "turn"])
def test_a_word_that_is_none_is_empty_and_the_others_stand(key: str) -> None:
    value: dict[str, Any] = {name: name.upper() for name in ("group", "agent", "thread", "turn")}
    row = Op(0, 0.0, OpType.INVOKE, "turn", "u0", 1, {**value, key: 3})
    (call,) = Reading(History([row])).calls
    found = {"group": call.group, "agent": call.agent, "thread": call.thread, "turn": call.turn}
    assert found == {**value, key: ""}
    assert call.given_s is None


def test_a_window_without_a_number_is_a_window() -> None:
    rows = [
        Op(0, 1.0, OpType.INVOKE, "fault", "faults", 1, {"kind": "x", "delay_ms": 5, "fault": 3, "usable": True}),
        Op(1, 2.0, OpType.OK, "fault", "faults", 1, {"change": {"a": 1}}),
        Op(2, 3.0, OpType.INVOKE, "heal", "faults", 2, {}),
        Op(3, 4.0, OpType.OK, "heal", "faults", 2, {}),
        Op(4, 5.0, OpType.INVOKE, "fault", "faults", 3, {"window": 7}),
        Op(5, 6.0, OpType.INFO, "log", "x", None, {}),
    ]
    first, second = Reading(History(rows)).damages
    assert (first.number, first.kind, first.began_s, first.ended_s) == (-1, "x", 1.0, 4.0)
    assert (first.installed, first.healed, first.usable, first.delay_ms) == (True, True, True, 5.0)
    assert (dict(first.fault), dict(first.change), first.row) == ({}, {}, 0)
    assert (second.number, second.kind, second.ended_s) == (7, "unnamed fault", 6.0)
    assert (second.installed, second.healed, second.usable) == (False, False, False)


def test_backends_that_are_no_list_are_none() -> None:
    row = Op(0, 0.0, OpType.INFO, "connections", "sampler", None, {"backends": {"g0": "123", "g1": [1, "x"]}})
    (sample,) = Reading(History([row])).samples
    assert sample.backends == {"g0": frozenset(), "g1": frozenset({1})}


@pytest.mark.parametrize(("deadline_s", "answered"), [(8.0, True), (7.5, False), (None, True)])
def test_a_call_that_the_history_cuts_off_at_its_deadline_might_still_have_been_answered(
    deadline_s: float | None, answered: bool
) -> None:
    cell = MadeCell()
    cell.begin("turn", "t1", deadline_s=deadline_s)
    cell.now_s = 8.0
    cell.point("log", "x", {})
    reading = read(cell.history)
    assert reading.unanswered(reading.calls[0], 8.0) is not answered
    assert reading.unanswered(reading.calls[0], 7.0) is (deadline_s is None or not answered)


@pytest.mark.parametrize(
    ("status", "error", "of_the_machine"),
    [
        ("refused", None, True),
        ("open", None, True),
        ("info", TIMEOUT, True),
        ("info", CANCELLED, True),
        ("info", OPERATIONAL, False),
        ("info", ErrorInfo("errors.PoolTimeout", ""), True),
        ("info", ErrorInfo("ServiceError", "", (), (("cause", "psycopg.errors.QueryCanceled", ""),)), True),
        ("info", ErrorInfo("ServiceError", "", (), (("cause", "TimeoutErrorish", ""),)), False),
    ],
)
def test_what_a_machine_that_stood_still_can_bring_about(
    status: str, error: ErrorInfo | None, of_the_machine: bool
) -> None:
    cell = MadeCell()
    cell.call("turn", "t1", status=status, error=error)
    assert of_time(read(cell.history).calls[0]) is of_the_machine


def test_a_call_that_ended_as_info_without_an_error_may_be_of_the_machine() -> None:
    cell = MadeCell()
    cell.complete(cell.begin("turn", "t1"), OpType.INFO)
    assert of_time(read(cell.history).calls[0])


# -- connection_budget, clean_background --------------------------------------------------------------------------


def test_backends_above_the_budget_count_from_two_samples_200_ms_apart() -> None:
    many = list(range(BOUNDS.budget + 1))
    for held_s, verdict in ((0.25, Verdict.PASS), (0.3, Verdict.FAIL)):
        cell = MadeCell()
        cell.gate()
        first = cell.sample_row(g0=many)
        cell.now_s += held_s
        cell.sample(g0=[1])
        finding = _ask(ConnectionBudget(), cell)
        shows(finding, verdict)
        assert finding.evidence == ((first,) if verdict is Verdict.FAIL else ())


def test_the_longest_stretch_that_no_black_hole_explains_is_what_counts() -> None:
    many = list(range(BOUNDS.budget + 3))
    cell = MadeCell()
    cell.gate()
    first = cell.sample_row(g0=many[:-1])
    cell.now_s += 0.15
    cell.strike(holds_connections=True)
    cell.now_s += 1.0
    cell.heal()
    cell.now_s += 1.0
    last = cell.sample_row(g0=many)
    cell.now_s += 0.1
    cell.sample(g0=[1])
    finding = _ask(ConnectionBudget(), cell)
    shows(finding, Verdict.FAIL)
    assert finding.evidence == (first, last)
    assert f"held {len(many)} backends for 0.5 s or more" in finding.summary


def test_of_two_stretches_beside_a_black_hole_the_longer_one_counts() -> None:
    many = list(range(BOUNDS.budget + 1))
    cell = MadeCell()
    cell.gate()
    first = cell.sample_row(g0=many)
    cell.now_s += 1.0
    cell.strike(holds_connections=True)
    cell.now_s += 1.0
    cell.heal()
    cell.now_s += 0.75
    cell.sample(g0=[1])
    finding = _ask(ConnectionBudget(), cell)
    shows(finding, Verdict.FAIL)
    assert finding.evidence == (first,)
    assert "for 1.0 s or more" in finding.summary


def test_one_backend_left_is_one_too_many() -> None:
    cell = MadeCell()
    cell.gate()
    for left, verdict in ((0, Verdict.PASS), (1, Verdict.FAIL)):
        facts = Facts(leftover_backends={"g0": left})
        shows(ConnectionBudget().check(cell.history, facts, BOUNDS), verdict)


def _stalled(at_s: float, seconds: float, *, phase: bool = True, **more: Any) -> Finding:
    """A stall that ended at ``at_s``; users call from 1 s to 9 s."""
    cell = MadeCell()
    cell.now_s = 1.0
    if phase:
        cell.phase("gate")
    cell.call("turn", "t1", took_s=0.5)
    cell.phase("drive")
    if at_s > 9.0:
        cell.now_s = 9.0
        cell.phase("converged")
    cell.now_s = at_s
    cell.point("stall", "watchdog", {"seconds": seconds, **more})
    if at_s <= 9.0:
        cell.now_s = 9.0
        cell.phase("converged")
    return _ask(CleanBackground(), cell)


@pytest.mark.parametrize(
    ("at_s", "seconds", "verdict"),
    [(5.0, 0.5, Verdict.PASS), (5.0, 0.75, Verdict.FAIL), (9.0, 0.75, Verdict.FAIL), (9.5, 0.75, Verdict.PASS)],
)
def test_a_stall_while_users_call(at_s: float, seconds: float, verdict: Verdict) -> None:
    finding = _stalled(at_s, seconds)
    shows(finding, verdict)
    assert finding.details["longest_stall_s"] == (seconds if at_s < 9.5 else 0.0)
    assert finding.details["after_a_kill"] == 0


def test_a_stall_of_the_whole_process_is_nobody_s() -> None:
    shows(_stalled(5.0, 3.0, host=True), Verdict.PASS)
    finding = _stalled(5.0, 3.0, phase=False)
    shows(finding, Verdict.FAIL)
    assert len(finding.evidence) == 1


def test_a_stall_says_where_the_loop_stood() -> None:
    finding = _stalled(5.0, 3.0, stack="one\n two\n three\n four\n five\n")
    assert finding.summary.endswith(", in two three four five")
    assert _stalled(5.0, 3.0).summary.endswith("s")


def test_stalls_before_the_gate_are_not_judged_and_do_not_end_the_looking() -> None:
    cell = MadeCell()
    cell.point("stall", "watchdog", {"seconds": 9.0})
    cell.now_s = 10.0
    cell.phase("gate")
    cell.call("turn", "t1")
    cell.phase("drive")
    shows(_ask(CleanBackground(), cell), Verdict.PASS)
    cell.now_s = 12.0
    cell.point("stall", "watchdog", {"seconds": 0.75})
    shows(_ask(CleanBackground(), cell), Verdict.FAIL)


def test_noise_after_a_kill_is_counted() -> None:
    cell = MadeCell()
    cell.point("background", "g0", {"what": "never_awaited", "text": "before"})
    cell.complete(cell.begin("turn", "t1"), OpType.INFO, {"hung": True}, CANCELLED)
    cell.point("background", "g0", {"what": "never_awaited", "text": "after"})
    finding = _ask(CleanBackground(), cell)
    shows(finding, Verdict.FAIL)
    assert finding.evidence == (0,)
    assert finding.details["after_a_kill"] == 1


# -- no_pool_closed, no_silent_failure ----------------------------------------------------------------------------


def test_who_closed_the_pool_is_told_with_its_name() -> None:
    cell = MadeCell()
    for place in ("a.py:1 f", "b.py:2 g"):
        cell.point("pool", "g0", {"event": "close", "pool": "g0-1", "by": ["<frozen>", place, "c", "d", "e"]})
    cell.call("turn", "t1", status="info", error=CLOSED)
    finding = _ask(NoPoolClosed(), cell)
    assert "in an exception (closed)" in finding.summary
    assert "g0-1 closed at 0.000 s by b.py:2 g <- c <- d" in finding.summary
    assert "<- e" not in finding.summary
    cell = MadeCell()
    cell.call("turn", "t1", value={"text": "sorry: the pool 'g0-1' is already closed"})
    finding = _ask(NoPoolClosed(), cell)
    assert "in a reply (closed)" in finding.summary
    assert finding.summary.endswith("is already closed"), "nobody is known to have closed it"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("THE POOL IS NOT OPEN", "never opened"),
        ("THE POOL CANNOT BE REUSED", "failed to open"),
        ("pool closed", "closed"),
    ],
)
def test_the_kind_is_told_whatever_the_case(text: str, kind: str) -> None:
    cell = MadeCell()
    cell.call("turn", "t1", value={"text": text})
    assert _ask(NoPoolClosed(), cell).details["kinds"] == {kind: 1}


def test_the_words_of_a_wrapped_pool_closed_are_the_ones_shown() -> None:
    inner = (("cause", "ValueError", "odd"), ("context", "psycopg_pool.PoolClosed", "gone"))
    cell = MadeCell()
    cell.call("turn", "t1", status="info", error=ErrorInfo("E", "outer", ("E",), inner, pool_closed=True))
    assert _ask(NoPoolClosed(), cell).summary.endswith(": gone")


def _two_attempts(
    first: ErrorInfo | None, second: ErrorInfo | None, status: OpType, error: ErrorInfo | None
) -> Finding:
    """A failed save in a call's first attempt, then a second attempt; ``status``, ``error``: how the call ended."""
    cell = MadeCell()
    call = cell.begin("turn", "t1")
    attempt = cell.invoke("attempt", "u0", {"parent": call, "n": 1, "step": "send"})
    cell.save("aput", parent=call, error=OPERATIONAL)
    if first is not None:
        cell.complete(attempt, OpType.INFO, {}, first)
    if second is not None:
        cell.attempt(call, 2, error=None if second is FOREIGN else second)
    cell.complete(call, status, {}, error)
    return _ask(NoSilentFailure(), cell)


def test_a_save_that_failed_is_made_good_by_an_attempt_after_it_and_by_no_other() -> None:
    shows(_two_attempts(OPERATIONAL, FOREIGN, OpType.OK, None), Verdict.PASS)
    shows(_two_attempts(OPERATIONAL, None, OpType.OK, None), Verdict.FAIL)
    cell = MadeCell()
    call = cell.begin("turn", "t1")
    cell.attempt(call, 1)
    cell.save("aput", parent=call, error=OPERATIONAL)
    cell.complete(call)
    shows(_ask(NoSilentFailure(), cell), Verdict.FAIL)


def test_a_save_that_failed_is_made_good_for_its_own_turn_alone() -> None:
    for turn, verdict in (("t1", Verdict.PASS), ("t2", Verdict.FAIL)):
        cell = MadeCell()
        call = cell.begin("turn", "t1")
        cell.save("aput", parent=call, error=OPERATIONAL)
        cell.complete(call, OpType.INFO, {"refused": True})
        again = cell.begin("turn", turn)
        cell.attempt(again, 1)
        cell.complete(again)
        shows(_ask(NoSilentFailure(), cell), verdict)


def test_an_answered_call_without_attempts_makes_good_what_failed_before_it() -> None:
    for turn, verdict in (("t1", Verdict.PASS), ("t2", Verdict.FAIL)):
        cell = MadeCell()
        call = cell.begin("turn", "t1")
        cell.save("aput", parent=call, error=OPERATIONAL)
        cell.complete(call, OpType.INFO, {"refused": True})
        cell.call("turn", turn)
        shows(_ask(NoSilentFailure(), cell), verdict)


def test_a_save_that_was_cancelled_is_told_by_a_call_that_was_not_answered() -> None:
    for save, verdict in ((CANCELLED, Verdict.PASS), (OPERATIONAL, Verdict.FAIL)):
        cell = MadeCell()
        call = cell.begin("turn", "t1")
        cell.save("aput", parent=call, error=save)
        cell.complete(call, OpType.INFO, {"refused": True})
        shows(_ask(NoSilentFailure(), cell), verdict)


def test_another_error_than_the_save_s_tells_only_if_it_ended_the_attempt() -> None:
    lost = ErrorInfo("OperationalError", "another one", OPERATIONAL.classes, declared=True)
    shows(_two_attempts(lost, None, OpType.INFO, lost), Verdict.PASS)
    shows(_two_attempts(None, None, OpType.INFO, lost), Verdict.FAIL)


def test_a_log_record_before_the_failure_tells_nothing() -> None:
    for before, verdict in ((True, Verdict.FAIL), (False, Verdict.PASS)):
        cell = MadeCell()
        call = cell.begin("turn", "t1")
        thread = str(cell.rows[0].value["thread"])
        if before:
            cell.point("log", "x", {"level": "ERROR", "thread": thread})
        cell.save("aput", parent=call, error=OPERATIONAL)
        if not before:
            cell.point("log", "x", {"level": "ERROR", "thread": thread})
        cell.complete(call)
        finding = _ask(NoSilentFailure(), cell)
        shows(finding, verdict)
        assert (finding.details["saves"], finding.details["failed_saves"]) == (1, 1)


def test_a_save_of_no_call_is_told_by_nobody() -> None:
    cell = MadeCell()
    cell.save("aput", error=OPERATIONAL)
    finding = _ask(NoSilentFailure(), cell)
    shows(finding, Verdict.FAIL)
    assert finding.evidence == (0, 1)
