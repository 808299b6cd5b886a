"""Measures of waste and the parts of a recovery, of made histories whose answers are known."""

from __future__ import annotations

from typing import Any

import pytest

from harness.checkers.measures import measure
from harness.checkers.reading import Reading, read
from harness.checkers.recovery_parts import recovery_parts
from harness.checkers.waste import waste
from harness.core.facts import Facts
from harness.core.history import ErrorInfo, OpType
from harness.core.scenario import Bounds
from harness.core.verdict import Json
from tests.checkers.made_histories import OPERATIONAL, THREAD, TIMEOUT, MadeCell

POOL_TIMEOUT = ErrorInfo("PoolTimeout", "no connection after 6 s", ("PoolTimeout", *OPERATIONAL.classes))


def reading_of(cell: MadeCell) -> Reading:
    return read(cell.history)


def begin_save(cell: MadeCell, parent: int | None, f: str = "aput", *, group: str = "g0") -> int:
    agent = THREAD.split(".")[0]
    return cell.invoke(f, f"{group}/{agent}", {"thread": THREAD, "parent": parent, "turn": f"{THREAD}/t1"})


# -- waste ------------------------------------------------------------------------------------------------------------


def test_a_calm_cell_wastes_nothing() -> None:
    cell = MadeCell()
    cell.phase("gate")
    call = cell.begin()
    attempt = cell.invoke("attempt", "u0", {"parent": call, "n": 1, "step": "send"})
    cell.save(parent=call)
    cell.save("aput_writes", parent=call)
    cell.complete(attempt)
    cell.complete(call)
    assert waste(reading_of(cell)) == {
        "turns_in_doubt": 0,
        "turns_left_in_doubt": 0,
        "wasted_nodes": 0,
        "peak_saves_backlog": 1,
        "peak_saves_left_behind": 0,
        "peak_connections_swap": None,
    }


def test_turns_are_in_doubt_once_and_until_they_are_answered() -> None:
    cell = MadeCell()
    for status in ("info", "refused", "info"):
        cell.call(turn="t1", status=status)
    cell.call(turn="t1")
    cell.call(turn="t2", status="refused")
    cell.call(turn="t3", status="fail")
    cell.call("restore", turn="r1", status="info")
    cell.begin(turn="t4")
    found = waste(reading_of(cell))
    assert (found["turns_in_doubt"], found["turns_left_in_doubt"]) == (3, 2)


def test_the_backlog_counts_each_replica_and_what_a_call_left_behind() -> None:
    cell = MadeCell()
    call = cell.begin()
    mine = [begin_save(cell, call, f) for f in ("aput", "aput_writes", "aput")]
    other = begin_save(cell, None, group="g1")
    cell.complete(call, OpType.INFO, error=TIMEOUT)
    late = begin_save(cell, call)  # begun behind the end of its call
    cell.complete(mine[0])
    for number in (mine[1], other, late):
        cell.complete(number)
    found = waste(reading_of(cell))  # mine[2] never ends
    assert (found["peak_saves_backlog"], found["peak_saves_left_behind"]) == (4, 4)


def test_the_peak_during_a_swap_is_of_the_group_that_swaps() -> None:
    cell = MadeCell()
    cell.point("pool", "g0", {"event": "open", "pool": "g0-1", "generation": 1, "by": []})
    cell.point("pool", "g0", {"event": "open", "pool": "g0-2", "generation": 2, "by": []})  # still the beginning
    cell.now_s = 1.0
    cell.phase("gate")
    cell.sample(g0=[1, 2], g1=[11, 12, 13, 14, 15, 16, 17])
    cell.now_s = 2.0
    cell.point("pool", "g0", {"event": "open", "pool": "g0-3", "generation": 3, "by": []})
    cell.now_s = 2.1
    cell.sample(g0=[1, 2, 3, 4, 5], g1=[11])
    cell.now_s = 2.5
    cell.point("pool", "g0", {"event": "close", "pool": "g0-1", "generation": 1, "by": []})
    cell.now_s = 3.0
    cell.sample(g0=[1, 2, 3, 4, 5, 6, 7, 8], g1=[11])
    cell.phase("end")
    assert waste(reading_of(cell))["peak_connections_swap"] == 5


def test_an_ordered_re_creation_is_a_swap_as_well() -> None:
    cell = MadeCell()
    cell.phase("gate")
    cell.sample(g0=[1, 2, 3], g1=[])
    cell.now_s = 1.0
    order = cell.invoke("recreate", "g0", {"ordered": True})
    cell.now_s = 1.5
    cell.complete(order)
    cell.now_s = 2.0
    cell.sample(g0=[4, 5, 6, 7])
    assert waste(reading_of(cell))["peak_connections_swap"] == 3


