"""A password that would be recognised anywhere goes through every way of failing: it is found nowhere afterwards.

What is looked for is the middle of the password, which no way of escaping changes; so the search shares nothing with
the code that hides.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

import harness.campaign
from harness.cli import main
from harness.environments import leases
from tests.security.user_server import UserServer, make_role

pytestmark = [pytest.mark.slow, pytest.mark.proof]

ROOT = Path(__file__).resolve().parent.parent.parent
PLUGIN = ROOT / "tests" / "plugins" / "secretive.py"
MIDDLE = "zQ7canary7Qz"
CANARY = f"a'b\"{MIDDLE}\\n/%@: ä"
QUOTED = quote(CANARY, safe="")
_LIMIT_S = 300.0
_RUN = ["run", f"{PLUGIN}:QUIET", "--agent", "SupervisorAgent", "--jobs", "1", "--strategy", "naive_recreate"]
_TELLTALES = [
    part for name in ("RaisesIt", "SaysItEverywhere", "DiesWithIt") for part in ("--strategy", f"{PLUGIN}:{name}")
]


@dataclass
class Watched:
    """A command that ran: what it said, where the canary was seen in the process list meanwhile, and the run folders
    that it had.
    """

    pid: int = 0
    status: int = -1
    said: str = ""
    seen: set[str] = field(default_factory=set)
    looks: int = 0
    folders: set[Path] = field(default_factory=set)


def places_in(folder: Path) -> list[str]:
    """The files under ``folder`` that hold the canary, in their names or in what they say."""
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if MIDDLE in path.name or (path.is_file() and MIDDLE.encode() in path.read_bytes())
    ]


def look_at_processes(watched: Watched, done: threading.Event) -> None:
    """Read what every other process of the machine shows of its arguments and its environment, until it is done."""
    own = str(os.getpid())
    while not done.is_set():
        for process in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ") if process.name != own else ():
                with contextlib.suppress(OSError):
                    if MIDDLE.encode() in (process / name).read_bytes():
                        watched.seen.add(f"{name} of {(process / 'comm').read_text().strip()}")
        watched.folders |= {path for path in _run_folders() if _is_below(path, watched.pid)}
        watched.looks += 1
        done.wait(0.05)


def _run_folders() -> Iterator[Path]:
    for base in ("/tmp", "/dev/shm"):
        yield from Path(base).glob(f"{leases.PREFIX}*")


def _is_below(folder: Path, pid: int) -> bool:
    """True if the folder belongs to this process, or to one below it."""
    with contextlib.suppress(OSError, ValueError):
        owner = int(json.loads((folder / "lease.json").read_text())["pid"])
        return pid == owner or pid in _ancestors(owner)
    return False


def watched_run(args: list[str], cwd: Path, *, env: dict[str, str] | None = None, kill: str = "") -> Watched:
    """Run the command line in a process of its own; ``kill`` names a server below it that dies after two seconds, or is
    SIGINT, which then comes two seconds after the first server.
    """
    watched, done = Watched(), threading.Event()
    looking = threading.Thread(target=look_at_processes, args=(watched, done))
    looking.start()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", "import sys; from harness.cli import main; sys.exit(main())", *args],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            watched.pid = process.pid
            if kill == "SIGINT":
                _kill_below(process.pid, "postgres", victim=process.pid, number=signal.SIGINT)
            elif kill:
                _kill_below(process.pid, kill)
            raw, _ = process.communicate(timeout=_LIMIT_S)
            watched.status, watched.said = process.returncode, raw.decode(errors="replace")
    finally:
        done.set()
        looking.join()
    return watched


def _kill_below(pid: int, name: str, *, victim: int = 0, number: signal.Signals = signal.SIGKILL) -> None:
    """Wait for a server of this name below ``pid``, and two seconds more; then signal it, or ``victim``."""
    deadline = time.monotonic() + 120.0
    while time.monotonic() < deadline:
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if name in (process / "comm").read_text() and pid in _ancestors(int(process.name)):
                    time.sleep(2.0)
                    os.kill(victim or int(process.name), number)
                    return
        time.sleep(0.1)
    raise AssertionError(f"no {name} was started below {pid}")


def _ancestors(pid: int) -> Iterator[int]:
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        yield pid


@pytest.fixture
def own_passwords(tmp_path: Path) -> dict[str, str]:
    """Every Python process below has the canary for each password that it draws; ours of this kind are long."""
    folder = tmp_path / "site"
    folder.mkdir()
    words = f"import secrets\nsecrets.token_urlsafe = lambda *_: {CANARY!r}\n"
    (folder / "sitecustomize.py").write_text(words.replace(MIDDLE, f"{MIDDLE[:5]}' + '{MIDDLE[5:]}"), encoding="utf-8")
    return {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}


@pytest.fixture
def canary_target(testing: UserServer) -> tuple[str, str]:
    """A role whose password is the canary, its marked database, and the DSN."""
    user = f"canary{time.monotonic_ns() % 10**9}"
    make_role(testing, user, "CREATEDB", CANARY)
    name = testing.make_database(f"chaos_{user}", user)
    dsn = testing.dsn(name, user=user, password=QUOTED)
    with psycopg.connect(dsn):
        pass
    assert main(["init-target", dsn]) == 0
    return name, dsn


def assert_clean(watched: Watched, *folders: Path) -> None:
    assert MIDDLE not in watched.said
    assert not [folder for folder in watched.folders if folder.exists()], "where servers had their files"
    assert watched.seen == set()
    for folder in folders:
        assert places_in(folder) == []


@pytest.mark.parametrize("kill", ["", "toxiproxy", "postgres", "pgbouncer", "SIGINT"])
def test_the_passwords_of_our_own_servers(kill: str, own_passwords: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    pooled = ["--strategy", "pgbouncer_session"] if kill in ("pgbouncer", "SIGINT") else []
    done = watched_run([*_RUN, *_TELLTALES, *pooled, "--out", str(out)], tmp_path, env=own_passwords, kill=kill)
    assert done.status in ((130,) if kill == "SIGINT" else (1, 4)), done.said
    assert done.looks > 20
    assert done.folders
    logs = [path.read_text(errors="replace") for path in out.rglob("output.log")]
    told = [log for log in logs if "bare write" in log]
    if kill != "SIGINT":
        assert len(told) == 2 if not kill else told, "the canary was on its way there"
    assert all("***" in log for log in told)
    assert_clean(done, out)


def test_the_password_of_a_target(canary_target: tuple[str, str], tmp_path: Path) -> None:
    name, dsn = canary_target
    place = tmp_path / "place"
    place.mkdir()
    file = place / "dsn"
    file.touch(mode=0o600)
    file.write_text(dsn)
    out = tmp_path / "out"
    own = ["--target-dsn", f"@{file}", "--i-own-this-database", name]
    done = watched_run([*_RUN, *_TELLTALES, *own, "--out", str(out)], tmp_path)
    assert done.status in (1, 4), done.said
    histories = [path.read_text() for path in out.rglob("history.jsonl")]
    assert sum("***" in history for history in histories) >= 2, "the canary was on its way there"
    assert_clean(done, out)
    again = watched_run(["report", str(out)], tmp_path)
    assert again.status == done.status
    assert_clean(again, out)


#: Ways to fail before anything starts; P stands for the password, PORT for the server's.
_WRONG = {
    "a broken escape": ["run", "--i-own-this-database", "chaos_x", "--target-dsn", "postgresql://u:P%zz@127.0.0.1:1/chaos_x"],
    "a bad port": ["run", "--i-own-this-database", "chaos_x", "--target-dsn", "postgresql://u:P@127.0.0.1:no/chaos_x"],
    "a service of that name": ["init-target", "service=postgresql://u:P@h/chaos_x"],
    "nobody listens": ["init-target", "postgresql://u:P@127.0.0.1:1/chaos_x"],
    "no such host": ["init-target", "postgresql://u:P@no.such.host.invalid/chaos_x"],
    "a password that is wrong": ["init-target", "postgresql://nobody:P@127.0.0.1:PORT/chaos_x"],
    "keywords": ["init-target", "host=127.0.0.1 port=PORT user=nobody password=P dbname=chaos_x"],
    "a misspelt option": ["run", "--target-dns=postgresql://u:P@h/d"],
    "as a scenario": ["run", "postgresql://u:P@h/d"],
    "as a strategy": ["run", "--strategy", "postgresql://u:P@h/d"],
    "as a cell": ["replay", "host=h password=P"],
    "as a run": ["report", "postgresql://u:P@h/d"],
    "as a seed": ["run", "--seed", "postgresql://u:P@h/d"],
    "as a folder": ["run", "network/steady", "--strategy", "x", "--out", "/proc/postgresql://u:P@h/d"],
}  # fmt: skip


@pytest.mark.parametrize("how", _WRONG)
def test_what_is_wrong_is_told_without_it(
    how: str, testing: UserServer, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    args = [
        arg.replace("P@", f"{QUOTED}@")
        .replace("P%", f"{QUOTED}%")
        .replace("=P", f"={QUOTED}")
        .replace("PORT", str(testing.port))
        for arg in _WRONG[how]
    ]
    args = [arg.replace(f"{QUOTED}ORT", str(testing.port)) for arg in args]
    assert any(MIDDLE in arg for arg in args)
    assert main(args) == 2
    said = capfd.readouterr()
    assert MIDDLE not in said.out + said.err
    assert said.err.startswith(("error: ", "Usage: "))
    assert "Traceback" not in said.err
    assert places_in(tmp_path) == []


def test_a_bug_of_our_own_is_told_without_it(
    canary_target: tuple[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, dsn = canary_target

    def fails(plan: harness.campaign.Plan, **_: object) -> None:
        assert plan.target is not None
        raise RuntimeError(f"cannot use {plan.target.endpoint.conninfo()!r} of {dsn}")

    monkeypatch.setattr(harness.campaign, "run_campaign", fails)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    assert main(["run", "network/steady", "--target-dsn", dsn, "--i-own-this-database", name]) == 70
    said = capfd.readouterr()
    assert "poolproof itself failed: RuntimeError: cannot use" in said.err
    (file,) = tmp_path.glob("poolproof-bug-*.txt")
    assert "Traceback" in file.read_text()
    assert "***" in file.read_text()
    assert MIDDLE not in said.out + said.err
    assert places_in(tmp_path) == []


def test_what_was_typed_does_not_stay_in_the_process_list(canary_target: tuple[str, str], tmp_path: Path) -> None:
    """From the first thing on that the command does: what came before is the shell's."""
    name, dsn = canary_target
    code = (
        "import sys, time, harness.cli.targets as t; from harness.cli import main;"
        "t.target_of = lambda *a, **k: (print('ready', flush=True), time.sleep(60)); sys.exit(main())"
    )
    args = ["run", "network/steady", f"--target-dsn={dsn}", "--i-own-this-database", name]
    with subprocess.Popen(
        [sys.executable, "-c", code, *args],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        finally:
            process.kill()
    assert MIDDLE.encode() not in line
    assert b"--target-dsn=***" in line
    assert b"--i-own-this-database\0" in line
