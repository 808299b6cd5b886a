"""Rows 1 to 4: signals at the harness in the middle of a fault. Nothing of a run outlives it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.environments.leases import clear_up
from tests.fire.ground import (
    GONE_S,
    PLUGINS,
    Fire,
    alive,
    arguments,
    assert_nothing_left,
    children_of,
    descendants,
    fire,
)

pytestmark = [pytest.mark.slow, pytest.mark.proof]

ONE_CELL = ("--strategy", f"{PLUGINS}:PlainPool", "--jobs", "1")
TWO_CELLS = ("--strategy", "self_healing", "--strategy", "naive_recreate", "--jobs", "2")

_PR_SET_CHILD_SUBREAPER = 36


@contextlib.contextmanager
def adopting() -> Iterator[Callable[[], set[int]]]:
    """Whoever outlives its parents becomes a child of this process, not of the machine's first one. Yields what tells
    who came here so and still runs.
    """
    libc, before = ctypes.CDLL(None), descendants(os.getpid())
    assert libc.prctl(_PR_SET_CHILD_SUBREAPER, 1) == 0
    try:
        yield lambda: alive(descendants(os.getpid()) - before)
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0)
        for pid in children_of(os.getpid()) - before:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def assert_partial_report(run: Fire, name: str) -> None:
    """The report is there, says that it is partial, and names the signal."""
    summary = run.summary()
    assert summary["interrupted"] is True
    assert name in str(summary["exit_reason"])
    assert "INCOMPLETE" in (run.out / "report.html").read_text()
    assert run.record().interrupted == signal.Signals[name]
    run.cells()


def test_row_01_sigint_leaves_a_partial_report_and_nothing_running(tmp_path: Path) -> None:
    with fire(tmp_path, f"{PLUGINS}:AWAY", *TWO_CELLS) as run:
        trace = run.under_load(2)
        assert len(trace.pids) > 20, "two stacks and two cells with their backends"
        run.signal(signal.SIGINT)
        assert run.wait(30) == 130
        assert_nothing_left(trace)
        assert_partial_report(run, "SIGINT")


def test_row_01_sigint_while_the_first_stack_takes_its_time(tmp_path: Path) -> None:
    """As when Toxiproxy is built: the user need not wait for that."""
    slow = tmp_path / "slow-toxiproxy"
    slow.write_text("#!/bin/sh\nexec sleep 61.5\n")
    slow.chmod(0o755)
    with fire(tmp_path, f"{PLUGINS}:AWAY", *ONE_CELL, environment={"POOLPROOF_TOXIPROXY": str(slow)}) as run:
        run.until(lambda: any("61.5" in arguments(pid) for pid in run.trace().pids))
        trace = run.trace()
        run.signal(signal.SIGINT)
        assert run.wait(10) == 130
        assert_nothing_left(trace)
        assert_partial_report(run, "SIGINT")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_row_02_a_second_signal_waits_for_nothing_and_still_ends_everything(
    number: signal.Signals, status: int, tmp_path: Path
) -> None:
    """The slot is frozen, so that the graceful end alone would take its whole limit."""
    with fire(tmp_path, f"{PLUGINS}:AWAY", *ONE_CELL) as run:
        trace = run.under_load()
        (slot,) = run.slots()
        os.kill(slot, signal.SIGSTOP)
        run.signal(number)
        time.sleep(0.7)
        run.signal(number)
        began_s = time.monotonic()
        assert run.wait(15) == status
        assert time.monotonic() - began_s < 5
        assert_nothing_left(trace)
        assert_partial_report(run, number.name)


def test_row_03_sigterm_is_as_sigint_with_143(tmp_path: Path) -> None:
    with fire(tmp_path, f"{PLUGINS}:AWAY", *ONE_CELL) as run:
        trace = run.under_load()
        run.signal(signal.SIGTERM)
        assert run.wait(30) == 143
        assert_nothing_left(trace)
        assert_partial_report(run, "SIGTERM")


def test_row_04_sigkill_ends_everything_and_the_next_start_clears_up(tmp_path: Path) -> None:
    with fire(tmp_path, f"{PLUGINS}:AWAY", *TWO_CELLS) as run:
        trace = run.under_load(2)
        assert len(trace.pids) > 20, "two stacks and two cells with their backends"
        run.signal(signal.SIGKILL)
        run.process.wait(5)
        assert_nothing_left(trace, folders=False)
        assert run.cells() == (), "none was judged, and both histories can be read"
        clear_up()  # as the next stack does
        assert [folder for folder in trace.folders if folder.exists()] == []


@pytest.mark.parametrize("seed", range(6))
def test_row_04_sigkill_at_any_moment_leaves_nothing_running(seed: int, tmp_path: Path) -> None:
    """While imports run, servers start, cells are driven or judged: whoever is left is found, wherever it hid."""
    moment_s = random.Random(f"moment {seed}").uniform(0.1, 9.0)
    with adopting() as adopted, fire(tmp_path, f"{PLUGINS}:AWAY", *TWO_CELLS) as run:
        time.sleep(moment_s)
        trace = run.trace()
        assert run.process.poll() is None, "it was killed while it ran"
        run.signal(signal.SIGKILL)
        run.process.wait(5)
        stop_s = time.monotonic() + GONE_S
        while (left := adopted()) and time.monotonic() < stop_s:
            time.sleep(0.05)
        assert not left, {pid: arguments(pid) for pid in left}
        assert_nothing_left(trace, folders=False)
        clear_up()
        assert [folder for folder in trace.folders if folder.exists()] == []
