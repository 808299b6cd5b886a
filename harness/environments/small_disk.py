"""A disk of a few hundred megabytes for one data folder: a tmpfs, which only root may mount."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from harness.core.errors import ComponentError, MissingComponent
from harness.environments.processes import command

SIZE_MIB = 320
_BALLAST = "poolproof_ballast"
_STEP_LIMIT_S = 10.0
_CHUNK_BYTES = 1 << 20


def no_small_disk(why: str) -> MissingComponent:
    """Why SMALL_DISK is not offered."""
    return MissingComponent(
        f"no small disk for the data folder: {why}",
        "run as root on a machine that lets root mount a tmpfs (a container needs CAP_SYS_ADMIN)",
    )


def mount(folder: Path) -> None:
    """Mount one there, a folder that exists. Raises MissingComponent where that is not allowed."""
    options = f"size={SIZE_MIB}m,mode=0700"
    try:
        command(["mount", "-t", "tmpfs", "-o", options, "poolproof", str(folder)], limit_s=_STEP_LIMIT_S)
    except (ComponentError, OSError) as error:
        raise no_small_disk(str(error)) from error


def unmount(folder: Path) -> None:
    """Take it away, also while it is in use. Nothing to do where nothing is mounted."""
    if os.path.ismount(folder):
        command(["umount", "--lazy", str(folder)], limit_s=_STEP_LIMIT_S)


def fill(folder: Path) -> int:
    """Write until the disk that ``folder`` is on has no room; returns how many bytes that took."""
    written = 0
    with (folder / _BALLAST).open("ab", buffering=0) as ballast:
        size = _CHUNK_BYTES
        while size >= 4096:
            try:
                os.posix_fallocate(ballast.fileno(), written, size)
                written += size
            except OSError:
                size //= 2
    return written


def room_bytes(folder: Path) -> int:
    """What an ordinary user could still write there."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def free(folder: Path) -> None:
    """Take the ballast away. Idempotent."""
    (folder / _BALLAST).unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Delete the folder, and what is mounted below it."""
    for place in (folder, *sorted(folder.glob("*"))):
        unmount(place)
    shutil.rmtree(folder, ignore_errors=True)
