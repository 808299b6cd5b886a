"""Machines and users unlike most: it works there, or one line says what to do, before anything is left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from harness.core.verdict import Verdict
from harness.environments import pgbouncer_package, toxiproxy_build
from harness.environments.cache import cache_root
from harness.environments.components import find_pgbouncer, find_postgres, find_toxiproxy
from harness.store import load_cells
from tests.fire.ground import PLUGINS, ROOT, SHORT, Fire, assert_nothing_left, fire, namespace

pytestmark = [pytest.mark.slow, pytest.mark.proof]

NOBODY = 65534
ECHO = ("--agent", f"{SHORT.parent / 'fire_agents.py'}:Echo")
ONE_CELL = (f"{PLUGINS}:STILL", "--strategy", f"{PLUGINS}:PlainPool", "--jobs", "1", *ECHO)
#: What a user may have set for databases of their own; each of these alone would break or divert our connections.
FOREIGN = {
    "PGHOST": "192.0.2.1",
    "PGHOSTADDR": "192.0.2.1",
    "PGPORT": "1",
    "PGUSER": "somebody",
    "PGPASSWORD": "wrong",
    "PGDATABASE": "precious",
    "PGSERVICE": "production",
    "PGOPTIONS": "-c search_path=nowhere -c statement_timeout=1",
    "PGSSLMODE": "verify-full",
    "PGGSSENCMODE": "require",
    "PGCHANNELBINDING": "require",
    "PGREQUIREAUTH": "none",
    "PGTARGETSESSIONATTRS": "standby",
    "PGCLIENTENCODING": "LATIN1",
    "HTTP_PROXY": "http://192.0.2.1:9",
    "http_proxy": "http://192.0.2.1:9",
}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that any user can reach, with what takes long to get (Toxiproxy, PgBouncer) in a cache of its own."""
    find_toxiproxy(print)
    find_pgbouncer(print)
    base = Path(tempfile.mkdtemp(dir="/tmp"))
    base.chmod(0o755)
    for entry in (toxiproxy_build.cached(), pgbouncer_package.cached()):
        if entry is not None:
            kept = cache_root() / entry.relative_to(cache_root()).parts[0]
            shutil.copytree(kept, base / "cache" / kept.name, symlinks=True)
    yield base
    shutil.rmtree(base)


def as_plain_user() -> tuple[str, ...]:
    """How to run a command as a user that is not root; what root alone can read (an interpreter below /root) stays
    readable, and nothing else is allowed to that user.
    """
    if os.geteuid() != 0:
        return ()
    readable = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    return ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *readable)


def owned(path: Path, *, mode: int = 0o755) -> Path:
    """A folder that the plain user owns."""
    path.mkdir(mode=mode, exist_ok=True)
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    return path


@pytest.fixture(scope="module")
def odd_run(folder: Path) -> Iterator[Fire]:
    """A whole run as a plain user: read-only home with password and service files, odd temp dir, foreign variables."""
    home = folder / "home"
    home.mkdir()
    (home / ".pgpass").write_text("*:*:*:*:wrong\n")
    (home / ".pgpass").chmod(0o600)
    (home / ".pg_service.conf").write_text("[production]\nhost=192.0.2.1\nport=1\n")
    if os.geteuid() == 0:
        os.chown(home / ".pgpass", NOBODY, NOBODY)
    home.chmod(0o555)
    odd = owned(folder / f"été mit Leerzeichen {'x' * 120}")
    owned(folder / "work")
    owned(folder / "cache")
    environment = {
        **FOREIGN,
        "HOME": str(home),
        "TMPDIR": str(odd),
        "POOLPROOF_CACHE": str(folder / "cache"),
        "PGPASSFILE": str(home / ".pgpass"),
        "PGSERVICEFILE": str(home / ".pg_service.conf"),
    }
    with fire(folder / "work", *ONE_CELL, environment=environment, wrapper=as_plain_user()) as run:
        trace = run.under_load()
        assert os.geteuid() != 0 or {uid_of(pid) for pid in trace.pids} == {NOBODY}
        run.wait(120)
        assert_nothing_left(trace)
        assert [path for path in odd.iterdir() if path.name.startswith("poolproof")] == []
        yield run


def uid_of(pid: int) -> int:
    """Whose process it is; nobody's, if it just ended."""
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return NOBODY


def assert_sound(run: Fire) -> None:
    (cell,) = run.cells()
    assert cell.verdict is Verdict.PASS, cell.reason
    assert run.summary()["exit"] == 3, "a run of one control alone, in which it is not caught, proves nothing"
    assert (run.out / "report.html").stat().st_size > 10_000


def test_row_33_a_plain_user_with_a_read_only_home_and_an_odd_temp_dir(odd_run: Fire) -> None:
    assert_sound(odd_run)


def test_row_38_postgres_variables_password_and_service_files_of_the_user(odd_run: Fire) -> None:
    assert_sound(odd_run)


