"""A campaign that is hit in the middle, and started again: each planned cell ends up with one result, and no reader of
its output waits for ever.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from harness.cli import main
from harness.core.verdict import Verdict
from tests.fire.ground import (
    GONE_S,
    PLUGINS,
    POOLPROOF,
    ROOT,
    SHORT,
    Fire,
    alive,
    assert_nothing_left,
    cell_of,
    fire,
    runs_a_cell,
)

pytestmark = [pytest.mark.slow, pytest.mark.proof]

AGENTS = SHORT.parent / "fire_agents.py"
STRATEGY = ("--strategy", f"{PLUGINS}:PlainPool")
ECHO = ("--agent", f"{AGENTS}:Echo")


def test_row_36_a_cell_and_a_slot_are_killed_and_every_planned_cell_has_one_result(tmp_path: Path) -> None:
    with fire(tmp_path, f"{PLUGINS}:STILL", *STRATEGY, *ECHO, "--repeat", "4", "--jobs", "2") as run:
        trace = run.under_load(2)
        slots = run.slots()
        first, second = [slot for slot in slots if runs_a_cell(slot)]
        os.kill(cell_of(first), signal.SIGKILL)
        os.kill(second, signal.SIGKILL)
        run.until(lambda: len(run.slots()) == len(slots) and second not in run.slots())
        renewed = run.trace()
        assert run.wait(120) == 4
        assert_nothing_left(trace, folders=False)
        assert_nothing_left(renewed)
        cells = run.cells()
        summary = run.summary()
    assert summary["planned"] == len(cells) == 4
    assert [cell.verdict for cell in cells].count(Verdict.PASS) == 2
    reasons = sorted(cell.reason for cell in cells if cell.verdict is Verdict.ERROR)
    assert len(reasons) == 2
    assert f"a slot's process (pid {second}) ended with status -9" in reasons[0]
    assert "the cell's process ended with signal SIGKILL" in reasons[1]


def test_row_36_the_harness_is_killed_and_the_same_campaign_is_started_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = (f"{PLUGINS}:STILL", *STRATEGY, *ECHO, "--repeat", "2", "--jobs", "1")
    with fire(tmp_path, *again) as run:
        run.until(lambda: len(list(run.out.glob("cells/*/verdict.json"))) == 1)
        trace = run.under_load()
        run.signal(signal.SIGKILL)
        run.process.wait(GONE_S)
        assert_nothing_left(trace, folders=False)
        assert len(run.cells()) == 1, "what was judged can be read"
    with fire(tmp_path, *again) as refused:
        assert refused.wait(60) == 2
        said = refused.said().splitlines()
    assert said == [
        f"error: --out {run.out}: not empty; allowed: a folder that is new or empty",
        "exit 2 usage: see the message above",
    ]
    assert_reported_as_partial(run, capsys)
    with fire(tmp_path, *again, name="second") as second:
        assert second.wait(120) == 3
        assert [cell.verdict for cell in second.cells()] == [Verdict.PASS, Verdict.PASS]
    assert not any(folder.exists() for folder in trace.folders), "the next start clears up after the killed one"


def assert_reported_as_partial(run: Fire, capsys: pytest.CaptureFixture[str]) -> None:
    """``poolproof report`` on the killed run says what it is, and calls it no bug."""
    assert main(["report", str(run.out)]) == 4
    assert "ended early after 1 of 2 cells: the run was killed, or still goes on" in capsys.readouterr().out
    summary = json.loads((run.out / "summary.json").read_text())
    assert (summary["exit"], summary["planned"], len(summary["cells"])) == (4, 2, 1)
    assert "INCOMPLETE" in (run.out / "report.html").read_text()


def test_row_39_whoever_reads_our_output_sees_its_end_when_the_harness_is_killed(tmp_path: Path) -> None:
    """The agent starts processes that outlive it; in a pipe, one of them alone would hold up the reader for an hour."""
    read, write = os.pipe()
    with (tmp_path / "log").open("wb") as log:
        reader = subprocess.Popen(["cat"], stdin=read, stdout=log)
    os.close(read)
    out = tmp_path / "out"
    options = ("--agent", f"{AGENTS}:Leaks", "--jobs", "1", "--out", str(out))
    process = subprocess.Popen(
        [*POOLPROOF, "run", f"{PLUGINS}:AWAY", *STRATEGY, *options],
        stdin=subprocess.DEVNULL,
        stdout=write,
        stderr=write,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CI": ""},
        start_new_session=True,
    )
    os.close(write)
    run = Fire(process, out, tmp_path / "log")
    try:
        trace = run.under_load()
        assert reader.poll() is None
        process.kill()
        process.wait(GONE_S)
        reader.wait(GONE_S)
        assert_nothing_left(trace, folders=False)
        assert alive(trace.pids) == set()
    finally:
        process.kill()
        reader.kill()
        reader.wait(GONE_S)
