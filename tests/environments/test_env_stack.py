"""Stacks and cells: what they give, and that nothing of them is left."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psycopg
import pytest

from harness.core.environment import Capability
from harness.core.errors import MissingComponent, UsageError
from harness.environments.cell import CellEnvironment
from harness.environments.processes import start_ticks
from harness.environments.stack import Stack
from harness.environments.toxiproxy import ToxiproxyClient

TABLES = "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'checkpoint%'"


def running_below(owner: int) -> set[int]:
    """Pids of all living processes whose chain of parents leads to ``owner``."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and start_ticks(int(entry.name)) is not None:
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found = {owner}
    while grown := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= grown
    return found - {owner}


async def one_value(conninfo: str, query: str) -> object:
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        row = await (await connection.execute(query)).fetchone()
    assert row is not None
    return row[0]


def proxy_names(environment: CellEnvironment) -> tuple[str, ...]:
    with contextlib.closing(ToxiproxyClient(*environment.proxy.api)) as client:
        return client.proxy_names()


def program(body: str) -> subprocess.Popen[str]:
    """A harness of its own; it prints what the test reads."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(body)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )


async def test_a_cell_has_the_savers_tables_and_its_own_names(cell_env: CellEnvironment) -> None:
    assert await one_value(cell_env.conninfo("g0"), TABLES) == 4
    assert await one_value(cell_env.conninfo("g1"), "SHOW application_name") == cell_env.application_name("g1")
    assert await one_value(cell_env.conninfo("g0"), "SHOW is_superuser") == "off"
    assert await one_value(cell_env.admin.conninfo(), "SHOW is_superuser") == "on"
    assert cell_env.capabilities == {Capability.POSTGRES, Capability.TOXIPROXY}
    assert {"postgres", "toxiproxy"} <= set(cell_env.logs)
    assert all(path.is_file() for path in cell_env.logs.values())


async def test_agents_may_run_setup_again(cell_env: CellEnvironment) -> None:
    """One of the post's habits: every instance migrates. The tables are the agents' own, as in a service."""
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

    async with AsyncPostgresSaver.from_conn_string(cell_env.conninfo("g0")) as saver:
        await saver.setup()
        newest = len(saver.MIGRATIONS) - 1
    assert await one_value(cell_env.admin.conninfo(), "SELECT max(v) FROM checkpoint_migrations") == newest


async def test_backends_are_counted_per_group(cell_env: CellEnvironment) -> None:
    assert cell_env.backends() == {"g0": (), "g1": ()}
    async with (
        await psycopg.AsyncConnection.connect(cell_env.conninfo("g0")) as first,
        await psycopg.AsyncConnection.connect(cell_env.conninfo("g0")) as second,
    ):
        pids = tuple(sorted((first.info.backend_pid, second.info.backend_pid)))
        assert cell_env.backends() == {"g0": pids, "g1": ()}
        assert await cell_env.leftover_backends(("g0", "g1")) == {"g0": 2, "g1": 0}
        await first.execute("SELECT pg_advisory_lock(7)")
        left = await cell_env.leftovers()
        assert [text.partition(" of ")[0] for text in left] == [
            f"backend {first.info.backend_pid}",
            "advisory lock",
        ]
    assert await cell_env.leftovers() == ()


async def test_cells_do_not_see_each_other(stack: Stack) -> None:
    async with stack.cell("a", groups=("g0",)) as first, stack.cell("b", groups=("g0",)) as second:
        async with await psycopg.AsyncConnection.connect(first.conninfo("g0"), autocommit=True) as connection:
            await connection.execute("CREATE TABLE mine ()")
            assert second.backends() == {"g0": ()}
        assert await one_value(second.conninfo("g0"), "SELECT to_regclass('mine')") is None
        await first.proxy.set_enabled(False)
        assert await one_value(second.conninfo("g0"), "SELECT 1") == 1


async def test_a_cell_leaves_nothing_behind(stack: Stack, cell_env: CellEnvironment) -> None:
    async with stack.cell("gone", groups=("g0",)) as environment:
        abandoned = await psycopg.AsyncConnection.connect(environment.conninfo("g0"))
    with pytest.raises(psycopg.OperationalError):
        await abandoned.execute("SELECT 1")
    await abandoned.close()
    left = f"SELECT count(*) FROM pg_database WHERE datname = '{environment.admin.dbname}'"
    assert await one_value(cell_env.admin.conninfo(), left) == 0
    assert environment.proxy.name not in proxy_names(cell_env)


async def test_a_cancelled_cell_is_taken_down_too(stack: Stack, cell_env: CellEnvironment) -> None:
    entered: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        async with stack.cell("cancelled", groups=("g0",)) as environment:
            entered.set_result(environment.admin.dbname)
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    name = await entered
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()  # an impatient second one
    with pytest.raises(asyncio.CancelledError):
        await task
    left = f"SELECT count(*) FROM pg_database WHERE datname = '{name}'"
    assert await one_value(cell_env.admin.conninfo(), left) == 0


async def test_foreign_postgres_variables_are_ignored(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = {
        "PGHOSTADDR": "192.0.2.1",
        "PGOPTIONS": "-c work_mem=nonsense",
        "PGSERVICE": "nowhere",
        "PGSSLMODE": "require",
    }
    for name, value in foreign.items():
        monkeypatch.setenv(name, value)
    async with stack.cell("env", groups=("g0",)) as environment:
        assert await one_value(environment.conninfo("g0"), "SELECT 1") == 1
        assert environment.backends().keys() == {"g0"}  # the last one's backend may still be about to end
    assert {name: os.environ.get(name) for name in foreign} == foreign


def test_unknown_environment_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="environment is 'cloud'; allowed: auto, local, containers"):
        Stack.open("cloud")


@pytest.mark.slow
def test_a_stack_leaves_no_process_and_no_folder() -> None:
    before = running_below(os.getpid())
    stack = Stack.open(needs=frozenset({Capability.POSTGRES, Capability.TOXIPROXY}))
    folder = stack.folder
    assert len(running_below(os.getpid()) - before) >= 2
    assert stack.dead() == ()
    assert "not asked for" in str(stack.missing[Capability.PGBOUNCER_SESSION])
    stack.close()
    stack.close()
    assert running_below(os.getpid()) == before
    assert not folder.exists()


@pytest.mark.slow
def test_dead_servers_are_named() -> None:
    stack = Stack.open(needs=frozenset())
    try:
        (toxiproxy,) = (pid for pid in running_below(os.getpid()) if owner_of(stack, pid) == "Toxiproxy")
        os.kill(toxiproxy, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while not stack.dead() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert stack.dead() == ("Toxiproxy",)
    finally:
        stack.close()


def owner_of(stack: Stack, pid: int) -> str | None:
    """The name under which the stack's run folder knows this pid."""
    path = stack.folder / "pids" / f"{pid}.json"
    return str(json.loads(path.read_text())["name"]) if path.is_file() else None


