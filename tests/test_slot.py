"""One slot on the real stack: cells in, judged results out, whatever the strategy does.

That nothing is left behind, whatever is done to it, is tested in tests/fire.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core.errors import ComponentError
from harness.core.record import CellResult
from harness.core.verdict import Guarantee, Verdict
from harness.slot import Slot, SlotBug
from harness.store import CellFolder, open_cell, read_history
from harness.verdicts import judge_folder
from tests.cells import begin_cell, run_cell
from tests.plugins.held_judge import HOLD

pytestmark = pytest.mark.slow
PLUGINS = Path(__file__).parent / "plugins" / "short.py"
HELD = Path(__file__).parent / "plugins" / "held_judge.py"
LIMIT_S = 60.0


def run(slot: Slot, folder: Path, strategy: str, scenario: str = "STILL") -> CellResult:
    """One short cell under a strategy of the plug-in file (or a name)."""
    return run_cell(slot, folder, scenario, strategy, plugins=PLUGINS)


def broken(result: CellResult) -> set[Guarantee]:
    return {finding.guarantee for finding in result.findings if finding.verdict is Verdict.FAIL}


def test_a_sound_cell_passes_and_can_be_judged_again_from_its_folder(slot: Slot, tmp_path: Path) -> None:
    result = run(slot, tmp_path, "PlainPool")
    assert result.verdict is Verdict.PASS, result.reason
    assert len(result.findings) == 12
    again = judge_folder(CellFolder(tmp_path), wall_s=result.wall_s)
    assert again.findings == result.findings
    spec, history, facts = open_cell(tmp_path)
    assert spec.strategy.endswith("short.py:PlainPool")
    assert history.phase("end") is not None
    assert facts.complete
    assert set(facts.leftover_backends.values()) == {0}


@pytest.mark.parametrize(
    ("strategy", "guarantee", "reason"),
    [
        ("RaisesInOpen", Guarantee.AVAILABLE, "there is no such host"),
        ("GivesNoSaver", Guarantee.AVAILABLE, "None"),
        pytest.param("HangsInServe", Guarantee.NO_HANG, "", marks=pytest.mark.proof),
        ("kept_connection", Guarantee.CONNECTION_BUDGET, "1 backends of group"),
        ("BlocksTheLoop", Guarantee.CLEAN_BACKGROUND, ""),
    ],
)
def test_a_strategy_that_misbehaves_fails_its_cell_with_the_reason(
    strategy: str, guarantee: Guarantee, reason: str, slot: Slot, tmp_path: Path
) -> None:
    result = run(slot, tmp_path, strategy)
    assert result.verdict is Verdict.FAIL, result.reason
    assert guarantee in broken(result), result.reason
    assert reason in result.reason


def test_a_bug_in_the_slots_own_process_is_one_sentence_with_its_traceback_apart() -> None:
    """Names are checked before a slot is started, so that an unknown one in here is our own mistake."""
    with pytest.raises(SlotBug, match="our own bug: UsageError: environment is 'cloud'") as caught:
        Slot.start("cloud")
    assert "Traceback" in caught.value.__notes__[0]
    assert "\n" not in str(caught.value)


def test_a_process_that_ends_is_an_error_and_the_slot_goes_on(slot: Slot, tmp_path: Path) -> None:
    result = run(slot, tmp_path / "dead", "EndsTheProcess")
    assert result.verdict is Verdict.ERROR
    assert "status 3" in result.reason
    assert run(slot, tmp_path / "alive", "PlainPool").verdict is Verdict.PASS


def test_the_next_cell_runs_while_one_is_judged_and_the_results_come_in_order(slot: Slot, tmp_path: Path) -> None:
    first, second = begin_two_cells(slot, tmp_path, wait_for="facts.json")
    assert not (first / "verdict.json").exists()
    assert slot.poll() is None
    assert not slot.free, "that it may begin a third one is said when the first is judged"
    (first / HOLD).unlink()
    results = [slot.result(), slot.result()]
    assert [result.seed for result in results] == [1, 2]
    assert [result.verdict for result in results] == [Verdict.PASS, Verdict.PASS], [result.reason for result in results]
    assert not slot.due
    assert open_cell(first)[1].phase("end") is not None
    assert (second / "verdict.json").exists()


def test_what_kills_a_slot_is_held_against_the_cell_that_ran_and_not_against_the_one_that_had_ended(
    tmp_path: Path,
) -> None:
    mine = Slot.start("local")
    try:
        begin_two_cells(mine, tmp_path, wait_for="history.jsonl")
        os.kill(mine.pid, signal.SIGKILL)
        ended, ran = mine.result(), mine.result()
        assert (ended.seed, ended.verdict) == (1, Verdict.PASS), ended.reason
        assert 1.5 < ended.wall_s < LIMIT_S, "as the slot measured it"
        assert (ran.seed, ran.verdict) == (2, Verdict.ERROR)
        assert "ended with status -9" in ran.reason
        assert mine.poll() is None
        assert not mine.due
    finally:
        mine.close()


def begin_two_cells(slot: Slot, folder: Path, *, wait_for: str) -> tuple[Path, Path]:
    """The folders of two cells: the judge of the first is held, and the second has got as far as ``wait_for``."""
    first, second = folder / "first", folder / "second"
    first.mkdir()
    (first / HOLD).touch()
    begin_cell(slot, first, "STILL", "PlainPool", plugins=HELD, seed=1)
    until(lambda: slot.poll() is None and slot.free, "the first cell did not end")
    assert slot.due
    begin_cell(slot, second, "STILL", "PlainPool", plugins=HELD, seed=2)
    until(lambda: slot.poll() is None and (second / wait_for).exists(), f"no {wait_for} of the second cell")
    return first, second


def until(true: Callable[[], bool], otherwise: str) -> None:
    stop_s = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < stop_s, otherwise
        time.sleep(0.02)


def test_a_cell_puts_no_load_on_the_machine_while_it_is_torn_down(slot: Slot, tmp_path: Path) -> None:
    begin_cell(slot, tmp_path, "STILL", "ClosesSlowly", plugins=PLUGINS)
    assert slot.loaded == slot.running is not None
    until(lambda: slot.poll() is None and slot.loaded is None, "the cell stayed under load")
    phases = [str(op.value["name"]) for op in read_history(tmp_path / "history.jsonl").points("phase")]
    assert "converged" in phases
    assert "teardown" not in phases
    assert slot.running is not None
    assert not slot.free
    assert slot.result().verdict is Verdict.PASS


def test_what_a_slot_cannot_import_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As after an upgrade of one package and not of the other."""
    broken = tmp_path / "langgraph"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('no module of that version')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ComponentError) as caught:
        Slot.start("local")
    words = str(caught.value)
    assert "cannot import what a slot needs (ImportError: no module of that version)" in words
    assert "install Poolproof with its dependencies" in words
    assert "\n" not in words
    assert capfd.readouterr().err == ""
