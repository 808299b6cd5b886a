"""What lies under ``reports/``: whole files or none, histories that survive their writer, and honest readers."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.cell import CellSpec, cell_id
from harness.core.errors import ComponentError, UsageError
from harness.core.facts import Facts, ThreadFacts
from harness.core.history import ErrorInfo, Op, OpType
from harness.core.record import CellResult, Mark, ScenarioInfo, Timeline
from harness.core.verdict import Finding, Guarantee, Json, Verdict
from harness.store import (
    HistoryWriter,
    Run,
    RunRecord,
    find_cell,
    find_run,
    folder_name,
    load_cells,
    open_cell,
    read_history,
    read_record,
    read_result,
    runs,
    write_reports,
    write_whole,
)

HEADER: dict[str, Json] = {"cell": "c", "seed": 0, "groups": [], "agents": []}
AT = datetime(2026, 11, 21, 12, 4, 0, tzinfo=UTC)


def spec(name: str = "network.steady-shared_swap-async-0") -> CellSpec:
    return CellSpec(id=name, scenario="network/steady", strategy="shared_swap")


def result(name: str = "network.steady-shared_swap-async-0") -> CellResult:
    finding = Finding(
        guarantee=Guarantee.NO_POOL_CLOSED,
        verdict=Verdict.FAIL,
        summary="2 leaked",
        evidence=(3, 4),
        codes=("L1",),
        details={"first_s": 1.5},
    )
    lines = Timeline(
        end_s=9.0,
        bands=(("reset_peer", 1.0, 2.0),),
        latencies=((1.0, 12.5, "ok"),),
        connections=((0.1, 8),),
        marks=(Mark(time_s=1.2, kind="leak", text="PoolClosed", index=4),),
        phases=(("gate", 0.1),),
    )
    return CellResult(
        id=name,
        scenario="network/steady",
        strategy="shared_swap",
        agents=("A", "B"),
        durability="async",
        seed=0,
        role="candidate",
        verdict=Verdict.FAIL,
        findings=(finding,),
        measures={"calls": 3},
        timeline=lines,
        folder=f"cells/{name}",
    )


# -- whole files ---------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_whole(path, "old")
    write_whole(path, "new \ud800 \u2028")
    assert path.read_text(encoding="utf-8") == "new \\ud800 \u2028"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "summary.json"
    write_whole(path, "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ComponentError, match=r"could not write .*summary\.json: No space left"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]


def test_readers_never_see_a_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    texts = {letter * 200_000 for letter in "ab"}
    write_whole(path, "a" * 200_000)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for text in sorted(texts):
                write_whole(path, text)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = {path.read_text() for _ in range(200)}
    finally:
        stop.set()
        writer.join(timeout=10)
    assert seen <= texts


# -- the history ---------------------------------------------------------------------------------------------------


def test_rows_come_back_as_they_were_appended(tmp_path: Path) -> None:
    writer = HistoryWriter(tmp_path / "history.jsonl", HEADER)
    odd: dict[str, Json] = {"text": "line\nbreak \u2028 \ud800 ünï", "deep": [1, {"a": None}]}
    error = ErrorInfo(type="PoolClosed", message="closed", links=(("cause", "OSError", "x"),), pool_closed=True)
    kept = [
        writer.append(OpType.INVOKE, "turn", "u0", odd, time_s=0.123456789, call=1),
        writer.append(OpType.INFO, "turn", "u0", {}, time_s=0.2, call=1, error=error),
        writer.append(OpType.INFO, "phase", "runner", {"name": "end"}, time_s=0.3),
    ]
    writer.close()
    writer.close()
    history = read_history(tmp_path / "history.jsonl")
    assert list(history) == kept
    assert [op.index for op in history] == [0, 1, 2]
    assert not history.torn


def test_a_row_is_with_the_operating_system_before_append_returns(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    writer = HistoryWriter(path, HEADER)
    writer.append(OpType.INVOKE, "turn", "u0", {}, time_s=0.1, call=1)
    assert len(read_history(path)) == 1
    writer.close()


def test_many_threads_append_without_mixing_or_losing_rows(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    writer = HistoryWriter(path, HEADER)

    def work(who: int) -> None:
        for number in range(200):
            writer.append(OpType.INFO, "stats", f"g{who}", {"n": number, "pad": "x" * 300}, time_s=number / 10)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    writer.close()
    history = read_history(path)
    assert [op.index for op in history] == list(range(1600))
    for who in range(8):
        assert [op.value["n"] for op in history if op.process == f"g{who}"] == list(range(200))


WRITER = """
import sys
from pathlib import Path
from harness.core.history import OpType
from harness.store import HistoryWriter
writer = HistoryWriter(Path(sys.argv[1]), {"cell": "c"})
for n in range(10**9):
    writer.append(OpType.INFO, "stats", "g", {"n": n, "pad": "x" * (n % 700)}, time_s=n / 1000)
