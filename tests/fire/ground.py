"""What the tests of this folder stand on: a real ``poolproof run`` as a user starts it, and what it must not leave."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.core.record import CellResult
from harness.environments import leases
from harness.selection import ci_requires_all
from harness.store import RunRecord, load_cells, read_history, read_record

ROOT = Path(__file__).resolve().parents[2]
SHORT = ROOT / "tests" / "plugins" / "short.py"
PLUGINS = ROOT / "tests" / "plugins" / "fire.py"
POOLPROOF = (sys.executable, "-c", "import sys; from harness.cli import main; sys.exit(main())")

#: Whatever a run started has ended so long after the run has, in seconds.
GONE_S = 5.0
START_LIMIT_S = 120.0


@dataclass(slots=True)
class Trace:
    """What a run had alive at one moment: processes, ports that they listened on, run folders."""

    pids: set[int]
    ports: set[int]
    folders: set[Path]


@dataclass(slots=True)
class Fire:
    """One ``poolproof run``: its process, its folder, and the file that got everything it printed."""

    process: subprocess.Popen[bytes]
    out: Path
    log: Path

    def said(self) -> str:
        """Everything that the user saw."""
        return self.log.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, limit_s: float) -> int:
        """The exit status; the user saw no traceback on the way there."""
        status = self.process.wait(limit_s)
        assert "Traceback" not in self.said(), self.said()[-4000:]
        return status

    def until(self, true: Callable[[], bool], limit_s: float = START_LIMIT_S) -> None:
        """Wait for something; fail with the log if the run ends before, or after ``limit_s``."""
        stop_s = time.monotonic() + limit_s
        while not true():
            assert self.process.poll() is None, f"the run ended: {self.said()[-4000:]}"
            assert time.monotonic() < stop_s, f"not within {limit_s:g} s: {self.said()[-4000:]}"
            time.sleep(0.05)

    def under_load(self, cells: int = 1) -> Trace:
        """Wait until ``cells`` cells are past their gate, and say what is alive then."""
        self.until(lambda: sum('"drive"' in text for text in self._histories()) >= cells)
        time.sleep(0.5)  # so that every connection stands
        return self.trace()

    def _histories(self) -> Iterator[str]:
        for path in self.out.glob("cells/*/history.jsonl"):
            yield path.read_text()

    def trace(self) -> Trace:
        """What is alive now."""
        return trace_of(self.process.pid)

    def slots(self) -> list[int]:
        """Pids of the slots' processes."""
        family = descendants(self.process.pid)
        slots = {pid for pid in family if "harness.slot_process" in arguments(pid)}
        return sorted(pid for pid in slots if int(stat_fields(pid)[1]) not in slots)

    def record(self) -> RunRecord:
        """``run.json``."""
        return read_record(self.out)

    def cells(self) -> tuple[CellResult, ...]:
        """The judged cells; every history of the run can be read as well."""
        for path in self.out.glob("cells/*/history.jsonl"):
            begun = not (path.parent / "verdict.json").exists()  # killed in its first moments, it may hold no row yet
            assert len(read_history(path)) > 0 or begun
        return load_cells(self.out)

    def summary(self) -> dict[str, object]:
        """``summary.json``; its exit status is the run's own."""
        summary = json.loads((self.out / "summary.json").read_text())
        assert summary["exit"] == self.process.returncode
        return dict(summary)


def trace_of(pid: int) -> Trace:
    """A process and all that it started."""
    pids = descendants(pid)
    return Trace(pids, ports_of(pids), folders_of(pids))


@contextlib.contextmanager
def fire(
    folder: Path,
    *arguments: str,
    environment: dict[str, str] | None = None,
    wrapper: Sequence[str] = (),
    name: str = "out",
    out: Path | None = None,
) -> Iterator[Fire]:
    """``poolproof run ARGUMENTS`` into ``out``, or a folder of this ``name``; ended when the test is over."""
    folder.mkdir(parents=True, exist_ok=True)
    out, log = out or folder / name, folder / f"{name}.log"
    command = [*wrapper, *POOLPROOF, "run", *arguments, "--out", str(out)]
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT), "CI": "", **(environment or {})}
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=surroundings, start_new_session=True
        )
    try:
        yield Fire(process, out, log)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # a wrapper's child, too
            process.wait(GONE_S)


