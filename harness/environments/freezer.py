"""Holds a server's processes where they are (SIGSTOP) until its standard input ends: ``python freezer.py POSTMASTER
[ROLE]``.

A process of its own, so that a server that was paused goes on even when the harness dies in the middle: the kernel
closes the pipe. With a ROLE only that role's sessions are held, those of this moment; without one the whole server, the
postmaster first, so that it starts nothing new meanwhile. Prints how many processes it holds once they stand still, 0
if there was nothing to hold. It is run by its path and imports nothing of ours.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

_LIMIT_S = 3.0
#: What the process of a session that has not begun yet says that it does.
_NOT_YET = ("initializing", "authentication", "startup")


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


def serves(pid: int, role: str) -> bool:
    """True for a session of ``role`` that has begun: Postgres calls its process after who it serves, and with what."""
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0 ").decode(errors="replace")
    except OSError:
        return False
    return title.startswith(f"postgres: {role} ") and title.rpartition(" ")[2] not in _NOT_YET


def hold_server(postmaster: int, held: list[int]) -> int:
    """Hold every process of the server, and put its pid into ``held``; how many stand still, 0 if not all do."""
    held.append(postmaster)
    send(held, signal.SIGSTOP)
    first = stand_still(held)
    below = children_of(postmaster)
    held += below
    send(below, signal.SIGSTOP)
    return len(held) if stand_still(below) and first else 0


def hold_sessions(postmaster: int, role: str, held: list[int]) -> int:
    """The same for the sessions of ``role``. Who connects for each request may have none just now, or one that ends
    before it is held: waits, bounded, until one stands still.
    """
    stop_s = time.monotonic() + _LIMIT_S
    while time.monotonic() < stop_s:
        found = [pid for pid in children_of(postmaster) if serves(pid, role)]
        held += found
        send(found, signal.SIGSTOP)
        standing = sum(state_of(pid) in "Tt" for pid in found) if stand_still(found) else 0
        if standing:
            return standing
        time.sleep(0.001)
    return 0


def main() -> None:
    """Stop, tell, wait, let go; the last also when anything before it failed."""
    postmaster, role = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""
    held: list[int] = []
    try:
        print(hold_sessions(postmaster, role, held) if role else hold_server(postmaster, held), flush=True)
        sys.stdin.read()
    finally:
        send(held, signal.SIGCONT)


if __name__ == "__main__":
    main()
