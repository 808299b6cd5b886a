"""exercised: every way in which a cell can be vacuous is INVALID, and says what was missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.checkers.exercised import Exercised
from harness.core.history import ErrorInfo, History, OpType
from harness.core.verdict import Finding, Verdict
from tests.checkers.made_histories import AGENT, BOUNDS, OPERATIONAL, THREAD, MadeCell, shows


def _check(cell: MadeCell) -> Finding:
    return Exercised().check(cell.history, cell.facts(), BOUNDS)


def _struck(inside: Callable[[MadeCell], object] | None = None, **window: Any) -> MadeCell:
    """A whole cell with one window in which ``inside`` happens (by default a saver call fails)."""
    cell = MadeCell()
    cell.gate()
    cell.now_s = 3.0
    cell.strike(**window)
    (inside or (lambda made: made.save("aput", error=OPERATIONAL)))(cell)
    cell.now_s = max(6.0, cell.now_s)
    cell.heal()
    cell.sample(g0=[5, 6], g1=[7, 8])
    cell.everybody(round_=2)
    cell.end()
    return cell


def _invalid(cell: MadeCell, words: str) -> None:
    finding = _check(cell)
    assert finding.verdict is Verdict.INVALID, finding
    quotes = finding.details["quotes"]
    assert isinstance(quotes, list)
    assert any(words in str(quote) for quote in quotes), quotes


def test_exercised() -> None:
    shows(_check(_struck()), Verdict.PASS)


def test_a_plan_without_windows_needs_no_witness() -> None:
    cell = MadeCell()
    cell.gate()
    cell.end()
    shows(_check(cell), Verdict.PASS)


def test_a_torn_history() -> None:
    cell = _struck()
    finding = Exercised().check(History(cell.rows, torn=True), cell.facts(), BOUNDS)
    shows(finding, Verdict.INVALID)


@pytest.mark.parametrize("phase", ["gate", "drive", "end"])
def test_a_phase_is_missing(phase: str) -> None:
    cell = _struck()
    cell.rows = [op for op in cell.rows if not (op.f == "phase" and op.value["name"] == phase)]
    _invalid(cell, f"no phase '{phase}'")


def test_the_gate_row_is_missing() -> None:
    cell = _struck()
    cell.rows = [op for op in cell.rows if op.f != "gate"]
    _invalid(cell, "the gate names no kind")


def test_a_kind_of_call_never_succeeded() -> None:
    cell = _struck()
    cell.call("fork", "f1", status="info", error=OPERATIONAL)
    _invalid(cell, "no fork ever succeeded")


def test_an_agent_never_answered() -> None:
    cell = MadeCell()
    cell.phase("gate")
    cell.sample(g0=[1], g1=[2])
    cell.call("turn", "t1")
    cell.point("gate", "runner", {"kinds": {"turn": 1}, "agents": [AGENT], "answered": {f"g0/{AGENT}": 1}})
    cell.phase("drive")
    cell.end()
    _invalid(cell, f"g1/{AGENT} never answered")


def test_a_window_that_was_never_installed() -> None:
    cell = _struck()
    cell.rows = [op for op in cell.rows if not (op.f == "fault" and op.type is OpType.OK)]
    _invalid(cell, "never installed")


def test_a_window_that_was_never_healed() -> None:
    cell = _struck()
    cell.rows = [op for op in cell.rows if not (op.f == "heal" and op.type is OpType.OK)]
    _invalid(cell, "never healed")


def test_too_few_calls_in_flight() -> None:
    _invalid(_struck(needs_in_flight=3, in_flight=3), "began with 0 calls in flight")


def test_an_unknown_effect_is_not_taken_for_seen() -> None:
    _invalid(_struck(effect="dazzles"), "names no effect")


# -- effects ------------------------------------------------------------------------------------------------------


def test_disturbs_by_an_error_of_a_call_or_a_saver_call() -> None:
    shows(_check(_struck(lambda cell: cell.call("turn", "t9", status="refused"))), Verdict.PASS)
    shows(_check(_struck(lambda cell: cell.save("aget_tuple", error=OPERATIONAL))), Verdict.PASS)


TELLING = ErrorInfo("QueryCanceled", "canceling statement due to statement timeout")
CAUSED = ErrorInfo("PoolTimeout", "none", links=(("cause", TELLING.type, TELLING.message),))


@pytest.mark.parametrize(("error", "seen"), [(TELLING, True), (CAUSED, True), (OPERATIONAL, False), (None, False)])
@pytest.mark.parametrize("inside", [True, False])
def test_a_fault_that_tells_is_known_by_its_own_words(error: ErrorInfo | None, seen: bool, inside: bool) -> None:
    """Another fault may disturb at the same time, and is no witness for this one; nor is the same error elsewhere."""
    cell = MadeCell()
    cell.gate()
    cell.now_s = 3.0
    cell.strike()
    cell.save("aput", error=error if inside else OPERATIONAL)
    cell.now_s = 6.0
    cell.heal(tells="due to statement timeout")
    cell.sample(g0=[5, 6], g1=[7, 8])
    cell.now_s += 1.0
    if not inside:
        cell.save("aput", error=error)
    cell.everybody(round_=2)
    cell.end()
    if seen and inside:
        shows(_check(cell), Verdict.PASS)
    else:
        _invalid(cell, "no saver call ended in 'due to statement timeout'")


@pytest.mark.parametrize(
    ("took_s", "usable", "seen"),
    [
        ((0.24, 0.24, 0.24), True, False),
        ((0.3,), True, False),
        ((0.3, 0.3), True, True),
        ((0.3,) * 9, False, False),
        ((1.6, 1.6), False, False),
        ((1.6, 1.6, 1.6), False, True),
    ],
)
def test_disturbs_by_stalls(took_s: tuple[float, ...], usable: bool, seen: bool) -> None:
    """One alone is the machine's. Where the database was away (here for three seconds), they stall for long."""

    def side_by_side(made: MadeCell) -> None:
        saves = [made.invoke("aput", f"g0/{AGENT}", {"thread": THREAD, "parent": None}) for _ in took_s]
        began_s = made.now_s
        for save, seconds in zip(saves, took_s, strict=True):
            made.now_s = began_s + seconds
            made.complete(save)
        if usable:
            made.call("turn", "t8")

    cell = _struck(side_by_side, usable=usable)
    if seen:
        shows(_check(cell), Verdict.PASS)
    else:
        _invalid(cell, "disturbed nobody")