def namespace(*kinds: str, probe: str) -> tuple[tuple[str, ...], str]:
    """How to run a command in namespaces of its own of these kinds, in which the command ``probe`` works, and what to
    put before a command in there so that it has the caller's own user id again: empty for root, who needs no help.

    Anybody else may be root in namespaces alone. Where not even that is allowed, the test fails if CI is set, and is
    skipped if not.
    """
    back = f"unshare --user --map-user={os.geteuid()} --map-group={os.getegid()}"
    said = "there is no unshare on PATH"
    for user, again in (((), ""), (("--user", "--map-root-user"), back)) if shutil.which("unshare") else ():
        unshare = ("unshare", *user, *kinds)
        command = [*unshare, "sh", "-c", f"{probe} && {again} true"]
        tried = subprocess.run(command, capture_output=True, check=False, timeout=10)
        if tried.returncode == 0:
            return unshare, again
        said = tried.stderr.decode(errors="replace").strip()
    words = f"no namespaces ({' '.join(kinds)}) are to be had on this machine: {said}"
    if ci_requires_all():
        pytest.fail(words)
    pytest.skip(words)


def stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def arguments(pid: int) -> list[str]:
    """The command line of a process; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return []


def descendants(pid: int) -> set[int]:
    """The process and everything below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        fields = stat_fields(int(entry.name))
        if fields:
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, queue = {pid}, [pid]
    while queue:
        new = [child for child in children.get(queue.pop(), []) if child not in found]
        found.update(new)
        queue += new
    return found


def children_of(pid: int) -> set[int]:
    """Living children of a process."""
    return {p for p in descendants(pid) if p != pid and stat_fields(p)[1:2] == [str(pid)]}


def alive(pids: set[int]) -> set[int]:
    """Those that still run; a zombie does not."""
    return {pid for pid in pids if (fields := stat_fields(pid)) and fields[0] not in "ZX"}


def server_of(slot: int, program: str) -> int:
    """The pid of a slot's server, by the name of its binary."""
    (found,) = (pid for pid in children_of(slot) if Path(arguments(pid)[0]).name.startswith(program))
    return found


def runs_a_cell(slot: int) -> bool:
    """Whether a slot has a cell: the spare one may have none."""
    return any("harness.slot_process" in arguments(pid) for pid in children_of(slot))


def cell_of(slot: int) -> int:
    """The pid of the cell that a slot runs: its fork, with its command line."""
    (found,) = (pid for pid in children_of(slot) if "harness.slot_process" in arguments(pid))
    return found


def listening() -> dict[str, int]:
    """Inode -> port of every TCP socket that listens on this machine."""
    found = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(FileNotFoundError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A":
                    found[fields[9]] = int(fields[1].rpartition(":")[2], 16)
    return found


def ports_of(pids: set[int]) -> set[int]:
    """On which ports these processes listen."""
    ports = listening()
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for handle in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    inode = os.readlink(handle).removeprefix("socket:[").removesuffix("]")
                    if inode in ports:
                        found.add(ports[inode])
    return found


def folders_of(pids: set[int]) -> set[Path]:
    """Run folders that belong to one of these processes."""
    found = set()
    for base in (Path("/tmp"), Path("/dev/shm")):
        for lease in base.glob(f"{leases.PREFIX}*/lease.json"):
            with contextlib.suppress(OSError, ValueError):
                if json.loads(lease.read_text())["pid"] in pids:
                    found.add(lease.parent)
    return found


def assert_nothing_left(trace: Trace, *, folders: bool = True) -> None:
    """Within five seconds: no process, no listening port and, unless nobody was left to do it, no run folder."""
    stop_s = time.monotonic() + GONE_S
    while (left := _left(trace, folders=folders)) and time.monotonic() < stop_s:
        time.sleep(0.05)
    assert not left, left


def _left(trace: Trace, *, folders: bool) -> list[str]:
    left = [f"process {pid}: {' '.join(arguments(pid))}" for pid in sorted(alive(trace.pids))]
    left += [f"port {port}" for port in sorted(trace.ports & set(listening().values()))]
    return left + ([f"folder {path}" for path in trace.folders if path.exists()] if folders else [])