"""


@pytest.mark.slow
def test_a_history_whose_writer_was_killed_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)])
    try:
        deadline_s = time.monotonic() + 30
        while not (path.exists() and path.stat().st_size > 200_000):
            assert time.monotonic() < deadline_s, "the writer wrote nothing"
            time.sleep(0.02)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait(timeout=10)
    history = read_history(path)
    assert len(history) > 100
    assert [op.value["n"] for op in history] == list(range(len(history)))


@given(cut=st.integers(0, 400))
def test_a_history_cut_anywhere_keeps_its_whole_rows(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("torn") / "history.jsonl"
    writer = HistoryWriter(path, HEADER)
    for number in range(5):
        writer.append(OpType.INFO, "stats", "g", {"n": number}, time_s=0.1)
    writer.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: max(0, len(whole) - cut)])
    history = read_history(path)
    lines = path.read_bytes().split(b"\n")
    assert len(history) == max(0, len(lines) - 2)
    assert history.torn is (lines[-1] != b"")


def test_damage_in_the_middle_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    row = '{"index": 0, "time_s": 0, "type": "info", "f": "phase", "process": "runner", "value": {}}\n'
    path.write_bytes(b'{"schema": 1}\n' + b"\xff\xfe\n" + row.encode())
    with pytest.raises(UsageError, match="line 2"):
        read_history(path)


def test_a_full_disk_is_a_component_error_and_leaves_whole_rows(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    writer = HistoryWriter(path, HEADER)
    writer.append(OpType.INFO, "stats", "g", {"n": 0}, time_s=0.0)
    real = writer._file

    class Full:
        """Takes ten bytes and then has no room, as a full disk does."""

        closed = False

        def write(self, data: memoryview) -> int:
            if len(data) < 60:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real.write(data[:10]) or 0

        def truncate(self, size: int) -> int:
            return real.truncate(size)

        def seek(self, size: int) -> int:
            return real.seek(size)

    writer._file = Full()  # type: ignore[assignment]
    with pytest.raises(ComponentError, match="No space left"):
        writer.append(OpType.INFO, "stats", "g", {"n": 1}, time_s=0.1)
    writer._file = real
    # Room comes back, but what is missing stays missing: the history must not look whole.
    with pytest.raises(ComponentError, match="No space left"):
        writer.append(OpType.INFO, "stats", "g", {"n": 2}, time_s=0.2)
    writer.close()
    history = read_history(path)
    assert [op.value["n"] for op in history] == [0]
    assert not history.torn


def test_after_close_an_append_is_refused_in_words(tmp_path: Path) -> None:
    writer = HistoryWriter(tmp_path / "history.jsonl", HEADER)
    writer.close()
    with pytest.raises(ComponentError, match="it is closed"):
        writer.append(OpType.INFO, "stats", "g", {}, time_s=0.0)


def test_a_history_is_never_overwritten(tmp_path: Path) -> None:
    HistoryWriter(tmp_path / "history.jsonl", HEADER).close()
    with pytest.raises(ComponentError, match="File exists"):
        HistoryWriter(tmp_path / "history.jsonl", HEADER)


# -- cells ---------------------------------------------------------------------------------------------------------


def test_a_cell_is_read_back_whole(tmp_path: Path) -> None:
    run = Run.create(root=tmp_path, at=AT)
    cell = run.cell(spec().id)
    facts = Facts(threads={"t": ThreadFacts(thread="t", agent="A", exists=True, turns=("t/t1",))}, problems=("p",))
    cell.write_spec(spec())
    writer = HistoryWriter(cell.history, HEADER)
    op = writer.append(OpType.INFO, "phase", "runner", {"name": "end"}, time_s=1.0)
    writer.close()
    cell.write_facts(facts)
    cell.write_result(result())
    assert cell.logs.is_dir()
    read_spec, history, read_facts = open_cell(cell.path)
    assert (read_spec, list(history), read_facts) == (spec(), [op], facts)
    assert load_cells(run.folder) == (result(),)


def test_a_cell_that_died_early_comes_back_empty_and_incomplete(tmp_path: Path) -> None:
    cell = Run.create(root=tmp_path, at=AT).cell(spec().id)
    cell.write_spec(spec())
    read_spec, history, facts = open_cell(cell.path)
    assert read_spec == spec()
    assert (len(history), facts.complete) == (0, False)


@pytest.mark.parametrize("name", ["cell.json", "facts.json", "verdict.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"threads": {"t": {"odd": 1}}}', "\x00", "[" * 100_000])
def test_damaged_files_are_a_usage_error_that_names_them(tmp_path: Path, name: str, text: str) -> None:
    run = Run.create(root=tmp_path, at=AT)
    cell = run.cell(spec().id)
    cell.write_spec(spec())
    cell.write_result(result())
    (cell.path / name).write_text(text)
    with pytest.raises(UsageError, match=re.escape(name)):
        _ = load_cells(run.folder) if name == "verdict.json" else open_cell(cell.path)


def test_cells_never_judged_are_left_out(tmp_path: Path) -> None:
    run = Run.create(root=tmp_path, at=AT)
    run.cell("judged").write_result(result("judged"))
    run.cell("running").write_spec(spec("running"))
    assert [cell.id for cell in load_cells(run.folder)] == ["judged"]


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a b", "a\nb", "ü"])
def test_a_cell_id_that_is_no_slug_makes_no_folder(tmp_path: Path, name: str) -> None:
    run = Run.create(root=tmp_path, at=AT)
    with pytest.raises(UsageError, match="cell id"):
        run.cell(name)
    assert list((run.folder / "cells").iterdir()) == []


def test_very_long_cell_ids_get_folders_of_their_own(tmp_path: Path) -> None:
    run = Run.create(root=tmp_path, at=AT)
    agents = tuple(f"AgentWithARatherLongName{n}" for n in range(20))
    ids = [cell_id("network/steady", "shared_swap", "async", seed, agents) for seed in (0, 1)]
    folders = {run.cell(name).path for name in ids}
    assert len(folders) == 2
    assert all(len(folder.name) < 255 for folder in folders)
    assert folder_name("short") == "short"


# -- runs ----------------------------------------------------------------------------------------------------------


def record() -> RunRecord:
    return RunRecord(
        started="2026-11-21T12:04:00Z",
        planned=2,
        command="poolproof run",
        scenarios=(ScenarioInfo(name="network/steady", title="t", why="w", question=1),),
        must_catch=(("network/post_incident", "naive_recreate", "no_pool_closed"),),
        components=({"name": "postgres"},),
        provenance={"python": "3.11"},
        notes=("n",),
        wall_s=2.5,
        interrupted=2,
    )


def test_a_run_is_named_by_its_time_and_read_back(tmp_path: Path) -> None:
    run = Run.create(root=tmp_path / "reports", at=AT)
    run.write_record(record())
    assert run.folder.name.startswith("20261121T120400Z-")
    assert read_record(run.folder) == record()
    assert json.loads((run.folder / "run.json").read_text())["planned"] == 2


@pytest.mark.parametrize(
    "change", [{"planned": "many"}, {"must_catch": [["a"]]}, {"scenarios": [{"name": "x"}]}, {"notes": 3}]
)
def test_a_damaged_record_is_a_usage_error(change: dict[str, Json]) -> None:
    with pytest.raises(UsageError, match=r"run\.json"):
        RunRecord.from_json({**record().to_json(), **change})


def test_two_runs_in_one_second_are_two_folders(tmp_path: Path) -> None:
    assert len({Run.create(root=tmp_path, at=AT).folder for _ in range(5)}) == 5


def test_out_puts_the_run_there_if_nothing_is_there_yet(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "here"
    assert Run.create(out=out, root=tmp_path / "reports").folder == out
    with pytest.raises(UsageError, match="not empty"):
        Run.create(out=out, root=tmp_path / "reports")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="in the way"):
        Run.create(out=tmp_path / "file", root=tmp_path / "reports")
    write_reports(out, {"report.html": "x"}, root=tmp_path / "reports")
    assert (out / "report.html").read_text() == "x"
    assert not (tmp_path / "reports").exists()


def test_latest_points_at_the_newest_reported_run_at_every_moment(tmp_path: Path) -> None:
    first, second = (Run.create(root=tmp_path, at=AT.replace(second=n)) for n in (1, 2))
    write_reports(first.folder, {"report.html": "1"}, root=tmp_path)
    stop = threading.Event()
    missing: list[str] = []

    def watch() -> None:
        while not stop.is_set():
            if not (tmp_path / "latest" / "report.html").exists():
                missing.append("latest was gone")

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for run in (second, first) * 50:
            write_reports(run.folder, {"report.html": run.folder.name}, root=tmp_path)
    finally:
        stop.set()
        watcher.join(timeout=10)
    assert missing == []
    assert (tmp_path / "latest").is_symlink()
    assert os.readlink(tmp_path / "latest") == first.folder.name
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_latest_that_is_no_link_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()
    with pytest.raises(UsageError, match="Move it away"):
        Run.create(root=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["latest"]


def test_runs_and_cells_are_found_by_what_users_type(tmp_path: Path) -> None:
    old, new = (Run.create(root=tmp_path, at=AT.replace(second=n)) for n in (1, 2))
    for run in (old, new):
        run.cell("both").write_spec(spec("both"))
    old.cell("old").write_spec(spec("old"))
    write_reports(new.folder, {}, root=tmp_path)
    assert runs(tmp_path) == [new.folder.name, old.folder.name]
    assert find_run("latest", root=tmp_path) == new.folder
    assert find_run(old.folder.name, root=tmp_path) == find_run(str(old.folder), root=tmp_path) == old.folder
    assert find_cell("both", root=tmp_path) == new.folder / "cells" / "both"
    assert find_cell("old", root=tmp_path) == old.folder / "cells" / "old"
    assert find_cell(str(old.folder / "cells" / "both"), root=tmp_path) == old.folder / "cells" / "both"
    for wrong in ("nowhere", "../x", ""):
        with pytest.raises(UsageError, match="allowed"):
            find_run(wrong, root=tmp_path)
        with pytest.raises(UsageError, match="allowed"):
            find_cell(wrong, root=tmp_path)


def test_reports_are_written_beside_the_cells(tmp_path: Path) -> None:
    run = Run.create(root=tmp_path, at=AT)
    files = {"report.html": "<!doctype html>", "summary.json": "{}", "junit.xml": "<x/>", "summary.md": "#"}
    write_reports(run.folder, files, root=tmp_path)
    assert {p.name for p in run.folder.iterdir()} == {*files, "cells"}
    assert (tmp_path / "latest" / "summary.json").read_text() == "{}"


def test_a_row_that_a_finaliser_appends_while_a_row_is_written_is_written_after_it(tmp_path: Path) -> None:
    """The garbage collector runs finalisers in the middle of anything, a write too; what they report is a row."""
    writer = HistoryWriter(tmp_path / "history.jsonl", {})

    class Finalised(dict[str, Json]):
        """Stands for a value during whose encoding a finaliser runs."""

        def items(self) -> Any:
            row = writer.append(OpType.INFO, "background", "loop", {"what": "unraisable"}, time_s=2.0)
            assert row.index == -1
            return super().items()

    done: list[Op] = []
    thread = threading.Thread(
        target=lambda: done.append(writer.append(OpType.INFO, "log", "x", Finalised(level="ERROR"), time_s=1.0)),
        daemon=True,
    )
    thread.start()
    thread.join(5)
    assert not thread.is_alive(), "the writer waits for itself"
    writer.append(OpType.INFO, "phase", "runner", {"name": "end"}, time_s=3.0)
    writer.close()
    history = read_history(tmp_path / "history.jsonl")
    assert history[0].f == "log"
    assert {op.f for op in history} == {"log", "background", "phase"}
    assert [op.index for op in history] == list(range(len(history)))


def test_an_attempt_that_is_set_aside_is_kept_and_not_counted(tmp_path: Path) -> None:
    run = Run.create(root=tmp_path, at=AT)
    run.cell("busy").write_result(result("busy"))
    (run.cell("busy").logs / "output.log").write_text("said")
    moved = run.set_aside("busy")
    assert read_result(moved).id == "busy"
    assert (moved / "logs" / "output.log").read_text() == "said"
    assert load_cells(run.folder) == ()
    run.cell("busy").write_result(result("busy"))
    assert [cell.id for cell in load_cells(run.folder)] == ["busy"]
    assert [path.name for path in (run.folder / "cells").iterdir()] == ["busy"]
    with pytest.raises(ComponentError, match="first/"):
        run.set_aside("never")  # there is nothing to move