@pytest.mark.slow
def test_sigkill_of_the_owner_ends_every_server() -> None:
    """Also those of a cell in a forked child: a bare postmaster would outlive its parent."""
    owner = program("""
        import asyncio, os, sys, time
        from harness.environments.stack import Stack
        from harness.core.environment import Capability
        stack = Stack.open()
        async def main():
            pooler = next(iter(sorted(stack.capabilities & {Capability.PGBOUNCER_SESSION})), None)
            async with stack.cell("x", groups=("g0",), pooler=pooler):
                os.write(1, f"{stack.folder}\\n".encode())
                await asyncio.sleep(60)
        if os.fork() == 0:
            try: asyncio.run(main())
            finally: os._exit(0)
        time.sleep(60)
    """)
    assert owner.stdout is not None
    folder = Path(owner.stdout.readline().strip())
    doomed = running_below(owner.pid)
    cell = next(pid for pid in doomed if parent_of(pid) == owner.pid and "-c" in cmdline(pid))
    assert len(doomed) > 5, "Postgres with its helpers, Toxiproxy, the cell"
    os.kill(owner.pid, signal.SIGKILL)
    os.kill(cell, signal.SIGKILL)  # the slot's own watch does this in a campaign
    owner.wait(5)
    owner.stdout.close()
    deadline = time.monotonic() + 5
    while (alive := {pid for pid in doomed if start_ticks(pid) is not None}) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert alive == set()
    assert folder.is_dir(), "nobody was left to remove it"
    Stack.open(needs=frozenset()).close()
    assert not folder.exists(), "the next start removes what the dead left"


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def cmdline(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


@pytest.mark.slow
def test_a_forked_child_uses_the_stack_but_cannot_close_it() -> None:
    stack = Stack.open(needs=frozenset({Capability.POSTGRES, Capability.TOXIPROXY}))
    try:
        for _ in range(2):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    asyncio.run(_use(stack))
                    stack.close()
                    status = 0
                finally:
                    os._exit(status)
            assert os.waitpid(child, 0)[1] == 0
            assert stack.dead() == ()
    finally:
        stack.close()


async def _use(stack: Stack) -> None:
    async with stack.cell("forked", groups=("g0",)) as environment:
        assert await one_value(environment.conninfo("g0"), "SELECT 1") == 1
        assert stack.dead() == ()


@pytest.mark.slow
async def test_what_a_killed_cell_left_is_removed_by_the_next(stack: Stack) -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(_report_and_die(stack, write))
        finally:
            os._exit(1)
    os.close(write)
    with os.fdopen(read) as pipe:
        database, proxy = pipe.readline().split()
    await asyncio.to_thread(os.waitpid, child, 0)
    async with stack.cell("next", groups=("g0",)) as environment:
        left = f"SELECT count(*) FROM pg_database WHERE datname = '{database}'"
        assert await one_value(environment.admin.conninfo(), left) == 0
        assert proxy not in proxy_names(environment)


async def _report_and_die(stack: Stack, pipe: int) -> None:
    async with stack.cell("killed", groups=("g0",)) as environment:
        os.write(pipe, f"{environment.admin.dbname} {environment.proxy.name}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give servers another user")
@pytest.mark.slow
def test_as_root_the_servers_run_unprivileged() -> None:
    stack = Stack.open(needs=frozenset({Capability.POSTGRES, Capability.TOXIPROXY}))
    try:
        servers = [pid for pid in running_below(os.getpid()) if owner_of(stack, pid)]
        assert len(servers) == 2
        for pid in servers:
            status = Path(f"/proc/{pid}/status").read_text()
            uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
            groups = next(line for line in status.splitlines() if line.startswith("Groups:")).split()[1:]
            assert "0" not in uids
            assert groups == []
            foreign = [name for name in environ(pid) if name.startswith("PG") or "proxy" in name.lower()]
            assert foreign == []
            assert {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (1, 2)} <= {str(p) for p in stack.logs.values()}
    finally:
        stack.close()


def environ(pid: int) -> list[str]:
    return [entry.partition("=")[0] for entry in Path(f"/proc/{pid}/environ").read_text().split("\0") if entry]


async def test_a_pooler_that_is_missing_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("POOLPROOF_PGBOUNCER", str(tmp_path / "nothing"))
    stack = Stack.open()
    try:
        with pytest.raises(MissingComponent, match=r"POOLPROOF_PGBOUNCER is .*, which is no file that can be run"):
            async with stack.cell("x", groups=("g0",), pooler=Capability.PGBOUNCER_SESSION):
                pass
    finally:
        stack.close()
