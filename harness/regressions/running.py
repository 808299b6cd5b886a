"""One script in one environment: an empty database on a Postgres that nobody else uses, a limit, and how it ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from psycopg import sql

from harness.environments.accounts import server_account
from harness.environments.components import find_postgres
from harness.environments.leases import RunFolder
from harness.environments.postgres import PostgresServer, connect, start_postgres
from harness.environments.processes import children_of
from harness.regressions.catalogue import Shown

_DATABASE = "regression"
#: After its limit a script is killed with everything that it started.
_END_S = 5.0


@dataclass(frozen=True, slots=True)
class Ended:
    """``said`` is the script's last line, ``took_s`` how long it ran."""

    shown: Shown
    said: str
    took_s: float


@contextmanager
def server() -> Iterator[PostgresServer]:
    """A Postgres that goes with the block."""
    run = RunFolder.create()
    try:
        running = start_postgres(find_postgres(), run, server_account())
        try:
            yield running
        finally:
            _wake(running)
            running.stop()
    finally:
        run.remove()


def run_script(python: Path, script: Path, limit_s: float, postgres: PostgresServer) -> Ended:
    """Run ``script`` as its reader would, bounded; the database is made before and dropped after."""
    name, admin = sql.Identifier(_DATABASE), postgres.admin
    with connect(admin) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(name))
    began_s = time.monotonic()
    try:
        shown, said = _run(python, script, replace(admin, dbname=_DATABASE).conninfo(), limit_s)
        return Ended(shown, said, time.monotonic() - began_s)
    finally:
        _wake(postgres)  # a script that was killed may have left a stopped one, and dropping waits for it
        with connect(admin) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def _run(python: Path, script: Path, dsn: str, limit_s: float) -> tuple[Shown, str]:
    process = subprocess.Popen(
        [str(python), "-W", "ignore", str(script), "--dsn", dsn],
        cwd=script.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**_surroundings(), "LANGGRAPH_STRICT_MSGPACK": "true"},
    )
    try:
        said, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=_END_S)
        return Shown.HANGS, f"still running after {limit_s:g} s"
    lines = [line for line in said.splitlines() if line.strip()] or [""]
    symptoms = [line for line in lines if line.startswith("symptom: ")]
    if process.returncode == 1 and symptoms:
        return Shown.SHOWS, symptoms[-1].removeprefix("symptom: ")
    if process.returncode == 0 and lines[-1] == "no symptom":
        return Shown.DOES_NOT, ""
    return Shown.BROKE, f"exit {process.returncode}: {lines[-1]}"


def _surroundings() -> dict[str, str]:
    """Ours, without what would lead a script to other modules or another server."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PG"))}


def _wake(postgres: PostgresServer) -> None:
    """Let every backend that a script stopped go on."""
    for pid in children_of(postgres.child.pid):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGCONT)