# -- the parts of a recovery ------------------------------------------------------------------------------------------


def _healed() -> MadeCell:
    """Damage from 1 to 4 s, backends 1 and 2 from before it, one group that called."""
    cell = MadeCell()
    cell.phase("gate")
    cell.sample(g0=[1, 2])
    cell.call(turn="t1")
    cell.save()
    cell.now_s = 1.0
    cell.strike()
    cell.now_s = 4.0
    cell.heal()
    return cell


def at(cell: MadeCell, time_s: float) -> MadeCell:
    cell.now_s = time_s
    return cell


def parts(cell: MadeCell) -> dict[str, Any]:
    return recovery_parts(reading_of(cell))


def test_each_part_ends_where_its_evidence_stands() -> None:
    cell = _healed()
    at(cell, 4.2).save("aget_tuple", took_s=0.1, error=OPERATIONAL)  # told at 4.3
    at(cell, 4.5).save("aget_tuple", took_s=0.3, error=TIMEOUT)  # dead until 4.8
    at(cell, 4.9).save("aget_tuple", took_s=0.3, error=POOL_TIMEOUT)  # who waits in vain says nothing of connections
    at(cell, 5.6).sample(g0=[2, 3])
    at(cell, 5.7).save(took_s=0.2)
    assert parts(cell) == {
        "recovery_first_save_s": pytest.approx(1.9),
        "recovery_detection_s": pytest.approx(0.3),
        "recovery_stale_s": pytest.approx(0.5),
        "recovery_backoff_s": pytest.approx(0.8),
        "recovery_saving_s": pytest.approx(0.3),
    }


def test_a_connection_that_survived_needs_no_new_one() -> None:
    cell = _healed()
    at(cell, 4.1).sample(g0=[1, 2])
    at(cell, 4.5).save(took_s=0.25)
    assert parts(cell) == {
        "recovery_first_save_s": pytest.approx(0.75),
        "recovery_detection_s": pytest.approx(0.5),
        "recovery_stale_s": 0,
        "recovery_backoff_s": 0,
        "recovery_saving_s": pytest.approx(0.25),
    }


@pytest.mark.parametrize("f", ["ensure_healthy", "recreate"])
def test_a_health_check_or_a_re_creation_detects(f: str) -> None:
    cell = _healed()
    at(cell, 4.25)
    cell.complete(cell.invoke(f, "g0", {}), OpType.INFO, error=OPERATIONAL)
    at(cell, 6.0).save(took_s=0.5)
    found = parts(cell)
    assert (found["recovery_detection_s"], found["recovery_saving_s"]) == (pytest.approx(0.25), pytest.approx(2.25))


def test_a_save_under_way_at_the_heal_may_be_the_first_to_succeed() -> None:
    cell = at(_healed(), 3.9)
    cell.rows, healed = cell.rows[:-2], cell.rows[-2:]
    save = begin_save(cell, None)
    cell.now_s = 4.0
    for op in healed:
        cell.row(op.type, op.f, op.process, op.value, op.call)
    cell.now_s = 4.4
    cell.complete(save)
    assert parts(cell)["recovery_first_save_s"] == pytest.approx(0.4)


def test_the_slowest_group_counts_and_one_that_never_saves_leaves_nothing_to_say() -> None:
    cell = _healed()
    cell.call(turn="t2", thread="TrialAnalysisAgent.u1.0", group="g1")
    at(cell, 4.5).save(took_s=0.1)
    assert parts(cell) == {}
    at(cell, 5.0).save(group="g1", took_s=0.1)
    assert parts(cell)["recovery_first_save_s"] == pytest.approx(1.1)


def test_all_of_them_stand_among_the_measures_and_odd_rows_do_no_harm() -> None:
    cell = _healed()
    at(cell, 4.5).save(took_s=0.1)
    odd: dict[str, Json] = {"event": 3, "generation": "two"}
    cell.point("pool", "g0", odd)
    cell.invoke("attempt", "u0", {"parent": "one"})
    cell.point("connections", "sampler", {"backends": "none"})
    found = measure(cell.history, Facts(), Bounds())
    assert found["recovery_first_save_s"] == pytest.approx(0.6)
    assert found["peak_saves_backlog"] == 1
    assert "peak_connections_swap" not in found


def test_without_damage_there_is_nothing_to_recover_from() -> None:
    cell = MadeCell()
    cell.save()
    assert parts(cell) == {}
