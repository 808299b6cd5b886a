"""What lies exactly on a bound of what a window must show: effects, and the conditions of a cell that proves much."""

from __future__ import annotations

from typing import Any

import pytest

from harness.checkers import effects, vacuity
from harness.checkers.effects import operations, quantile, unseen
from harness.checkers.reading import Reading
from harness.core.facts import Facts
from harness.core.fault import Effect
from harness.core.history import OpType
from harness.core.verdict import Json
from tests.checkers.made_histories import AGENT, OPERATIONAL, MadeCell

#: The window of these cells, in seconds.
BEGAN_S, ENDED_S = 2.0, 4.0
Moment = tuple[float, Any]


def _cell(*moments: Moment, change: dict[str, Json] | None = None, **window: Any) -> MadeCell:
    """Load without faults until 1 s, and one window; each of ``moments`` happens at its time. A save of 0.125 s is
    usual.
    """
    cell = MadeCell()
    cell.phase("gate")
    cell.save("aput", took_s=0.125)
    cell.now_s = 1.0
    cell.phase("drive")
    acts: list[Moment] = [
        (BEGAN_S, lambda made: made.strike(**window)),
        *moments,
        (ENDED_S, lambda made: made.heal(**(change or {}))),
        (9.0, lambda made: made.phase("end")),
    ]
    for at_s, act in sorted(acts, key=lambda moment: moment[0]):
        cell.now_s = max(cell.now_s, at_s)
        act(cell)
    return cell


def _seen(cell: MadeCell) -> bool:
    reading = Reading(cell.history)
    return unseen(reading.damages[0], reading) is None


def _save(took_s: float, f: str = "aput", **more: Any) -> Any:
    return lambda cell: cell.save(f, took_s=took_s, **more)


def _at(at_s: float, f: str, value: dict[str, Json], process: str = "g0") -> Moment:
    return (at_s, lambda cell: cell.point(f, process, value))


# -- effects ------------------------------------------------------------------------------------------------------


def test_quantiles_of_nothing_and_of_a_few() -> None:
    assert quantile([], 0.5) == 0.0
    assert [quantile([3.0, 1.0, 2.0], share) for share in (0.0, 1 / 3, 0.34, 1.0)] == [1.0, 1.0, 2.0, 3.0]


def test_operations_are_calls_and_saver_calls_and_last_to_the_end_if_they_never_ended() -> None:
    cell = MadeCell()
    cell.call("restore", "r1", took_s=0.5)
    cell.save("aput_writes", took_s=0.25, error=OPERATIONAL)
    cell.begin("turn", "t1")
    cell.invoke("aget_tuple", "g0/A", {})
    cell.now_s = 3.0
    cell.phase("end")
    assert [tuple(op) for op in operations(Reading(cell.history))] == [
        ("restore", 0.0, 0.5, False, False),
        ("turn", 0.75, 3.0, True, False),
        ("aget_tuple", 0.75, 3.0, True, True),
        ("aput_writes", 0.5, 0.75, True, True),
    ]


@pytest.mark.parametrize(
    ("at_s", "took_s", "seen"), [(1.0, 0.75, False), (1.25, 0.75, True), (4.0, 0.0, True), (4.25, 0.0, False)]
)
def test_a_failure_counts_if_it_touches_the_window(at_s: float, took_s: float, seen: bool) -> None:
    assert _seen(_cell((at_s, _save(took_s, error=OPERATIONAL)), effect="disturbs")) is seen


@pytest.mark.parametrize(
    ("f", "took_s", "seen"),
    [("aput", 0.375, False), ("aput", 0.5, True), ("aget_tuple", 0.25, False), ("aget_tuple", 0.375, True)],
)
def test_two_stalls_show_damage_that_leaves_the_database_usable(f: str, took_s: float, seen: bool) -> None:
    moments = [(2.0, _save(took_s, f)), (3.0, _save(took_s, f))]
    assert _seen(_cell(*moments, effect="disturbs", usable=True)) is seen
    assert not _seen(_cell(*moments[:1], effect="disturbs", usable=True))