def test_an_error_before_or_after_the_window_is_no_effect_of_it() -> None:
    cell = MadeCell()
    cell.gate()
    cell.call("turn", "t9", status="info", error=OPERATIONAL)
    cell.now_s = 3.0
    cell.strike()
    cell.now_s = 4.0
    cell.heal()
    cell.now_s = 4.1
    cell.call("turn", "t9", status="info", error=OPERATIONAL)
    cell.end()
    _invalid(cell, "disturbed nobody")


def _saves(*took_s: float) -> Callable[[MadeCell], object]:
    def inside(cell: MadeCell) -> None:
        for seconds in took_s:
            cell.save("aput", took_s=seconds)

    return inside


@pytest.mark.parametrize(
    ("took_s", "seen"),
    [
        ((0.25,), True),
        ((0.16,), False),
        ((0.01,) * 9 + (0.25,) * 2, True),
        ((0.01,) * 19 + (0.25,), False),
        ((), False),
    ],
)
def test_delays_judged_on_the_upper_tenth(took_s: tuple[float, ...], seen: bool) -> None:
    cell = _struck(_saves(*took_s), effect="delays", delay_ms=200.0, usable=True)
    if seen:
        shows(_check(cell), Verdict.PASS)
    else:
        _invalid(cell, "delayed")


def test_a_delay_of_nothing_cannot_be_seen() -> None:
    _invalid(_struck(_saves(0.3), effect="delays", delay_ms=0.0), "delayed")


def test_a_slow_turn_does_not_prove_a_delay_of_the_database() -> None:
    _invalid(_struck(lambda cell: cell.call("turn", "t9", took_s=0.5), effect="delays", delay_ms=200.0), "delayed")


def test_renews() -> None:
    shows(_check(_struck(lambda cell: None, effect="renews")), Verdict.PASS)
    cell = _struck(lambda cell: None, effect="renews")
    cell.rows = [op for op in cell.rows if not (op.f == "connections" and op.time_s > 5)]
    _invalid(cell, "renewed nothing")


def test_renews_needs_a_backend_from_before() -> None:
    cell = _struck(lambda cell: None, effect="renews")
    cell.rows = [op for op in cell.rows if not (op.f == "connections" and op.time_s < 5)]
    _invalid(cell, "no backend was seen before")


@pytest.mark.parametrize(("at_s", "pids", "seen"), [(2.5, [1], True), (3.0, [1], True), (3.0, [5], False)])
def test_a_pool_that_keeps_no_connections_shows_them_in_some_samples(at_s: float, pids: list[int], seen: bool) -> None:
    cell = MadeCell()
    cell.gate()
    cell.rows = [op for op in cell.rows if op.f != "connections"]
    cell.now_s = at_s
    cell.sample(g0=pids, g1=[])
    cell.now_s = max(at_s, 2.9)
    if at_s < cell.now_s:
        cell.sample(g0=[], g1=[])
    cell.now_s = 3.0
    cell.strike(effect="renews")
    cell.now_s = 6.0
    cell.heal(sessions_ended=1)
    cell.sample(g0=[5], g1=[7])
    cell.everybody(round_=2)
    cell.end()
    if seen:
        shows(_check(cell), Verdict.PASS)
    else:
        _invalid(cell, "every backend from before it was still there")


