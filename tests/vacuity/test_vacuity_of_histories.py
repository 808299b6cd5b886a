"""V1 to V11, V13 and V14 on histories made by hand: one change makes the cell vacuous, and it is INVALID, exit 3."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from harness.core.facts import Facts
from harness.core.history import OpType
from harness.core.vacuity import Vacuity
from harness.core.verdict import Verdict
from tests.checkers.made_histories import AGENT, OPERATIONAL, MadeCell
from tests.vacuity.sound_cell import lost_facts, run_of, sound, vacuous, verdict_of, without


def test_the_sound_cell_proves_something() -> None:
    result = verdict_of(sound())
    assert result.verdict is Verdict.PASS, result.reason
    assert run_of(result).exit == 0


def test_a_torn_history_proves_nothing() -> None:
    result = verdict_of(sound(), torn=True)
    assert result.verdict is Verdict.INVALID
    assert "its writer died" in result.reason


def test_v01_a_fault_that_was_never_installed() -> None:
    cell = without(sound(), lambda op: op.f == "fault" and op.type is OpType.OK)
    vacuous(Vacuity.V1, cell, "was never installed")


def test_v01_a_fault_that_was_never_removed() -> None:
    cell = without(sound(), lambda op: op.f == "heal" and op.type is OpType.OK)
    cell.rows = [op for op in cell.rows if op.time_s <= 6.0 or op.f == "phase"]
    result = verdict_of(cell)
    assert result.verdict is Verdict.INVALID
    assert "was never healed" in result.reason


def test_v01_a_fault_that_reads_nothing_back() -> None:
    cell = sound()
    for op in cell.rows:
        op.value.pop("change", None)
    vacuous(Vacuity.V1, cell, "read nothing back")


def test_v02_a_window_in_which_nobody_used_the_database() -> None:
    """The calls in flight run nodes, and load and save nothing: they cannot feel it."""
    cell = sound(lambda cell: None)
    cell.now_s += 1.0
    cell.save("aput")  # afterwards somebody does
    result = verdict_of(cell)
    assert result.verdict is Verdict.INVALID
    assert "V2" in result.reason
    assert "met no traffic" in result.reason


@pytest.mark.parametrize(
    ("effect", "words"), [("renews", "every backend from before it was still there"), ("lingers", "half closed")]
)
def test_v02_a_fault_that_touched_no_connection(effect: str, words: str) -> None:
    cell = without(sound(effect=effect), lambda op: op.f == "connections" and op.time_s > 5)
    cell.sample(g0=[1, 2], g1=[3, 4])
    vacuous(Vacuity.V2, cell, words)


def test_v03_a_fault_that_began_while_too_few_called() -> None:
    vacuous(Vacuity.V3, sound(needs_in_flight=4, in_flight=9), "began with 3 calls in flight, 4 are due")


def test_v03_a_recreation_ordered_while_nobody_waited() -> None:
    def order(cell: MadeCell) -> None:
        cell.save("aput")
        cell.call("turn", "t7", thread=f"{AGENT}.u7.0")
        value = {"ordered": True, "in_flight": 3, "waiters": 0, "saver_waiters": 0}
        cell.complete(cell.invoke("recreate", "g0", {**value}))

    vacuous(Vacuity.V3, sound(order, effect="recreates", usable=True), "at a harmless moment")


def _unfelt(inside: Callable[[MadeCell], object]) -> MadeCell:
    cell = sound(inside, stop_s=0.2)
    cell.rows = [
        dataclasses.replace(op, type=OpType.OK, error=None, value={"turns": [], "text": "", "waiting": []})
        if op.f == "turn" and op.type is OpType.INFO
        else op
        for op in cell.rows
    ]
    return cell


def test_v04_a_fault_that_nobody_felt() -> None:
    cell = _unfelt(lambda cell: cell.save("aput"))
    vacuous(Vacuity.V4, cell, "disturbed nobody")
    assert not verdict_of(cell).starved


@pytest.mark.parametrize(("seconds", "starved"), [(2.9, True), (0.1, False)])
def test_v04_a_gate_in_which_the_machine_stood_still_says_not_what_is_usual(seconds: float, starved: bool) -> None:
    def inside(cell: MadeCell) -> None:
        cell.point("stall", "watchdog", {"seconds": seconds, "host": True, "starved": True})
        cell.save("aput")

    cell = _unfelt(inside)
    vacuous(Vacuity.V4, cell, "disturbed nobody")
    assert verdict_of(cell).starved is starved


def test_v04_a_delay_that_is_shorter_than_ordered() -> None:
    def slow(cell: MadeCell) -> None:
        cell.save("aput", took_s=0.1)
        cell.call("turn", "t7", thread=f"{AGENT}.u7.0")

    vacuous(Vacuity.V4, sound(slow, effect="delays", delay_ms=200.0, usable=True), "at least 160 ms are due")


def _blind(looks: int) -> Callable[[MadeCell], object]:
    def inside(cell: MadeCell) -> None:
        cell.save("aput", error=OPERATIONAL)
        for _ in range(looks):
            cell.point("connections", "sampler", {"error": "ComponentError: Postgres does not tell its backends"})

    return inside


def test_v05_damage_to_the_proxy_that_hit_the_database_as_well() -> None:
    vacuous(Vacuity.V5, sound(_blind(2)), "2 looks past the proxy failed as well")
    assert verdict_of(sound(_blind(1))).verdict is Verdict.PASS, "one look may fail on a busy machine"


def test_v05_damage_to_the_server_itself_may_blind_the_look_at_it() -> None:
    vacuous(Vacuity.V5, sound(_blind(2), needs=["toxiproxy", "protocol"]), "was aimed at the proxy")
    assert verdict_of(sound(_blind(2), needs=["server_process"])).verdict is Verdict.PASS
    assert verdict_of(sound(_blind(2), needs=["protocol", "server_process"])).verdict is Verdict.PASS
    cell = sound(_blind(2))
    del next(op for op in cell.rows if op.f == "fault").value["needs"]
    assert verdict_of(cell).verdict is Verdict.PASS, "an old history does not say what was damaged"


def test_v05_looks_that_fail_outside_the_window() -> None:
    cell = sound()
    cell.now_s += 1.0
    _blind(3)(cell)
    assert verdict_of(cell).verdict is Verdict.PASS


def test_v06_a_recreation_that_renewed_nothing() -> None:
    cell = _recreated(pids=[1, 2])
    vacuous(Vacuity.V6, cell, "all its 2 backends stayed")
    assert verdict_of(_recreated(pids=[2, 9])).verdict is Verdict.PASS
    vacuous(Vacuity.V6, _recreated(pids=[1, 2], until_s=6.5), "all its 2 backends stayed")
    assert verdict_of(_recreated(pids=[1, 2], until_s=5.9)).verdict is Verdict.PASS, "the grace was not over"


def test_v06_a_group_that_held_nothing_had_nothing_to_renew() -> None:
    cell = _recreated(pids=[])
    next(op for op in cell.rows if op.f == "connections").value["backends"] = {"g0": [], "g1": [3, 4]}
    cell.sample(g0=[1], g1=[3, 4])
    assert verdict_of(cell).verdict is Verdict.PASS


@pytest.mark.parametrize(("made", "verdict"), [(4, Verdict.INVALID), (8, Verdict.PASS)])
def test_v06_a_recreation_behind_a_pooler(made: int, verdict: Verdict) -> None:
    """The backends are the pooler's; the strategy's own numbers tell."""
    cell = _recreated(pids=[1, 2], behind_pooler=True, made=made)
    assert verdict_of(cell).verdict is verdict
    if verdict is Verdict.INVALID:
        vacuous(Vacuity.V6, cell, "its pool had made 4 connections before it")


@pytest.mark.parametrize(("group", "verdict"), [("g0", Verdict.PASS), ("g1", Verdict.INVALID)])
def test_v06_a_pool_opened_behind_a_pooler(group: str, verdict: Verdict) -> None:
    cell = _recreated(pids=[1, 2], behind_pooler=True, opened=group)
    assert verdict_of(cell).verdict is verdict


def _recreated(
    *, pids: list[int], behind_pooler: bool = False, made: int = 4, opened: str = "", until_s: float = 9.0
) -> MadeCell:
    cell = MadeCell()
    cell.gate()
    cell.point("stats", "g0", {"connections_num": 4})
    cell.now_s = 3.0
    order = {"ordered": True, "in_flight": 3, "waiters": 1, "saver_waiters": 0, "behind_pooler": behind_pooler}
    cell.complete(cell.invoke("recreate", "g0", {**order}))
    if opened:
        cell.point("pool", opened, {"event": "open", "pool": f"{opened}-2", "generation": 2})
    cell.now_s = 5.5
    cell.sample(g0=pids, g1=[3, 4])
    cell.point("stats", "g0", {"connections_num": made})
    cell.now_s = until_s - 0.1  # everybody takes a tenth of a second
    cell.everybody(round_=2)
    cell.end()
    return cell


def test_v07_a_kind_of_call_that_never_succeeded() -> None:
    cell = sound()
    cell.call("fork", "f1", status="info", error=OPERATIONAL)
    vacuous(Vacuity.V7, cell, "no fork ever succeeded")


def test_v07_a_kind_that_the_gate_tried_in_vain() -> None:
    cell = sound()
    next(op for op in cell.rows if op.f == "gate").value["kinds"] = {"turn": 2, "delete": 0}
    vacuous(Vacuity.V7, cell, "no delete ever succeeded")


def test_v07_nobody_was_answered_under_damage_that_leaves_the_database_usable() -> None:
    vacuous(Vacuity.V7, sound(usable=True), "nobody who met window 0")


def test_v07_an_answer_between_two_windows_belongs_to_neither() -> None:
    cell = MadeCell()
    cell.gate()
    for number in (0, 1):
        cell.now_s = 3.0 + 4 * number
        waiting = [cell.begin("turn", f"t{n}", thread=f"{AGENT}.u{n}.{number + 1}") for n in range(3)]
        cell.strike(number, needs_in_flight=3, usable=True)
        cell.save("aput", error=OPERATIONAL)
        cell.now_s += 1.0
        for call in waiting:
            cell.complete(call, OpType.INFO, error=OPERATIONAL)
        cell.heal(number)
        cell.now_s += 1.0
        cell.everybody(round_=2 + number)
    cell.end()
    vacuous(Vacuity.V7, cell, "nobody who met window 0")
    quotes = verdict_of(cell).findings[-1].details["quotes"]
    assert "nobody who met window 1" in str(quotes)


@pytest.mark.parametrize(("other_usable", "verdict"), [(True, Verdict.INVALID), (False, Verdict.PASS)])
def test_v07_while_another_window_takes_the_database_away_nobody_need_be_answered(
    other_usable: bool, verdict: Verdict
) -> None:
    cell = sound(usable=True)
    began, heal = (next(op for op in cell.rows if op.f == f and op.type is OpType.INVOKE) for f in ("fault", "heal"))
    cell.now_s = began.time_s
    cell.strike(1, needs_in_flight=0, usable=other_usable, effect="renews")
    cell.now_s = heal.time_s
    cell.heal(1)
    cell.rows.sort(key=lambda op: op.time_s)
    result = verdict_of(cell)
    assert ("nobody who met window 0" in str(result.findings[-1])) is (verdict is Verdict.INVALID), result.reason


def test_v07_damage_that_strikes_at_rest_needs_nobody_to_be_answered() -> None:
    assert verdict_of(sound(usable=True, needs_in_flight=0)).verdict is Verdict.PASS


def test_v07_nobody_called_after_the_damage() -> None:
    cell = without(sound(), lambda op: op.f == "turn" and op.time_s > 6.1)
    vacuous(Vacuity.V7, cell, "no call began after the last window had ended")


@pytest.mark.parametrize("save", ["aput", "aput_writes"])
def test_v08_most_turns_have_an_unknown_fate(save: str) -> None:
    def unknown(cell: MadeCell) -> None:
        for n in range(8):
            call = cell.begin("turn", "t1", thread=f"{AGENT}.u{n}.9")
            cell.save(save, parent=call, thread=f"{AGENT}.u{n}.9", error=OPERATIONAL)
            cell.complete(call, OpType.INFO, error=OPERATIONAL)

    vacuous(Vacuity.V8, sound(unknown), "of 15 turns 8 were begun to be saved and never acknowledged")


def test_v08_a_turn_of_which_no_save_was_begun_is_no_riddle() -> None:
    def refused(cell: MadeCell) -> None:
        cell.save("aput", error=OPERATIONAL)
        for n in range(20):
            cell.call("turn", "t1", thread=f"{AGENT}.u{n}.9", status="info", error=OPERATIONAL)

    assert verdict_of(sound(refused)).verdict is Verdict.PASS


def test_v08_a_turn_that_was_repeated_until_it_was_acknowledged_is_no_riddle() -> None:
    def repeated(cell: MadeCell) -> None:
        for n in range(8):
            thread = f"{AGENT}.u{n}.9"
            call = cell.begin("turn", "t1", thread=thread)
            cell.save("aput", parent=call, thread=thread, error=OPERATIONAL)
            cell.complete(call, OpType.INFO, error=OPERATIONAL)
            cell.call("turn", "t1", thread=thread, attempt=2)

    assert verdict_of(sound(repeated)).verdict is Verdict.PASS


@pytest.mark.parametrize("reader", ["turns", "sql_turns"])
def test_v09_a_thread_that_one_reader_did_not_read(reader: str) -> None:
    cell = sound()
    facts = lost_facts(cell, f"{AGENT}.u1.0", **{reader: None})
    vacuous(Vacuity.V9, cell, "1 of 5 threads were not read back by both readers", facts)


def test_v09_no_final_reads_at_all() -> None:
    facts = Facts(complete=False, problems=("final reads: OSError: no route",), leftover_backends={"g0": 0, "g1": 0})
    vacuous(Vacuity.V9, sound(), "final reads: OSError: no route", facts)


def test_v10_an_agent_that_never_answered() -> None:
    cell = sound()
    gate = next(op for op in cell.rows if op.f == "gate")
    gate.value["agents"] = [AGENT, "Idler"]
    vacuous(Vacuity.V10, cell, "g0/Idler never answered")


def test_v10_a_group_that_never_answered() -> None:
    cell = without(sound(), lambda op: op.value.get("group") == "g1" and op.f == "turn")
    result = verdict_of(cell)
    assert result.verdict is Verdict.INVALID
    assert f"V10: g1/{AGENT} never answered" in str(result.findings[-1].details["quotes"])


def test_v11_a_connection_past_the_proxy() -> None:
    cell = sound()
    cell.point("route", "sampler", {"through": [], "past": ["backend 77 of my_app, client port 40312"]})
    vacuous(Vacuity.V11, cell, "did not come through the proxy (backend 77 of my_app, client port 40312)")


def test_v11_a_group_that_was_never_traced() -> None:
    cell = sound()
    next(op for op in cell.rows if op.f == "route").value["through"] = ["g0"]
    vacuous(Vacuity.V11, cell, "no connection of group g1")


def test_v11_is_said_to_be_unjudged_where_nothing_can_tell() -> None:
    cell = without(sound(), lambda op: op.f == "route")
    next(op for op in cell.rows if op.f == "gate").value["route"] = False
    result = verdict_of(cell)
    assert result.verdict is Verdict.PASS
    assert "V11" in str(result.findings[-1].details["unjudged"])


def test_v13_a_leak_detector_that_sees_nothing() -> None:
    cell = sound()
    for op in cell.rows:
        if op.f == "connections":
            op.value["backends"] = {"g0": [1], "g1": []}
    vacuous(Vacuity.V13, cell, "never saw a backend of group g1")


def test_v13_no_look_at_all() -> None:
    cell = without(sound(), lambda op: op.f == "connections")
    vacuous(Vacuity.V13, cell, "no sample of the backends was taken")


@pytest.mark.parametrize(("late_s", "verdict"), [(0.4, Verdict.PASS), (0.6, Verdict.INVALID)])
def test_v14_a_window_that_lasted_longer_than_planned(late_s: float, verdict: Verdict) -> None:
    cell = sound(lambda made: made.save("aput", took_s=3.0 + late_s, error=OPERATIONAL))
    assert verdict_of(cell).verdict is verdict
    if verdict is Verdict.INVALID:
        vacuous(Vacuity.V14, cell, "was planned for 3.00 s and lasted 3.60 s")


@pytest.mark.parametrize(("late_s", "verdict"), [(1.5, Verdict.PASS), (1.7, Verdict.INVALID)])
def test_v14_a_long_window_may_miss_a_tenth(late_s: float, verdict: Verdict) -> None:
    cell = sound(lambda made: made.save("aput", took_s=16.0 + late_s, error=OPERATIONAL), stop_s=16.0)
    assert verdict_of(cell).verdict is verdict


def test_v14_a_window_that_ended_early() -> None:
    cell = sound()
    next(op for op in cell.rows if op.f == "fault").value["stop_s"] = 4.0
    vacuous(Vacuity.V14, cell, "was planned for 4.00 s and lasted 3.00 s")


def test_v14_a_slow_order_is_not_the_clocks_fault() -> None:
    """A re-creation that takes its time is installed late, and its window ends at once."""
    cell = sound(lambda made: made.save("aput", took_s=5.0, error=OPERATIONAL))
    stood = next(op for op in cell.rows if op.f == "fault" and op.type is OpType.OK)
    cell.rows[stood.index] = dataclasses.replace(stood, time_s=8.0)
    assert verdict_of(cell).verdict is Verdict.PASS


@pytest.mark.parametrize(("stood_s", "verdict"), [(0.4, Verdict.PASS), (0.9, Verdict.INVALID)])
def test_v14_a_machine_that_stood_still(stood_s: float, verdict: Verdict) -> None:
    def stall(cell: MadeCell) -> None:
        cell.save("aput", error=OPERATIONAL)
        cell.now_s = 5.0
        cell.point("stall", "watchdog", {"seconds": stood_s, "host": True})

    cell = sound(stall)
    assert verdict_of(cell).verdict is verdict
    if verdict is Verdict.INVALID:
        vacuous(Vacuity.V14, cell, "the machine stood still for 0.90 s")