def test_what_ended_with_the_gate_is_usual_and_what_ended_later_is_not() -> None:
    for ended_s, seen in ((1.0, False), (1.125, True)):
        cell = MadeCell()
        cell.now_s = ended_s - 0.75
        slow = cell.invoke("alist", "g0/A", {})
        if ended_s == 1.0:
            cell.now_s = 1.0
            cell.complete(slow)
        cell.now_s = 1.0
        cell.phase("drive")
        if ended_s != 1.0:
            cell.now_s = ended_s
            cell.complete(slow)
        cell.now_s = 2.0
        cell.strike(effect="disturbs", usable=True)
        for _ in range(2):
            cell.save("alist", took_s=0.75)
        cell.heal()
        assert _seen(cell) is seen


@pytest.mark.parametrize(
    ("f", "took_s", "delay_ms", "seen"),
    [
        ("aget_tuple", 0.75, 937.5, True),
        ("aget_tuple", 0.75, 938.0, False),
        ("aput", 0.875, 937.5, True),
        ("aput", 0.75, 937.5, False),
        ("aget_tuple", 0.75, 0.0, False),
        ("aget_tuple", 0.75, 0.5, True),
    ],
)
def test_a_delay_is_seen_at_four_fifths_of_it(f: str, took_s: float, delay_ms: float, seen: bool) -> None:
    assert _seen(_cell((2.0, _save(took_s, f)), effect="delays", delay_ms=delay_ms)) is seen


def test_a_delay_is_not_seen_in_what_began_before_it_or_in_calls_of_users() -> None:
    assert not _seen(_cell((1.5, _save(2.0)), effect="delays", delay_ms=100.0))
    assert not _seen(_cell((2.5, lambda cell: cell.call("turn", "t1", took_s=1.0)), effect="delays", delay_ms=100.0))


@pytest.mark.parametrize(
    ("at_s", "pids", "seen"),
    [
        (2.0, {"g0": [9]}, False),
        (2.5, {"g0": [1, 2, 3]}, False),
        (2.5, {"g0": [1, 3]}, True),
        (2.5, {"g1": [1, 2]}, True),
        (9.0, {"g0": [1]}, True),
        (9.5, {"g0": [1]}, False),
    ],
)
def test_what_a_window_renews_must_be_gone_within_five_seconds(
    at_s: float, pids: dict[str, list[int]], seen: bool
) -> None:
    if at_s == 2.0:
        # Sampled at the very moment in which the window begins, so it says what was there before.
        cell = _cell(
            (1.5, lambda made: made.sample(g0=[1, 2])), (2.0, lambda made: made.sample(**pids)), effect="renews"
        )
        assert _seen(cell) is seen
        return
    cell = _cell((1.5, lambda made: made.sample(g0=[1, 2])), (at_s, lambda made: made.sample(**pids)), effect="renews")
    assert _seen(cell) is seen


def test_a_sample_that_failed_renews_nothing() -> None:
    failed = _at(2.5, "connections", {"error": "x"}, "sampler")
    assert not _seen(_cell((1.5, lambda made: made.sample(g0=[1, 2])), failed, effect="renews"))


@pytest.mark.parametrize(("ended", "seen"), [(0, False), (1, True), (None, True)])
def test_a_fault_that_ends_sessions_must_have_ended_one(ended: int | None, seen: bool) -> None:
    change: dict[str, Json] = {} if ended is None else {"sessions_ended": ended}
    moments = [(1.5, lambda made: made.sample(g0=[1])), (2.5, lambda made: made.sample(g0=[2]))]
    assert _seen(_cell(*moments, effect="renews", change=change)) is seen


