"""What ``poolproof doctor`` says: what is here, which version, why it was chosen, and what to do about the rest.

Nothing is built, downloaded or started: what the first run would do is only announced.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.core.errors import ComponentError, MissingComponent
from harness.environments import pgbouncer_package, toxiproxy_build
from harness.environments.cache import cache_root
from harness.environments.components import (
    PGBOUNCER_VARIABLE,
    TOXIPROXY_VARIABLE,
    Component,
    find_pgbouncer,
    find_postgres,
    find_toxiproxy,
)
from harness.environments.leases import memory_has_room, reachable_temp_dir
from harness.environments.processes import command
from harness.environments.tls import find_tls_postgres

#: The oldest versions that Poolproof is right on, and why.
_PACKAGES = (
    ("psycopg", (3, 3, 9), "older ones do not end a cancelled query in a black hole"),
    ("psycopg-pool", (3, 3, 3), "the pools under test are its"),
    ("langgraph", (1, 2, 15), "the agents are its graphs"),
    ("langgraph-checkpoint", (4, 3), "its savers are under test"),
    ("langgraph-checkpoint-postgres", (3, 2), "its savers are under test"),
    ("toxiproxy-python", (0, 1, 1), "the client of Toxiproxy"),
    ("testcontainers", (4, 15), "needed for --environment containers only"),
)
_DOCKER_LIMIT_S = 5.0
_MEGABYTE = 1 << 20
_ROOM_MB = 500


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's report.

    ``ok`` is false when something needs doing before every cell can run; ``fix`` says what, and is also filled with
    what the first run will do by itself. ``found`` is false for what is not there.
    """

    name: str
    ok: bool
    found: bool
    version: str
    where: str
    chosen_by: str
    fix: str


def diagnose() -> tuple[Check, ...]:
    """All checks; takes well under a second. Never raises for what it finds."""
    return (
        _python(),
        *(_package(name, least, why) for name, least, why in _PACKAGES),
        _component("postgres", find_postgres, available=False),
        _component(
            "toxiproxy",
            lambda: find_toxiproxy(_silent, build=False),
            available=TOXIPROXY_VARIABLE not in os.environ and toxiproxy_build.possible(),
        ),
        _component(
            "pgbouncer",
            lambda: find_pgbouncer(_silent, download=False),
            available=PGBOUNCER_VARIABLE not in os.environ and pgbouncer_package.possible(),
        ),
        _tls_postgres(),
        _small_disk(),
        _docker(),
        _cores(),
        _room("temp dir", reachable_temp_dir()),
        _room("cache", cache_root()),
        _memory(),
    )


def _silent(_: str) -> None:
    """Nothing slow happens here, so there is nothing to note."""


def _python() -> Check:
    version = ".".join(str(part) for part in sys.version_info[:3])
    ok = sys.version_info >= (3, 11) and sys.platform == "linux"
    return Check("python", ok, True, version, sys.executable, "", "" if ok else "use Python 3.11 or newer on Linux")


def _package(name: str, least: tuple[int, ...], why: str) -> Check:
    wanted = ".".join(str(part) for part in least)
    fix = f"pip install --upgrade '{name}>={wanted}' ({why})"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, False, False, "", "", "", fix)
    ok = tuple(int(part) for part in re.findall(r"\d+", version)[: len(least)]) >= least
    return Check(name, ok, True, version, "", f">= {wanted}", "" if ok else fix)


def _component(name: str, find: Callable[[], Component], *, available: bool) -> Check:
    """A component that is not there is no fault when it is ``available``: the first run gets it by itself."""
    try:
        found = find()
    except MissingComponent as error:
        return Check(name, available, False, "", "", "" if available else str(error), error.fix)
    except ComponentError as error:
        return Check(name, False, False, "", "", str(error), "choose another one, or unset the variable")
    return Check(name, True, True, found.version, str(found.path), found.chosen_by, "")


def _tls_postgres() -> Check:
    """For information: the scenarios that need it are SKIP without."""
    name, use = "postgres with TLS", "only for scenarios with TLS"
    try:
        found = find_tls_postgres()
    except MissingComponent as error:
        return Check(name, True, False, "", "", f"{use}: {error}", error.fix)
    except ComponentError as error:
        return Check(name, True, False, "", "", f"{use}: {error}", "choose another one, or unset the variable")
    return Check(name, True, True, found.version, str(found.path), f"{use}; {found.chosen_by}", "")


def _small_disk() -> Check:
    """For information, likewise: only root may mount a disk that is quickly full."""
    root = os.geteuid() == 0
    fix = "" if root else "run as root: only root may mount one"
    return Check("small disk", True, root, "a tmpfs" if root else "", "", "only for scenarios with a full disk", fix)


def _docker() -> Check:
    """For information: the default environment needs no Docker."""
    client = shutil.which("docker")
    if client is None:
        return Check("docker", True, False, "", "", "only for --environment containers", "")
    try:
        version = command(
            [client, "version", "--format", "{{.Server.Version}}"],
            limit_s=_DOCKER_LIMIT_S,
            environment={"PATH": os.environ.get("PATH", os.defpath), **_docker_variables()},
        )
    except (ComponentError, OSError):
        return Check("docker", True, False, "", client, "only for --environment containers: no engine answers", "")
    return Check("docker", True, True, version.strip(), client, "only for --environment containers", "")


def _docker_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("DOCKER_") or name == "HOME"}


def _cores() -> Check:
    count = len(os.sched_getaffinity(0))
    fix = "" if count >= 2 else "with one core, latencies say little; use two or more"
    return Check("cores", count >= 2, True, str(count), "", "", fix)


def _room(name: str, folder: Path) -> Check:
    place = folder
    while not place.exists():
        place = place.parent
    free_mb = shutil.disk_usage(place).free // _MEGABYTE
    writable = os.access(place, os.W_OK | os.X_OK)
    variable = "POOLPROOF_CACHE" if name == "cache" else "TMPDIR"
    ok = writable and free_mb >= _ROOM_MB
    problem = f"only {free_mb} MB are free there" if writable else "it cannot be written"
    fix = "" if ok else f"{problem}: set {variable} to a folder with {_ROOM_MB} MB"
    return Check(name, ok, folder.exists(), f"{free_mb} MB free", str(folder), "", fix)


def _memory() -> Check:
    """For information: Postgres's data lies in memory where /dev/shm has room."""
    there = memory_has_room()
    where = "/dev/shm" if there else tempfile.gettempdir()  # noqa: S108 - only named here
    reason = (
        "it lies in memory" if there else "/dev/shm has no 2 GB to spare, so it lies on disk"  # noqa: S108
    )
    return Check("data folder", True, there, "", where, reason, "")