def one_line(
    folder: Path, status: int, *, environment: dict[str, str] | None = None, wrapper: Sequence[str] = ()
) -> list[str]:
    """The error lines of a run that could not start: no traceback, nothing left, this exit status."""
    with fire(folder, *ONE_CELL, environment=environment, wrapper=wrapper) as run:
        run.until(lambda: bool(run.slots()) or run.process.poll() is not None)
        trace = run.trace()
        assert run.wait(60) == status, run.said()
        assert_nothing_left(trace)
        lines = run.said().splitlines()
    assert sum(line.startswith("error: ") for line in lines) == 1, lines
    return lines


def test_row_33_a_home_that_cannot_be_written_and_no_other_cache(tmp_path: Path) -> None:
    nowhere = {"HOME": "/proc/nowhere", "POOLPROOF_CACHE": "", "XDG_CACHE_HOME": ""}
    lines = one_line(tmp_path, 4, environment=nowhere)
    (told,) = (line for line in lines if line.startswith("error: "))
    assert "the cache /proc/nowhere/.cache/poolproof cannot be used" in told
    assert "set POOLPROOF_CACHE to a folder that you may write to" in told


def test_row_26_a_limit_of_64_open_files(tmp_path: Path) -> None:
    lines = one_line(tmp_path, 4, wrapper=("bash", "-c", 'ulimit -n 64; exec "$0" "$@"'))
    assert "error: a process may open 64 files here, and a run needs 1024" in lines
    assert any(line.startswith("fix: allow more before starting it: ulimit -n 1024") for line in lines)


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("component", ["missing_postgres", "old_toxiproxy"])
def test_row_34_a_binary_that_is_missing_or_too_old(component: str, tmp_path: Path) -> None:
    old = script(tmp_path / "toxiproxy-server", "echo toxiproxy-server version 2.1.4")
    variable, value, told = {
        "missing_postgres": ("POOLPROOF_POSTGRES_BIN", "/nonexistent", "/nonexistent (POOLPROOF_POSTGRES_BIN) holds"),
        "old_toxiproxy": ("POOLPROOF_TOXIPROXY", str(old), "toxiproxy is 2.1.4"),
    }[component]
    lines = one_line(tmp_path / "run", 4, environment={variable: value})
    assert any(line.startswith(f"error: {told}") for line in lines), lines
    assert any(line.startswith(f"fix: set {variable} to a") for line in lines), lines


def test_row_27_a_postgres_that_takes_too_few_connections(folder: Path, tmp_path: Path) -> None:
    """The real server, told to take 20; the budget of two groups is 48."""
    real = find_postgres().path
    small = folder / "small" / "bin"
    script(small / "postgres", f'exec {real / "postgres"} "$@" -c max_connections=20')
    (small / "initdb").symlink_to(real / "initdb")
    environment = {"POOLPROOF_POSTGRES_BIN": str(small), "POOLPROOF_CACHE": str(folder / "cache")}
    with fire(tmp_path, *ONE_CELL, environment=environment) as run:
        run.until(lambda: bool(run.slots()))
        trace = run.trace()
        assert run.wait(120) == 4
        assert_nothing_left(trace)
        (cell,) = load_cells(run.out)
    assert cell.verdict is Verdict.ERROR
    assert "max_connections of this Postgres is 20, and the plan needs 56: 2 groups x 24 backends" in cell.reason
    assert "+ 5 of the harness + 3 that Postgres keeps for superusers" in cell.reason


def in_a_network_of_its_own(folder: Path, setup: str) -> tuple[str, ...]:
    """How to run a command where /etc/hosts is empty and the network is what ``setup`` makes of it."""
    hosts = folder / "hosts"
    hosts.write_text("")
    unshare, back = namespace("--net", "--mount", probe=setup)
    return (*unshare, "sh", "-c", f'{setup} && mount --bind "{hosts}" /etc/hosts && exec {back} "$0" "$@"')


STACK = """
import asyncio, socket, psycopg
from harness.environments.stack import Stack

async def serves(stack):
    async with stack.cell("odd", groups=("g0",), pooler=None) as environment:
        async with await psycopg.AsyncConnection.connect(environment.conninfo("g0")) as connection:
            return await (await connection.execute("SELECT 1")).fetchone()

try:
    socket.getaddrinfo("localhost", 80)
    raise SystemExit("localhost has an address here")
except OSError:
    pass
stack = Stack.open("local")
print(asyncio.run(serves(stack)))
stack.close()
"""


def test_row_37_no_entry_for_localhost(tmp_path: Path) -> None:
    wrapper = in_a_network_of_its_own(tmp_path, "ip link set lo up")
    done = subprocess.run(
        [*wrapper, sys.executable, "-c", STACK],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "(1,)\n", done.stderr


def test_row_37_a_machine_without_ipv4_loopback_is_told(tmp_path: Path) -> None:
    setup = "ip link set lo up && ip address del 127.0.0.1/8 dev lo"
    lines = one_line(tmp_path / "run", 4, wrapper=in_a_network_of_its_own(tmp_path, setup))
    assert any(line.startswith("error: no port of 127.0.0.1 is to be had: ") for line in lines), lines
    assert any(line.startswith("fix: give the loopback interface its address") for line in lines)