@pytest.mark.parametrize(
    ("at_s", "value", "fault", "seen"),
    [
        (2.0, {"in_flight": 3, "waiters": 1}, {}, True),
        (4.0, {"in_flight": 3, "saver_waiters": 1}, {}, True),
        (4.5, {"in_flight": 3, "waiters": 1}, {}, False),
        (1.5, {"in_flight": 3, "waiters": 1}, {}, False),
        (2.0, {"in_flight": 2, "waiters": 1}, {}, False),
        (2.0, {"in_flight": 3}, {}, False),
        (2.0, {"in_flight": 3}, {"queued": True}, False),
        (2.0, {"in_flight": 3}, {"queued": False}, True),
    ],
)
def test_an_ordered_re_creation_must_meet_calls_and_a_queue(
    at_s: float, value: dict[str, Json], fault: dict[str, Json], seen: bool
) -> None:
    def order(cell: MadeCell) -> None:
        cell.complete(cell.invoke("recreate", "g0", {"ordered": True, **value}))

    assert _seen(_cell((at_s, order), effect="recreates", fault=fault)) is seen


@pytest.mark.parametrize(
    ("steps", "callers", "seen"),
    [
        ("a", None, False),
        ("ab", None, True),
        ("aAb", None, False),
        ("aAbc", None, True),
        ("aAbB", None, False),
        ("ab", 3, False),
        ("abc", 3, True),
        ("abA", 2, True),
    ],
)
def test_health_checks_side_by_side(steps: str, callers: int | None, seen: bool) -> None:
    """``a`` begins a check and ``A`` ends it, all in the window's last moment."""

    def act(cell: MadeCell) -> None:
        begun: dict[str, int] = {}
        for step in steps:
            if step.islower():
                begun[step] = cell.invoke("ensure_healthy", "g0", {})
            else:
                cell.complete(begun[step.lower()])

    fault: dict[str, Json] = {} if callers is None else {"callers": callers}
    assert _seen(_cell((4.0, act), effect="checks", fault=fault)) is seen
    assert not _seen(_cell((4.5, act), effect="checks", fault=fault))


@pytest.mark.parametrize(
    ("at_s", "hit_s", "took_s", "seen"),
    [(2.5, 2.5, 1.0, True), (2.5, 3.5, 1.0, True), (2.5, 3.75, 1.0, False), (2.5, 2.25, 1.0, False)],
)
def test_a_hit_is_felt_by_who_was_waiting(at_s: float, hit_s: float, took_s: float, seen: bool) -> None:
    hits: list[Json] = [{"time_s": hit_s}]
    cell = _cell((at_s, _save(took_s, error=OPERATIONAL)), effect="strikes", change={"hits": hits})
    assert _seen(cell) is seen


@pytest.mark.parametrize(
    ("f", "took_s", "delay_ms", "seen"),
    [
        ("aput", 0.875, 937.5, True),
        ("aput", 0.75, 937.5, False),
        ("aput", 0.875, 0.0, False),
        ("alist", 9.0, 1.0, False),
    ],
)
def test_a_hit_that_lasts_is_felt_by_its_length(f: str, took_s: float, delay_ms: float, seen: bool) -> None:
    hits: list[Json] = [{"time_s": 2.5}, {"no": "time"}, "nonsense"]
    cell = _cell((2.0, _save(took_s, f)), effect="strikes", delay_ms=delay_ms, change={"hits": hits})
    assert _seen(cell) is seen


def test_hits_that_are_no_list_hit_nothing() -> None:
    cell = _cell((2.0, _save(1.0, error=OPERATIONAL)), effect="strikes", change={"hits": "2.5"})
    assert not _seen(cell)


# -- what a cell must show ----------------------------------------------------------------------------------------


def _gaps(condition: Any, cell: MadeCell, facts: Facts | None = None) -> list[tuple[str, tuple[int, ...]]]:
    evidence = vacuity.Evidence(Reading(cell.history), cell.facts() if facts is None else facts)
    return [(gap.code.value if gap.code else "", gap.rows) for gap in condition(evidence)]


def _window_row(cell: MadeCell) -> int:
    return next(op.index for op in cell.rows if op.f == "fault")


