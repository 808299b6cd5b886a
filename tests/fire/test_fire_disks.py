"""Rows 15 to 17: two runs that share a machine or a folder, and disks that are full."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core.verdict import Verdict
from harness.store import read_history
from tests.fire.ground import PLUGINS, Fire, assert_nothing_left, fire, namespace

pytestmark = [pytest.mark.slow, pytest.mark.proof]

ONE_CELL = ("--strategy", f"{PLUGINS}:PlainPool", "--jobs", "1")
#: Of a run of controls alone, none of which has to be caught.
NOTHING_PROVED = 3


def test_row_15_two_runs_share_nothing_and_never_a_folder(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    with (
        fire(tmp_path, f"{PLUGINS}:STILL", *ONE_CELL, name="first", out=shared) as first,
        fire(tmp_path, f"{PLUGINS}:STILL", *ONE_CELL, name="second", out=shared) as second,
        fire(tmp_path, f"{PLUGINS}:STILL", *ONE_CELL, name="third") as third,
    ):
        statuses = [run.wait(180) for run in (first, second, third)]
        assert sorted(statuses[:2]) == [2, NOTHING_PROVED]
        assert statuses[2] == NOTHING_PROVED
        refused = (first, second)[statuses.index(2)]
        (complaint,) = (line for line in refused.said().splitlines() if line.startswith("error: "))
        assert str(shared) in complaint
        assert "allowed: a folder that is new or empty" in complaint
        for run in (first, third):
            (cell,) = run.cells()
            assert cell.verdict is Verdict.PASS, cell.reason


#: Run the command on a disk of its own ($1 its options, $2 where) in a mount namespace, which goes when we go; keep in
#: $3 what lay there. $4 makes us the user that we were.
ON_A_DISK = """
mount -t tmpfs -o "$1" tmpfs "$2" && mount -t tmpfs -o size=64m tmpfs /dev/shm || exit 99
disk=$2 kept=$3 back=$4; shift 4
$back "$@"; status=$?
rm -f "$disk/ballast"; cp -r "$disk/." "$kept/"; exit $status
"""


@pytest.fixture
def disk() -> Iterator[Path]:
    """Where the small disk is mounted: everybody may enter."""
    with tempfile.TemporaryDirectory(prefix="small-disk-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def on_a_disk(disk: Path, size: str, kept: Path) -> tuple[str, ...]:
    """The wrapper that gives a run a disk of ``size``; its files are in ``kept`` afterwards."""
    unshare, back = namespace("--mount", probe="mount -t tmpfs tmpfs /mnt")
    kept.mkdir()
    return (*unshare, "sh", "-c", ON_A_DISK, "sh", f"size={size},mode=1777", str(disk), str(kept), back)


def fill(run: Fire, disk: Path) -> None:
    """Take all that is left of the small disk, from outside and at once: what is freed later stays free."""
    ballast = Path(f"/proc/{run.process.pid}/root{disk}/ballast")
    with ballast.open("wb") as file:
        while True:
            left = os.fstatvfs(file.fileno())
            size = os.fstat(file.fileno()).st_blocks * 512
            try:
                os.posix_fallocate(file.fileno(), size, left.f_bavail * left.f_frsize)
                return
            except OSError:
                continue  # the run has taken some of it meanwhile


def test_row_16_a_full_disk_ends_the_run_with_its_last_words(disk: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    wrapper = on_a_disk(disk, "12m", kept)
    selection = (f"{PLUGINS}:SLOW_LINK", f"{PLUGINS}:STILL", *ONE_CELL)
    with fire(tmp_path, *selection, wrapper=wrapper, out=disk / "out") as run:
        run.out = Path(f"/proc/{run.process.pid}/root{disk}/out")
        trace = run.under_load()
        fill(run, disk)
        assert run.wait(90) == 4
        assert_nothing_left(trace)
        run.out = kept / "out"
        cells = run.cells()
        hit = next(cell for cell in cells if cell.scenario.endswith("SLOW_LINK"))
        assert hit.verdict is Verdict.ERROR
        assert "No space left on device" in hit.reason
        last = read_history(next((run.out / "cells").glob("*slow_link*")) / "history.jsonl")[-1]
        assert (last.f, last.process) == ("harness_error", "store")
        assert not list(run.out.rglob(".reserve")), "what was held for the last words was given up for them"
        assert "No space left on device" in run.said()
        run.summary()
        assert (run.out / "report.html").stat().st_size > 1000


LIMITED = """
import resource, sys
from pathlib import Path
from harness.core.errors import ComponentError
from harness.core.history import OpType
from harness.store import HistoryWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
writer = HistoryWriter(Path(sys.argv[1]), {"cell": "c"})
try:
    for n in range(10**6):
        writer.append(OpType.INFO, "stats", "g", {"n": n, "pad": "x" * 500}, time_s=n / 1000)
except ComponentError as error:
    print(n, error)
writer.close()
"""


def test_row_16_a_history_that_may_not_grow_keeps_its_whole_rows(tmp_path: Path) -> None:
    """A limit on the size of files, as batch systems set it: nothing can be freed, so there are last words only where
    they are shorter than the row that did not fit.
    """
    path = tmp_path / "history.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    written, _, words = done.stdout.partition(" ")
    assert "File too large" in words
    history = read_history(path)
    rows = [op.f for op in history]
    assert rows[: int(written)] == ["stats"] * int(written)
    assert rows[int(written) :] in ([], ["harness_error"])
    assert not history.torn


def test_row_17_a_full_disk_under_postgres_is_the_machines_fault(disk: Path, tmp_path: Path) -> None:
    wrapper = on_a_disk(disk, "160m", tmp_path / "kept")
    selection = (f"{PLUGINS}:STEADY", "--strategy", f"{PLUGINS}:ImpatientPool", "--jobs", "1")
    with fire(tmp_path, *selection, wrapper=wrapper, environment={"TMPDIR": str(disk)}) as run:
        trace = run.under_load()
        fill(run, disk)
        assert run.wait(180) == 4
        assert_nothing_left(trace)
        (cell,) = run.cells()
        assert cell.verdict is Verdict.ERROR
        assert "Postgres" in cell.reason, "its disk is full, or it died of that"
        assert [f.summary for f in cell.findings if f.verdict is Verdict.FAIL] == []
        run.summary()
