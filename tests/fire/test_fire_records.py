"""Rows 18 to 20: records that were cut or damaged, a verdict half written, a checker that raises."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from harness.checkers.no_hang import NoHang
from harness.cli import main
from harness.core.cell import CellSpec
from harness.core.verdict import Guarantee, Verdict
from harness.store import CellFolder, HistoryWriter, Run, RunRecord, load_cells, read_history
from harness.summary import BUG, Outcome
from harness.verdicts import judge_folder, settle
from tests.checkers.made_histories import CLOSED, MadeCell
from tests.fire.ground import PLUGINS, ROOT, fire

TAIL = 200
TORN = ROOT / "tests" / "plugins" / "fire_torn_verdict.py"


def made_cell(folder: Path, *, leaky: bool) -> CellFolder:
    """The folder of a small cell: gate, a few calls (one of which meets PoolClosed if ``leaky``), its end."""
    made = MadeCell()
    made.gate()
    for number in range(5):
        made.call("turn", f"t{number}")
    if leaky:
        made.call("turn", "leak", status="info", error=CLOSED)
    made.everybody(round_=900)
    made.end()
    place = CellFolder(folder)
    place.logs.mkdir(parents=True)
    place.write_spec(CellSpec(id="cut", scenario=f"{PLUGINS}:STILL", strategy=f"{PLUGINS}:PlainPool"))
    writer = HistoryWriter(place.history, {"cell": "cut", "seed": 0, "groups": ["g0", "g1"], "agents": []})
    for op in made.rows:
        writer.append(op.type, op.f, op.process, op.value, time_s=op.time_s, call=op.call, error=op.error)
    writer.close()
    place.write_facts(made.facts())
    return place


@pytest.mark.slow
@pytest.mark.parametrize("leaky", [False, True])
def test_row_18_a_history_cut_at_any_byte_of_its_end_is_judged_and_says_so(leaky: bool, tmp_path: Path) -> None:
    cell = made_cell(tmp_path / "cell", leaky=leaky)
    whole = cell.history.read_bytes()
    complete = len(read_history(cell.history))
    for cut in range(1, TAIL + 1):
        cell.history.write_bytes(whole[:-cut])
        history = read_history(cell.history)
        assert len(history) < complete
        assert history.torn is not whole[:-cut].endswith(b"\n")
        result = judge_folder(cell)
        (exercised,) = (f for f in result.findings if f.guarantee is Guarantee.EXERCISED)
        told = "ends in the middle of a row" if history.torn else "never ended"
        assert (exercised.verdict, told in str(exercised.details)) == (Verdict.INVALID, True), f"{cut} bytes short"
        assert result.verdict is (Verdict.FAIL if leaky else Verdict.INVALID), f"{cut} bytes short: {result.reason}"


@pytest.mark.slow
@pytest.mark.proof
def test_row_18_a_real_history_cut_anywhere_never_passes(sound_cell: Path, tmp_path: Path) -> None:
    cell = CellFolder(tmp_path / "cell")
    shutil.copytree(sound_cell, cell.path)
    whole = cell.history.read_bytes()
    draw = random.Random(18)
    for size in sorted(draw.sample(range(len(whole)), 12), reverse=True):
        cell.history.write_bytes(whole[:size])
        result = judge_folder(cell)
        assert result.verdict is not Verdict.PASS, f"cut after {size} of {len(whole)} bytes: {result.reason}"


def run_of(folder: Path, cells: dict[str, Path]) -> Path:
    """The folder of a run with copies of these cells."""
    run = Run.create(out=folder)
    run.write_record(RunRecord(started="2026-01-01T00:00:00+00:00", planned=len(cells)))
    run.release_reserve()
    for name, cell in cells.items():
        shutil.copytree(cell, run.cell(name).path, dirs_exist_ok=True)
    return folder


@pytest.mark.slow
def test_row_18_garbage_in_the_middle_gives_no_verdict_and_is_told(
    sound_cell: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(tmp_path / "run", {"damaged": sound_cell, "sound": sound_cell})
    cell = CellFolder(run / "cells" / "damaged")
    lines = cell.history.read_bytes().splitlines(keepends=True)
    middle = len(lines) // 2
    lines[middle] = b"\xff\x00 no row \x1b[31m\n"
    cell.history.write_bytes(b"".join(lines))
    result = settle(cell, wall_s=1.0)
    assert result.verdict is Verdict.INVALID
    assert f"line {middle + 1}: not a history row" in result.reason
    assert main(["verify", str(run)]) == 1
    captured = capsys.readouterr()
    (told,) = (line for line in captured.out.splitlines() if "damaged" in line)
    assert "cannot be judged" in told
    assert f"line {middle + 1}" in told
    assert "\x1b" not in captured.out
    assert "✓  sound" in captured.out


@pytest.mark.slow
@pytest.mark.proof
def test_row_19_a_verdict_half_written_is_not_counted_and_the_cell_is_judged_again(tmp_path: Path) -> None:
    """The slot is killed when the verdict is on the disk and has not got its name yet."""
    with fire(tmp_path, f"{TORN}:STILL", "--strategy", f"{TORN}:PlainPool", "--jobs", "1") as run:
        assert run.wait(120) == 4
        (cell,) = run.cells()
        folder = run.out / "cells" / Path(cell.folder).name
        (half,) = folder.glob(".verdict.json.*.tmp")
        assert half.stat().st_size > 1000, "it was written, and is no verdict all the same"
        assert cell.verdict is Verdict.ERROR
        assert "status -9" in cell.reason
        assert len(cell.findings) == len(judge_folder(CellFolder(folder)).findings)
        (folder / "verdict.json").unlink()
        assert load_cells(run.out) == ()


@pytest.mark.slow
def test_row_20_a_checker_that_raises_takes_nothing_with_it(
    sound_cell: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = CellFolder(tmp_path / "cell")
    shutil.copytree(sound_cell, cell.path)
    kept = cell.history.read_bytes()
    sound = {finding.guarantee: finding for finding in judge_folder(cell).findings}

    def raises(*_: object) -> None:
        raise ZeroDivisionError("a bug in this checker")

    monkeypatch.setattr(NoHang, "check", raises)
    result = settle(cell, wall_s=1.0)
    assert result.verdict is Verdict.ERROR
    assert "our own bug" in result.reason
    assert "ZeroDivisionError: a bug in this checker" in result.reason
    others = {finding.guarantee: finding for finding in result.findings if finding.guarantee is not Guarantee.NO_HANG}
    assert others == {guarantee: f for guarantee, f in sound.items() if guarantee is not Guarantee.NO_HANG}
    assert cell.history.read_bytes() == kept
    assert Outcome.of([result], planned=1).exit == BUG