@pytest.mark.parametrize(
    ("at_s", "took_s", "met"),
    [(1.0, 1.0, True), (1.0, 0.75, False), (4.0, 1.0, True), (4.5, 1.0, False), (3.0, None, True)],
)
def test_saves_that_touch_the_window_are_its_traffic(at_s: float, took_s: float | None, met: bool) -> None:
    def act(cell: MadeCell) -> None:
        call = cell.invoke("aput", "g0/A", {"thread": "t"})
        if took_s is not None:
            cell.now_s += took_s
            cell.complete(call)

    cell = _cell((at_s, act), effect="lingers", needs_in_flight=1, change={"lingering_sockets": 1})
    row = _window_row(cell)
    assert _gaps(vacuity.touched, cell) == [*([] if met else [("V2", (row,))]), ("V3", (row,))]


def test_calls_are_in_flight_from_their_first_row_to_their_last() -> None:
    cell = MadeCell()
    cell.call("turn", "t0")
    cell.now_s = BEGAN_S
    before = cell.begin("turn", "t1")
    cell.begin("turn", "t2")
    row = len(cell.rows)
    cell.strike(effect="disturbs", needs_in_flight=3)
    cell.begin("turn", "t3")
    cell.complete(before)
    cell.heal()
    evidence = vacuity.Evidence(Reading(cell.history), Facts())
    damage = evidence.reading.damages[0]
    assert [call.turn[-2:] for call in evidence.in_flight(damage)] == ["t1", "t2"]
    assert [call.turn[-2:] for call in evidence.in_flight(damage, row + 2)] == ["t1", "t2"], "t3 begins just there"
    assert [call.turn[-2:] for call in evidence.in_flight(damage, row + 3)] == ["t2", "t3"], "t1 ends just there"
    assert [call.turn[-2:] for call in evidence.in_flight(damage, len(cell.rows))] == ["t2", "t3"]
    assert ("V3", (row,)) in _gaps(vacuity.touched, cell)


def test_a_window_that_was_never_installed_hides_no_other() -> None:
    cell = _cell((5.0, lambda made: made.strike(1, effect="lingers")), effect="lingers")
    number = cell.invoke("fault", "faults", {"window": 3, "effect": "lingers"})
    cell.complete(number, OpType.INFO, {}, OPERATIONAL)
    rows = [op.index for op in cell.rows if op.f == "fault" and op.type is OpType.INVOKE]
    assert _gaps(vacuity.touched, cell) == [("V2", (rows[0],)), ("V2", (rows[1],))]
    assert _gaps(vacuity.installed, cell) == [("V1", (rows[1],)), ("V1", (rows[2],))], "not healed, not installed"
    cell.rows[1:] = [
        op for op in cell.rows[1:] if op.f != "fault" or op.type is OpType.INVOKE or op.value.get("window") != 0
    ]
    assert ("V1", (rows[0],)) in _gaps(vacuity.installed, cell)


@pytest.mark.parametrize(
    ("looks_s", "others", "told"),
    [
        ((2.0, 4.0), (), True),
        ((2.0,), (), False),
        ((1.5, 3.0), (), False),
        ((3.0, 4.5), (), False),
        ((2.0, 4.0), ((4.0, ["toxiproxy"]),), True),
        ((2.0, 4.0), ((4.0, ["postgres"]),), False),
        ((2.0, 4.0), ((4.5, ["postgres"]),), True),
    ],
)
def test_looks_past_the_proxy_that_fail_in_damage_to_the_proxy(
    looks_s: tuple[float, ...], others: tuple[tuple[float, list[Json]], ...], told: bool
) -> None:
    moments = [_at(at_s, "connections", {"error": "x"}, "sampler") for at_s in looks_s]
    for at_s, needs in others:
        moments.append((at_s, lambda made, needs=needs: made.strike(1, needs=needs)))
        moments.append((6.0, lambda made: made.heal(1)))
    cell = _cell(*moments, needs=["toxiproxy"])
    told_of = [rows for code, rows in _gaps(vacuity.unaffected, cell) if code == "V5"]
    assert ((_window_row(cell),) in told_of) is told


