"""Waiting for a core: counted by the kernel, told only when it was much."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.driving.starvation import STARVED_SHARE, WINDOW_S, Starvation

pytestmark = pytest.mark.skipif(not Path("/proc/self/schedstat").is_file(), reason="this kernel counts no waiting")


def _work(for_s: float) -> None:
    stop_s = time.monotonic() + for_s
    while time.monotonic() < stop_s:
        pass


@pytest.mark.slow
def test_a_thread_that_shares_its_core_with_many_others_is_starved() -> None:
    cores = os.sched_getaffinity(0)
    neighbours: list[subprocess.Popen[bytes]] = []
    try:
        os.sched_setaffinity(0, {min(cores)})  # the children inherit it
        neighbours += [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(8)]
        time.sleep(0.5)
        began_s = time.monotonic()
        starvation = Starvation(threading.get_native_id(), began_s)
        _work(2 * WINDOW_S)
        now_s = time.monotonic()
        waited_s = starvation.told(now_s)
        assert STARVED_SHARE * (now_s - began_s) < waited_s <= now_s - began_s
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()
        os.sched_setaffinity(0, cores)


def test_little_waiting_is_not_told_and_much_is_told_once_per_window(tmp_path: Path) -> None:
    file = tmp_path / "schedstat"
    file.write_text("5 1000000000 7\n")
    starvation = Starvation(0, 10.0, file=file)
    file.write_text("5 1200000000 7\n")
    assert starvation.told(10.0 + WINDOW_S) == 0.0
    file.write_text("5 1600000000 7\n")
    assert starvation.told(10.0 + 1.5 * WINDOW_S) == 0.0, "the window has not ended"
    assert starvation.told(10.0 + 2 * WINDOW_S) == pytest.approx(0.4)
    assert starvation.told(10.0 + 3 * WINDOW_S) == 0.0


def test_a_kernel_that_does_not_count_says_nothing(tmp_path: Path) -> None:
    starvation = Starvation(0, 0.0, file=tmp_path / "missing")
    assert starvation.told(100.0) == 0.0
