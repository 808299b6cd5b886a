"""Run folders, and clearing up after runs that could not.

Each stack lives in a folder of its own under the temp dir. ``lease.json`` in it names the owner (pid, start time, boot
id); ``pids/`` names every server started from there. Whoever starts next removes the folders of dead owners and ends
what is left of their servers: by pid and start time, never by name, and only in folders of the same user.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.environments.processes import Child, start_ticks

PREFIX = "poolproof-"

_MEMORY = Path("/dev/shm")  # noqa: S108 - mkdtemp makes the folder itself
_ROOM_BYTES = 2 << 30
#: Servers whose owner died have so long to end by themselves, in seconds.
_PATIENCE_S = 2.0
_POLL_S = 0.01


def boot_id() -> str:
    """Changes with every boot of the machine; empty where the kernel does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def pid_namespace() -> str:
    """Within which pids mean something; empty where the kernel does not tell."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folders of one stack, and the process that they belong to.

    ``path`` holds logs, pids and configuration; binaries in it can be run. ``fast`` is for Postgres's data: in memory
    where /dev/shm has room (making a file there costs a fiftieth of what a busy disk takes), else inside ``path``.
    """

    path: Path
    fast: Path
    owner: int

    @classmethod
    def create(cls) -> RunFolder:
        """Make them in the first places that servers can reach, after clearing up what dead runs left there."""
        clear_up()
        path = _leased_folder(reachable_temp_dir())
        (path / "pids").mkdir()
        fast = _leased_folder(_MEMORY) if memory_has_room() else path
        return cls(path, fast, os.getpid())

    def record(self, child: Child) -> None:
        """Remember a server, so that the next start can end it if we cannot."""
        draft = self.path / "pids" / f".{child.pid}"
        draft.write_text(json.dumps({"name": child.name, "pid": child.pid, "start_ticks": child.ticks}))
        draft.rename(self.path / "pids" / f"{child.pid}.json")

    def remove(self) -> None:
        """Delete it; nothing in a forked child, which does not own it."""
        if os.getpid() == self.owner:
            for folder in (self.fast, self.path):
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder under the temp dir for slow work; if we are killed in the middle, the next start removes it."""
    path = _leased_folder(reachable_temp_dir())
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def clear_up() -> None:
    """Remove what dead runs left in every place where run folders are made."""
    for place in {reachable_temp_dir(), _MEMORY}:
        reap(place)


def reap(base: Path) -> tuple[Path, ...]:
    """Remove the run folders under ``base`` whose owner is dead, with their servers; returns what was removed."""
    removed = []
    for path in base.glob(f"{PREFIX}*"):
        try:
            info = path.lstat()
            if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid():
                continue
            lease = json.loads((path / "lease.json").read_text())
            if lease["boot_id"] == boot_id():
                if lease["pid_namespace"] != pid_namespace():
                    continue  # a container that shares this folder: its pids say nothing here
                if start_ticks(lease["pid"]) == lease["start_ticks"]:
                    continue
                _end_servers(path)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # being made or removed just now, or none of ours
        shutil.rmtree(path, ignore_errors=True)
        removed.append(path)
    return tuple(removed)


def _end_servers(folder: Path) -> None:
    """End those that still run. The kernel told them to end with their owner: they get a moment to do so in order."""
    stop_s = time.monotonic() + _PATIENCE_S
    for entry in (folder / "pids").glob("*.json"):
        server = json.loads(entry.read_text())
        while start_ticks(server["pid"]) == server["start_ticks"]:
            if time.monotonic() > stop_s:
                os.killpg(server["pid"], signal.SIGKILL)  # each server leads a session of its own
                break
            time.sleep(_POLL_S)


def _leased_folder(base: Path) -> Path:
    path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    path.chmod(0o755)
    lease = {
        "pid": os.getpid(),
        "start_ticks": start_ticks(os.getpid()),
        "boot_id": boot_id(),
        "pid_namespace": pid_namespace(),
    }
    draft = path / "lease.draft"
    draft.write_text(json.dumps(lease))
    draft.rename(path / "lease.json")
    return path


def memory_has_room() -> bool:
    """True if /dev/shm is there and has room for several stacks (containers often give it 64 MB only)."""
    try:
        room = os.statvfs(_MEMORY)
    except OSError:
        return False
    return os.access(_MEMORY, os.W_OK | os.X_OK) and room.f_bavail * room.f_frsize >= _ROOM_BYTES


def reachable_temp_dir() -> Path:
    """The temp dir, unless an unprivileged server could not get there (a 0700 folder on the way)."""
    chosen = Path(tempfile.gettempdir()).absolute()
    for base in (chosen, Path("/tmp"), Path("/var/tmp")):  # noqa: S108 - mkdtemp makes the folder itself
        if os.geteuid() != 0 or all(p.stat().st_mode & stat.S_IXOTH for p in (base, *base.parents) if p.exists()):
            return base
    return chosen