def _recreated(*moments: Moment, stop_s: float = 9.0, **value: Any) -> MadeCell:
    """An ordered re-creation from 2 s to 2.5 s; driving ends at ``stop_s``."""

    def order(cell: MadeCell) -> None:
        number = cell.invoke("recreate", "g0", {"ordered": True, **value})
        cell.now_s = 2.5
        cell.complete(number)

    cell = MadeCell()
    acts: list[Moment] = [*moments, (2.0, order), (stop_s, lambda made: made.phase("converged"))]
    for at_s, act in sorted(acts, key=lambda moment: moment[0]):
        cell.now_s = max(cell.now_s, at_s)
        act(cell)
    return cell


def _sampled(at_s: float, **pids: list[int]) -> Moment:
    return (at_s, lambda made: made.sample(**pids))


@pytest.mark.parametrize(
    ("moments", "stop_s", "told"),
    [
        ([_sampled(1.0, g0=[1, 2]), _sampled(5.0, g0=[1, 2, 3])], 9.0, True),
        ([_sampled(1.0, g0=[1, 2]), _sampled(5.0, g0=[1])], 9.0, False),
        ([_sampled(1.0, g0=[1, 2]), _sampled(5.0, g1=[1, 2])], 9.0, False),
        ([_sampled(1.0, g1=[1, 2]), _sampled(5.0, g0=[1, 2])], 9.0, False),
        ([_sampled(5.0, g0=[1, 2])], 9.0, False),
        ([_sampled(1.0, g0=[1, 2])], 9.0, True),
        ([_sampled(1.0, g0=[1, 2]), _sampled(5.0, g0=[1, 2])], 5.5, True),
        ([_sampled(1.0, g0=[1, 2]), _sampled(5.0, g0=[1, 2])], 5.25, False),
    ],
)
def test_a_re_creation_must_replace_a_backend(moments: list[Moment], stop_s: float, told: bool) -> None:
    cell = _recreated(*moments, stop_s=stop_s)
    rows = tuple(op.index for op in cell.rows if op.f == "recreate")
    assert _gaps(vacuity.renewed, cell) == ([("V6", rows)] if told else [])


def _counted(at_s: float, count: Any, process: str = "g0") -> Moment:
    return _at(at_s, "stats", {"connections_num": count}, process)


@pytest.mark.parametrize(
    ("moments", "told"),
    [
        ([_counted(2.0, 4), _counted(7.5, 4)], True),
        ([_counted(2.0, 4), _counted(7.5, 5)], False),
        ([_counted(2.0, 4), _counted(7.75, 4)], False),
        ([_counted(1.0, 3), _counted(2.0, 4), _counted(5.0, 4)], True),
        ([_counted(1.0, 4), _counted(2.0, 3), _counted(5.0, 4)], False),
        ([_counted(2.0, 4), _counted(3.0, 5), _counted(5.0, 4)], True),
        ([_counted(2.0, 0), _counted(5.0, 0)], True),
        ([_counted(2.0, "x"), _counted(5.0, "x")], False),
        ([_counted(2.0, -1), _counted(5.0, -1)], False),
        ([_counted(5.0, 4)], False),
        ([_counted(2.0, 4)], False),
        ([_counted(2.0, 4, "g1"), _counted(5.0, 4, "g1")], False),
        ([_counted(2.0, 4), _counted(5.0, 4), _at(2.0, "pool", {"event": "open"})], False),
        ([_counted(2.0, 4), _counted(5.0, 4), _at(7.5, "pool", {"event": "open"})], False),
        ([_counted(2.0, 4), _counted(5.0, 4), _at(7.75, "pool", {"event": "open"})], True),
        ([_counted(2.0, 4), _counted(5.0, 4), _at(1.5, "pool", {"event": "open"})], True),
        ([_counted(2.0, 4), _counted(5.0, 4), _at(5.0, "pool", {"event": "close"})], True),
        ([_counted(2.0, 4), _counted(5.0, 4), _at(5.0, "pool", {"event": "open"}, "g1")], True),
    ],
)
def test_behind_a_pooler_the_strategy_s_numbers_must_move(moments: list[Moment], told: bool) -> None:
    cell = _recreated(*moments, behind_pooler=True)
    assert bool(_gaps(vacuity.renewed, cell)) is told


