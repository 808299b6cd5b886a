"""Starting and ending components as child processes that cannot outlive us.

A bare postmaster survives its parent. Here the kernel sends each child its death signal when the harness ends, however
that happens (PR_SET_PDEATHSIG, set after the change of user, because that change clears it). The signal goes out when
the parent *thread* ends, so children are started from the main thread only. A child has its own session, its own log
file (an orphan that held a CI step's pipe would hang that step), no inherited descriptor and a clean environment: no
PG* variable and no proxy setting of the user reaches it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.core.errors import ComponentError
from harness.environments.accounts import Account

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True)
_POLL_S = 0.005
_KILL_LIMIT_S = 3.0
_HARD_EXTRA_S = 3.0
_LOG_TAIL = 12


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment of a component: nothing of the user's, C locale, UTC."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", **extra}


def start_ticks(pid: int) -> int | None:
    """When process ``pid`` started, in clock ticks since boot; None if it is not there or only a zombie.

    Together with the pid this names a process for good: pids are used again, this pair is not (within one boot).
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def die_with(parent: int, death_signal: signal.Signals) -> None:
    """Have the kernel send this process ``death_signal`` when its parent ends; end at once if it already has."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(death_signal))
    if os.getppid() != parent:  # it died before the call above
        os._exit(1)


def adopt_orphans() -> None:
    """Have the kernel make this process the parent of every orphan below it, so that none of them gets away."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def children_of(parent: int) -> frozenset[int]:
    """The direct children of a process, zombies too."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended just now
        if int(fields[1]) == parent:
            found.add(int(entry.parent.name))
    return frozenset(found)


def end_children(parent: int, *, spared: frozenset[int]) -> int:
    """Kill every child of this process, ``parent``, that is not ``spared``, and the orphans that come of it; how many.

    Bounded. Call it where :func:`adopt_orphans` was called before.
    """
    ended = 0
    stop_s = time.monotonic() + _KILL_LIMIT_S
    while (left := children_of(parent) - spared) and time.monotonic() < stop_s:
        for pid in left:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                ended += os.waitpid(pid, os.WNOHANG)[0] == pid
        time.sleep(_POLL_S)
    return ended


@dataclass(slots=True)
class Child:
    """One running component."""

    name: str
    popen: subprocess.Popen[bytes]
    ticks: int
    log: Path
    stop_signal: signal.Signals
    hard_signal: signal.Signals
    log_begin: int = 0

    @property
    def pid(self) -> int:
        return self.popen.pid

    def alive(self) -> bool:
        """True while it runs; right in forked children too, where it is nobody's child."""
        return start_ticks(self.pid) == self.ticks

    def tail(self) -> str:
        """The last lines of its log, without those of a process that wrote there before."""
        try:
            text = self.log.read_bytes()[self.log_begin :].decode(errors="replace")
        except OSError as error:
            return f"(no log: {error})"
        return "\n".join(text.splitlines()[-_LOG_TAIL:]) or "(its log is empty)"

    def stop(self, limit_s: float) -> None:
        """Ask, wait ``limit_s``, insist, and at last kill its whole session. Bounded; idempotent.

        A postmaster that was told to stop at once kills stubborn backends itself, but only after 5 s: killed before
        that it would leave them behind.
        """
        for number, patience_s in ((self.stop_signal, limit_s), (self.hard_signal, limit_s + _HARD_EXTRA_S)):
            if self.popen.poll() is None:
                self.popen.send_signal(number)
                self.popen.send_signal(signal.SIGCONT)  # a stopped process would not see it
            if self._ended_within(patience_s):
                return
        if self.popen.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            if not self._ended_within(_KILL_LIMIT_S):
                raise ComponentError(f"{self.name} (pid {self.pid}) does not end, not even by SIGKILL")

    def _ended_within(self, limit_s: float) -> bool:
        try:
            self.popen.wait(limit_s)
        except subprocess.TimeoutExpired:
            return False
        return True


def start(
    name: str,
    argv: Sequence[str],
    *,
    log: Path,
    cwd: Path,
    account: Account,
    environment: Mapping[str, str],
    stop_signal: signal.Signals = signal.SIGTERM,
    death_signal: signal.Signals = signal.SIGKILL,
) -> Child:
    """Start ``argv`` as a child of the main thread. Raises ComponentError if it cannot be executed."""
    assert threading.current_thread() is threading.main_thread(), "components are started from the main thread only"
    as_root = os.geteuid() == 0
    try:
        with log.open("ab") as sink:
            log_begin = sink.tell()
            popen = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=dict(environment),
                close_fds=True,
                start_new_session=True,
                user=account.uid if as_root else None,
                group=account.gid if as_root else None,
                extra_groups=[] if as_root else None,
                preexec_fn=partial(die_with, os.getpid(), death_signal),  # noqa: PLW1509 - runs after the change of user
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise ComponentError(f"{name} cannot be started: {' '.join(argv)}: {error}") from error
    return Child(name, popen, start_ticks(popen.pid) or 0, log, stop_signal, death_signal, log_begin)


def wait_until(ready: Callable[[], bool], child: Child, limit_s: float) -> bool:
    """Wait for ``ready``; False as soon as the child has ended. Raises ComponentError after ``limit_s``."""
    deadline = time.monotonic() + limit_s
    while not ready():
        if not child.alive():
            return False
        if time.monotonic() > deadline:
            raise ComponentError(f"{child.name} is not ready after {limit_s:g} s; end of its log:\n{child.tail()}")
        time.sleep(_POLL_S)
    return True


def command(
    argv: Sequence[str],
    *,
    limit_s: float,
    account: Account | None = None,
    environment: Mapping[str, str] | None = None,
    cwd: Path | str = "/",
) -> str:
    """Run a short command to its end and return what it printed.

    Raises ComponentError if it fails or takes longer than ``limit_s``; PermissionError and FileNotFoundError pass
    through, for callers that probe.
    """
    other = account if account is not None and account.uid != os.geteuid() else None
    main = threading.current_thread() is threading.main_thread()
    with subprocess.Popen(
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(clean_environment() if environment is None else environment),
        cwd=cwd,
        start_new_session=True,
        user=other.uid if other else None,
        group=other.gid if other else None,
        extra_groups=[] if other else None,
        preexec_fn=partial(die_with, os.getpid(), signal.SIGKILL) if main else None,  # noqa: PLW1509
    ) as process:
        try:
            raw, _ = process.communicate(timeout=limit_s)
        except BaseException as error:  # also when interrupted: its children must not live on
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise ComponentError(f"{' '.join(argv)} had not ended after {limit_s:g} s") from error
            raise
    output = raw.decode(errors="replace")
    if process.returncode != 0:
        tail = "\n".join(output.splitlines()[-_LOG_TAIL:])
        raise ComponentError(f"{' '.join(argv)} failed with status {process.returncode}:\n{tail}")
    return output