@pytest.mark.parametrize(("ended", "seen"), [(0, False), (1, True)])
def test_renews_needs_a_session_that_the_fault_ended(ended: int, seen: bool) -> None:
    cell = MadeCell()
    cell.gate()
    cell.now_s = 3.0
    cell.sample(g0=[1, 2], g1=[3, 4])
    cell.strike(effect="renews")
    cell.now_s = 6.0
    cell.heal(sessions_ended=ended)
    cell.sample(g0=[5, 6], g1=[7, 8])
    cell.everybody(round_=2)
    cell.end()
    if seen:
        shows(_check(cell), Verdict.PASS)
    else:
        _invalid(cell, "ended no session")


@pytest.mark.parametrize(("sockets", "seen"), [(0, False), (1, True)])
def test_lingers(sockets: int, seen: bool) -> None:
    cell = MadeCell()
    cell.gate()
    cell.now_s = 3.0
    cell.strike(effect="lingers")
    cell.now_s = 6.0
    cell.heal(lingering_sockets=sockets)
    cell.everybody(round_=2)
    cell.end()
    if seen:
        shows(_check(cell), Verdict.PASS)
    else:
        _invalid(cell, "no socket was seen half closed")


def _recreate(**value: Any) -> Callable[[MadeCell], object]:
    def inside(cell: MadeCell) -> None:
        order = {"ordered": True, "in_flight": 3, "waiters": 1, "saver_waiters": 0, **value}
        cell.complete(cell.invoke("recreate", "g0", order))

    return inside


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ({}, True),
        ({"waiters": 0, "saver_waiters": 1}, True),
        ({"waiters": 0}, False),
        ({"in_flight": 2}, False),
        ({"ordered": False}, False),
    ],
)
def test_recreates(value: dict[str, Any], seen: bool) -> None:
    cell = _struck(_recreate(**value), effect="recreates", usable=True)
    if seen:
        shows(_check(cell), Verdict.PASS)
    else:
        _invalid(cell, "re-creation")


@pytest.mark.parametrize(("side_by_side", "seen"), [(4, False), (5, True)])
def test_checks(side_by_side: int, seen: bool) -> None:
    def herd(cell: MadeCell) -> None:
        calls = [cell.invoke("ensure_healthy", "g0", {"ordered": True}) for _ in range(side_by_side)]
        for call in calls:
            cell.complete(call)
        cell.complete(cell.invoke("ensure_healthy", "g0", {}))

    cell = _struck(herd, effect="checks", usable=True, fault={"kind": "health_check_herd", "callers": 5})
    if seen:
        shows(_check(cell), Verdict.PASS)
    else:
        _invalid(cell, "side by side")


# -- re-creations that renew nothing ------------------------------------------------------------------------------


def _after_a_recreation(*, pids: list[int], until_s: float = 12.0, kind: OpType = OpType.OK, **value: Any) -> MadeCell:
    cell = MadeCell()
    cell.gate()  # g0 holds 1 and 2
    cell.now_s = 3.0
    order = {"ordered": True, "in_flight": 3, "waiters": 1, "saver_waiters": 0, **value}
    call = cell.invoke("recreate", "g0", order)
    cell.now_s = 3.5
    cell.complete(call, kind)
    cell.now_s = 4.0
    cell.sample(g0=pids, g1=[3, 4])
    cell.now_s = until_s
    cell.everybody(round_=2)
    cell.end()
    return cell


@pytest.mark.parametrize("pids", [[1, 2], [1, 2, 9]])
def test_a_recreation_that_renewed_nothing(pids: list[int]) -> None:
    _invalid(_after_a_recreation(pids=pids), "renewed nothing")


@pytest.mark.parametrize("pids", [[8, 9], [2, 9], []])
def test_a_recreation_that_renewed_something(pids: list[int]) -> None:
    shows(_check(_after_a_recreation(pids=pids)), Verdict.PASS)


@pytest.mark.parametrize(
    "changes", [{"until_s": 5.0}, {"behind_pooler": True}, {"kind": OpType.INFO}, {"ordered": False}], ids=str
)
def test_a_recreation_that_cannot_be_judged(changes: dict[str, Any]) -> None:
    shows(_check(_after_a_recreation(pids=[1, 2], **changes)), Verdict.PASS)