def test_a_re_creation_that_was_not_ordered_or_failed_or_came_too_late_ends_no_looking() -> None:
    cell = MadeCell()
    cell.sample(g0=[1])
    cell.complete(cell.invoke("recreate", "g0", {}))
    cell.complete(cell.invoke("recreate", "g0", {"ordered": True}), OpType.INFO, {}, OPERATIONAL)
    cell.now_s = 1.0
    rows = (len(cell.rows), len(cell.rows) + 1)
    cell.complete(cell.invoke("recreate", "g0", {"ordered": True}))
    cell.now_s = 9.0
    cell.complete(cell.invoke("recreate", "g0", {"ordered": True}))
    cell.phase("converged")
    assert _gaps(vacuity.renewed, cell) == [("V6", rows)]


def _gate(cell: MadeCell, **value: Json) -> int:
    return cell.point("gate", "runner", {"kinds": {"turn": 1}, "agents": [AGENT], **value}).index


@pytest.mark.parametrize("kinds", [{}, None, "turn", ["turn"]])
def test_a_gate_that_names_no_kind_proves_nothing(kinds: Any) -> None:
    cell = MadeCell()
    _gate(cell, kinds=kinds)
    assert _gaps(vacuity.answered, cell) == [("V7", ())]


def test_a_kind_that_never_succeeded_and_a_usable_window_without_an_answer_carry_their_rows() -> None:
    cell = MadeCell()
    gate = _gate(cell, kinds={"turn": 1, "fork": 0, "sing": 1})
    cell.now_s = 2.0
    window = len(cell.rows)
    cell.strike(usable=True, needs_in_flight=1)
    cell.call("turn", "t1", status="info")
    cell.heal()
    cell.now_s += 1.0
    cell.call("turn", "t1", attempt=2)
    assert _gaps(vacuity.answered, cell) == [("V7", (gate,)), ("V7", (window,))]


def test_a_call_that_begins_with_the_heal_comes_after_it() -> None:
    for began_s, gaps in ((4.0, []), (3.5, [("V7", ())])):
        cell = MadeCell()
        _gate(cell)
        cell.now_s = 2.0
        cell.strike()
        cell.now_s = began_s
        call = cell.begin("turn", "t1") if began_s < 4.0 else None
        cell.now_s = 4.0
        cell.heal()
        call = cell.begin("turn", "t1") if call is None else call
        cell.complete(call)
        assert _gaps(vacuity.answered, cell) == gaps


@pytest.mark.parametrize(("unknown", "told"), [(2, False), (3, True)])
def test_half_of_the_turns_may_be_left_unknown(unknown: int, told: bool) -> None:
    cell = MadeCell()
    rows = []
    for number in range(4):
        rows.append(len(cell.rows))
        call = cell.begin("turn", f"t{number}")
        cell.save("aput", parent=call)
        cell.complete(call, OpType.INFO if number < unknown else OpType.OK)
    assert _gaps(vacuity.known, cell) == ([("V8", tuple(rows[:unknown]))] if told else [])


def test_a_turn_that_was_acknowledged_in_the_end_or_never_saved_is_known() -> None:
    cell = MadeCell()
    for turn, saved in (("t1", True), ("t1", False), ("t2", False)):
        call = cell.begin("turn", turn)
        if saved:
            cell.save("aput", parent=call)
        cell.complete(call, OpType.INFO if saved or turn == "t2" else OpType.OK)
    assert _gaps(vacuity.known, cell) == []


def test_unread_threads_are_named() -> None:
    cell = MadeCell()
    cell.call("turn", "t1")
    evidence = vacuity.Evidence(Reading(cell.history), Facts())
    (gap,) = vacuity.read_back(evidence)
    assert f"1 of 1 threads were not read back by both readers ({AGENT}.u0.0)" in gap.text
    evidence = vacuity.Evidence(Reading(cell.history), Facts(problems=("it was late",)))
    (gap,) = vacuity.read_back(evidence)
    assert f"({AGENT}.u0.0: it was late)" in gap.text


