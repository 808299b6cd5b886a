"""Rows 11 to 14: a Postgres that will not start, files that name other people's processes, ports that are taken."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.core.environment import Capability
from harness.core.errors import ComponentError
from harness.environments import postgres, toxiproxy_server
from harness.environments.accounts import Account, server_account
from harness.environments.components import find_postgres, find_toxiproxy
from harness.environments.leases import RunFolder
from harness.environments.processes import Child
from harness.environments.reach import within_reach
from harness.environments.stack import Stack
from tests.fire.ground import PLUGINS, assert_nothing_left, fire, trace_of

PLAIN = frozenset({Capability.POSTGRES, Capability.TOXIPROXY})
SELECTION = (f"{PLUGINS}:STILL", "--strategy", f"{PLUGINS}:PlainPool", "--jobs", "1")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter: servers run as nobody, and pytest's own folders are closed."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def postgres_with(folder: Path, extra: str = "", *, first: str = ":") -> dict[str, str]:
    """The environment that makes a run take a Postgres which is always started with ``extra``, after the command
    ``first``, whose $2 is the data folder.
    """
    real = find_postgres().path
    served = f'{first}; exec {real}/postgres "$@" {extra}'
    scripts = {
        "initdb": f'exec {real}/initdb "$@"',
        "postgres": f'case "$*" in *" -p "*) {served};; esac\nexec {real}/postgres "$@"',
    }
    for name, body in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
        os.utime(folder / name, (0, 0))  # one entry in the cache, not one for each run of this test
    return {"POOLPROOF_POSTGRES_BIN": str(folder)}


@pytest.mark.slow
def test_row_11_the_user_reads_why_postgres_did_not_start(open_folder: Path, tmp_path: Path) -> None:
    environment = postgres_with(open_folder, "-c shared_buffers=nonsense")
    with fire(tmp_path, *SELECTION, environment=environment) as run:
        run.until(lambda: bool(run.slots()))
        trace = run.trace()
        assert run.wait(60) == 4
        assert_nothing_left(trace)
        (complaint,) = (line for line in run.said().splitlines() if line.startswith("error: "))
        assert "Postgres does not start" in complaint
        assert 'invalid value for parameter "shared_buffers": "nonsense"' in complaint
        assert run.record().planned == 1
        assert run.cells() == ()


@pytest.fixture
def template(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The template data folder of this test alone, to be damaged."""
    real = postgres._template
    copy = tmp_path / "template"
    shutil.copytree(real(find_postgres(), server_account()), copy)
    monkeypatch.setattr(postgres, "_template", lambda binaries, account: copy)
    return copy / "data"


@pytest.mark.slow
def test_row_12_a_postgres_that_crashes_in_its_recovery_is_given_up_in_time(open_folder: Path, tmp_path: Path) -> None:
    """Its write-ahead log is gone whenever it starts: it finds no checkpoint to recover from."""
    environment = postgres_with(open_folder, first='rm -f "$2"/pg_wal/0*')
    began_s = time.monotonic()
    with fire(tmp_path, *SELECTION, environment=environment) as run:
        run.until(lambda: bool(run.slots()))
        trace = run.trace()
        assert run.wait(60) == 4
        assert time.monotonic() - began_s < postgres.START_LIMIT_S
        assert_nothing_left(trace)
        (complaint,) = (line for line in run.said().splitlines() if line.startswith("error: "))
        assert "Postgres does not start" in complaint
        assert "checkpoint record" in run.said()
        assert run.record().planned == 1
        assert run.cells() == ()


@pytest.mark.slow
def test_row_13_a_stale_pid_file_that_names_a_stranger_harms_nobody(template: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        (template / "postmaster.pid").write_text(f"{stranger.pid}\n{template}\n1\n5432\n\n127.0.0.1\n1 1\nready   \n")
        stack = Stack.open(needs=PLAIN)
        try:
            assert stack.trouble() == ""
        finally:
            stack.close()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait(5)


class Thief:
    """Takes each port between its choice and the server's bind, ``times`` times, and listens there."""

    def __init__(self, times: int) -> None:
        self.left = times
        self.tries = 0
        self.taken: list[socket.socket] = []

    def before(self, start: Callable[..., Child]) -> Callable[..., Child]:
        """``start`` after the theft of the port that is among its arguments."""

        def robbed(name: str, argv: list[str], **options: object) -> Child:
            self.tries += 1
            if self.left:
                self.left -= 1
                self.steal(argv)
            return start(name, argv, **options)

        return robbed

    def steal(self, argv: list[str]) -> None:
        """Listen on the port that a server is about to bind."""
        (flag,) = (number for number, word in enumerate(argv) if word in ("-p", "-port"))
        thief = socket.socket()
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", int(argv[flag + 1])))
        thief.listen()
        self.taken.append(thief)

    def close(self) -> None:
        for thief in self.taken:
            thief.close()


def start_one(server: str, run: RunFolder, account: Account) -> Callable[[], None]:
    """Start the server named; what stops it again."""
    if server == "postgres":
        return postgres.start_postgres(within_reach(find_postgres(), run, account), run, account).stop
    return toxiproxy_server.start_toxiproxy(within_reach(find_toxiproxy(print), run, account), run, account).stop


@pytest.mark.slow
@pytest.mark.parametrize("server", ["postgres", "toxiproxy"])
@pytest.mark.parametrize(("thefts", "tries"), [(2, 3), (9, 5)])
def test_row_14_a_stolen_port_is_replaced_at_most_four_times(
    server: str, thefts: int, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    thief = Thief(thefts)
    module = postgres if server == "postgres" else toxiproxy_server
    monkeypatch.setattr(module, "start", thief.before(module.start))
    before = trace_of(os.getpid()).pids
    run = RunFolder.create()
    try:
        if thefts < tries:
            start_one(server, run, server_account())()
        else:
            with pytest.raises(ComponentError, match=r"(?s)does not start; end of its log:.*ddress already in use"):
                start_one(server, run, server_account())
        assert thief.tries == tries
        assert trace_of(os.getpid()).pids - before == set()
    finally:
        thief.close()
        run.remove()
