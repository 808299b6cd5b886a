"""Rows 5 to 8: a slot, a cell, or Toxiproxy is killed or frozen in the middle of a cell. The next cell runs."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from harness.core.verdict import Guarantee, Verdict
from harness.slot import Slot
from harness.store import FIRST, open_cell, read_result
from tests.fire.cells import assert_component_failed, begin, result_of, run_cell, wait_for_row
from tests.fire.ground import PLUGINS, assert_nothing_left, cell_of, fire, server_of, trace_of

pytestmark = [pytest.mark.slow, pytest.mark.proof]

#: A strategy whose calls end by their deadline when the database is gone: one that hangs then is to blame for that.
SOUND = "self_healing"
#: How long a cell is frozen: longer than any deadline of its calls.
FROZEN_S = 10.0
#: What a machine that stood still must not be blamed on.
OF_TIME = {Guarantee.AVAILABLE, Guarantee.NO_HANG, Guarantee.RECOVERS, Guarantee.DECLARED_ERRORS}


def test_row_05_a_killed_slot_takes_its_servers_along_and_the_next_cell_runs(tmp_path: Path) -> None:
    selection = (f"{PLUGINS}:SLOW_LINK", f"{PLUGINS}:STILL", "--strategy", f"{PLUGINS}:PlainPool", "--jobs", "1")
    with fire(tmp_path, *selection) as run:
        run.under_load()
        (slot,) = run.slots()
        trace = trace_of(slot)
        os.kill(slot, signal.SIGKILL)
        assert_nothing_left(trace, folders=False)
        assert run.wait(90) == 4
        verdicts = {cell.scenario.rpartition(":")[2]: cell for cell in run.cells()}
        assert verdicts["SLOW_LINK"].verdict is Verdict.ERROR
        assert "status -9" in verdicts["SLOW_LINK"].reason
        assert verdicts["STILL"].verdict is Verdict.PASS, verdicts["STILL"].reason
        assert_nothing_left(trace)
        run.summary()


def test_row_06_a_frozen_cell_is_no_anomaly(slot: Slot, tmp_path: Path) -> None:
    begin(slot, tmp_path / "cell", "BRISK")
    wait_for_row(slot, tmp_path / "cell", "turn", "ok")
    cell = cell_of(slot.pid)
    os.kill(cell, signal.SIGSTOP)
    time.sleep(FROZEN_S)
    os.kill(cell, signal.SIGCONT)
    result = result_of(slot)
    _, history, _ = open_cell(tmp_path / "cell")
    stood_s = sum(float(str(op.value["seconds"])) for op in history.points("stall") if op.value["host"])
    assert stood_s > FROZEN_S - 1
    assert [f.summary for f in result.findings if f.verdict in (Verdict.FAIL, Verdict.SLOW)] == []
    assert result.verdict in (Verdict.INVALID, Verdict.PASS), result.reason
    undecided = {f.guarantee for f in result.findings if f.verdict is Verdict.INVALID}
    assert undecided & OF_TIME, "calls were in flight for ten seconds: their time decides nothing"


def test_row_06_a_cell_that_was_frozen_runs_once_more_and_its_first_attempt_is_kept(tmp_path: Path) -> None:
    strategies = ("--strategy", SOUND, "--strategy", f"{PLUGINS}:PlainPool")
    with fire(tmp_path, f"{PLUGINS}:BRISK", *strategies, "--jobs", "1") as run:
        run.under_load()
        (slot,) = run.slots()
        cell = cell_of(slot)
        os.kill(cell, signal.SIGSTOP)
        time.sleep(FROZEN_S)
        os.kill(cell, signal.SIGCONT)
        assert run.wait(120) == 0, run.said()
        brisk = next(cell for cell in run.cells() if cell.strategy == SOUND)
        notes = run.record().notes
        first = read_result(run.out / brisk.folder / FIRST)
        summary = run.summary()
    assert brisk.verdict is Verdict.PASS, brisk.reason
    assert (first.id, first.verdict) == (brisk.id, Verdict.INVALID)
    assert summary["planned"] == len(run.cells())
    (note,) = [note for note in notes if note.startswith("again")]
    assert brisk.id in note
    assert first.reason in note
    assert f"{brisk.folder}/{FIRST}" in note
    assert "proved nothing" in run.said()


def test_row_07_toxiproxy_dies_and_the_next_cell_has_a_new_stack(slot: Slot, tmp_path: Path) -> None:
    begin(slot, tmp_path / "hit", "SLOW_LINK", SOUND)
    wait_for_row(slot, tmp_path / "hit", "fault", "ok")
    os.kill(server_of(slot.pid, "toxiproxy"), signal.SIGKILL)
    assert_component_failed(result_of(slot), "Toxiproxy")
    assert open_cell(tmp_path / "hit")[1].phase("end") is not None
    assert run_cell(slot, tmp_path / "next", "STILL").verdict is Verdict.PASS


def test_row_08_a_frozen_toxiproxy_costs_bounded_calls_and_its_stack(slot: Slot, tmp_path: Path) -> None:
    begin(slot, tmp_path / "hit", "SLOW_LINK", SOUND)
    wait_for_row(slot, tmp_path / "hit", "fault", "ok")
    frozen = server_of(slot.pid, "toxiproxy")
    os.kill(frozen, signal.SIGSTOP)
    assert_component_failed(result_of(slot), "Toxiproxy")
    assert run_cell(slot, tmp_path / "next", "STILL").verdict is Verdict.PASS
    assert server_of(slot.pid, "toxiproxy") != frozen