def test_agents_that_did_not_take_part_carry_the_gate_s_row() -> None:
    cell = MadeCell()
    cell.point("log", "x", {})
    gate = _gate(cell, agents=[])
    assert _gaps(vacuity.took_part, cell) == [("V10", (gate,))]
    cell = MadeCell()
    cell.point("log", "x", {})
    gate = _gate(cell, agents=[AGENT, "Other"])
    cell.call("turn", "t1")
    assert _gaps(vacuity.took_part, cell) == [("V10", (gate,))]


def test_connections_past_the_proxy_carry_the_rows_that_saw_them() -> None:
    cell = MadeCell()
    _gate(cell, route=True)
    cell.call("turn", "t1", group="g0")
    cell.point("route", "sampler", {"through": ["g0"], "past": []})
    seen = [cell.point("route", "sampler", {"through": ["g0"], "past": [name]}).index for name in ("a:1", "b:2")]
    assert _gaps(vacuity.through_the_proxy, cell) == [("V11", tuple(seen))]
    cell.call("turn", "t2", group="g1", thread="team/x.u3.0")
    assert _gaps(vacuity.through_the_proxy, cell) == [("V11", tuple(seen)), ("V11", ())]


@pytest.mark.parametrize(
    ("start_s", "stop_s", "ended_s", "told"),
    [
        (1.0, 3.0, 4.0, False),
        (1.0, 3.0, 4.5, False),
        (1.0, 3.0, 4.75, True),
        (1.0, 3.0, 3.5, False),
        (1.0, 3.0, 3.25, True),
        (0.0, 10.0, 13.0, False),
        (0.0, 10.0, 13.25, True),
        (0.0, 0.5, 3.25, True),
        (3.0, 3.0, 9.0, False),
    ],
)
def test_a_window_may_miss_its_length_a_little(start_s: float, stop_s: float, ended_s: float, told: bool) -> None:
    cell = MadeCell()
    cell.now_s = 2.0
    cell.strike(start_s=start_s, stop_s=stop_s)
    cell.now_s = ended_s
    cell.heal()
    assert _gaps(vacuity.on_time, cell) == ([("V14", (0,))] if told else [])


def test_a_window_whose_heal_names_no_window_is_not_judged_by_another_s() -> None:
    cell = MadeCell()
    cell.now_s = 2.0
    cell.strike(start_s=0.0, stop_s=2.0)
    cell.now_s = 9.0
    cell.complete(cell.invoke("heal", "faults", {}))
    assert _gaps(vacuity.on_time, cell) == []


def test_what_took_long_to_install_may_last_as_long() -> None:
    cell = MadeCell()
    cell.now_s = 2.0
    order = cell.invoke("fault", "faults", {"window": 0, "start_s": 0.0, "stop_s": 1.0})
    cell.now_s = 6.0
    cell.complete(order, OpType.OK, {"window": 0})
    cell.heal()
    assert _gaps(vacuity.on_time, cell) == []


@pytest.mark.parametrize(("stood_s", "ended_s", "told"), [(0.5, 4.0, False), (0.75, 4.0, True), (1.0, 12.0, False)])
def test_the_machine_may_stand_still_a_little(stood_s: float, ended_s: float, told: bool) -> None:
    cell = MadeCell()
    cell.now_s = 2.0
    cell.strike()
    cell.now_s = 3.5
    cell.point("stall", "watchdog", {"seconds": stood_s, "host": True})
    cell.now_s = ended_s
    cell.heal()
    assert _gaps(vacuity.on_time, cell) == ([("V14", (0,))] if told else [])


def test_what_could_not_be_judged_is_said() -> None:
    cell = MadeCell()
    _gate(cell, route=True)
    cell.strike(start_s=0.0, stop_s=1.0)
    evidence = vacuity.Evidence(Reading(cell.history), Facts())
    assert vacuity.unjudged(evidence) == []
    cell = MadeCell()
    _gate(cell)
    cell.strike()
    evidence = vacuity.Evidence(Reading(cell.history), Facts())
    assert [words[:3] for words in vacuity.unjudged(evidence)] == ["V11", "V14"]


def test_every_effect_has_its_proof() -> None:
    assert set(effects._EFFECTS) == set(Effect)
