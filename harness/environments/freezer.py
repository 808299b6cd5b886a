"""Holds processes where they are (SIGSTOP) until its standard input ends: ``python freezer.py POSTMASTER [PID ...]``.

A process of its own, so that a server that was paused goes on even when the harness dies in the middle: the kernel
closes the pipe. Without PIDs the whole server is held, the postmaster first, so that it starts nothing new meanwhile.
Prints how many processes it holds once they stand still. It is run by its path and imports nothing of ours.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

_LIMIT_S = 3.0


def children_of(parent: int) -> list[int]:
    """The direct children of a process that still run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = entry.read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and fields[0] not in "ZX":
                found.append(int(entry.parent.name))
    return found


def state_of(pid: int) -> str:
    """One letter, as the kernel has it; Z if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def send(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to all that still run."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def stand_still(pids: list[int]) -> bool:
    """Wait, bounded, until none of them runs."""
    stop_s = time.monotonic() + _LIMIT_S
    while any(state_of(pid) not in "TtZX" for pid in pids):
        if time.monotonic() > stop_s:
            return False
        time.sleep(0.001)
    return True


def main() -> None:
    """Stop, tell, wait, let go; the last also when anything before it failed."""
    postmaster, chosen = int(sys.argv[1]), [int(pid) for pid in sys.argv[2:]]
    held = chosen or [postmaster]
    try:
        send(held, signal.SIGSTOP)
        still = stand_still(held)
        if not chosen:
            below = children_of(postmaster)
            held = [*below, postmaster]
            send(below, signal.SIGSTOP)
            still = stand_still(held) and still
        print(len(held) if still else 0, flush=True)
        sys.stdin.read()
    finally:
        send(held, signal.SIGCONT)


if __name__ == "__main__":
    main()
