"""Every script that stands alone shows its symptom on a real Postgres, and does not with its cure."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from harness.cli.reproducing import script, script_alone, script_of, scripts_alone
from harness.core.environment import Capability
from harness.environments.cell import CellEnvironment
from harness.environments.stack import Stack
from harness.registry import default_registry, reproducers
from tests.requirements import skip_without

pytestmark = pytest.mark.proof

SCENARIOS = default_registry().scenarios
#: Those of scenarios, and those of incidents that have none.
SCRIPTS = [path.stem for path in sorted(reproducers().glob("i_*.py")) if f"incidents/{path.stem}" in SCENARIOS]
ALONE = scripts_alone()
LIMIT_S = 180.0
#: What a script prints is what the user of the report saw; where that is a silence, it says so in its own words.
OWN_WORDS = {
    "i_19_check_is_not_bounded": r"getconn\(timeout=1\) took [4-9]\.\d s",
    "i_20_timeout_does_not_fire": r"wait_for\(read, 1\) took [4-9]\.\d s",
    "i_14_waits_add_up": r"users waited 1\.\d, 2\.\d, 3\.\d, 4\.\d, 5\.\d s",
    "i_17_unlocked_start": "5 agents, the pool is closed, and 16 connections are open",
    "i_37_two_replicas": "two turns were answered, stored is {'(one|two)'}",
    "i_34_answer_not_stored": "steps were shown to the user",
    "i_13_one_saver_serialises": "8 readers, a pool of 8: 1 connections lent, 0 more asked for",
}
#: What a script needs that the shared server is not.
TLS = ("i_05_tls_closed_while_idle", "i_06_tls_bad_length")
POOLED = ("i_27_prepared_behind_pooler",)
#: The same of those without a scenario.
ALONE_WORDS = {
    "i_35_save_never_reported": "the caller read ValueError.*, and of its save nothing",
    "i_36_node_runs_twice": "after the crash these ran: .*step_1.*step_2",
    "i_38_run_without_a_trace": "a run that was accepted left no trace",
    "i_39_deleted_comes_back": r"the thread was deleted, and has \d checkpoints",
    "i_41_older_checkpoint_changed": "the older ones hold what came later",
    "i_42_nul": "UntranslatableCharacter: unsupported Unicode escape sequence",
    "i_44_backlog_of_saves": r"\d+ saves were waiting behind one graph of 50 steps",
}


async def run(text: str, folder: Path, *arguments: str) -> tuple[int | None, str]:
    """Run it as its reader would, away from our own folder: the exit status, and all that it printed."""
    file = folder / "repro.py"
    file.write_text(text, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(file), *arguments, cwd=folder,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        said, _ = await asyncio.wait_for(process.communicate(), LIMIT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, said.decode()


@asynccontextmanager
async def ground(stem: str, stack: Stack) -> AsyncIterator[str]:
    """An empty database as this script needs it; skipped with the reason where a component is missing."""
    pooler = Capability.PGBOUNCER_TRANSACTION if stem in POOLED else None
    needs = frozenset({Capability.POSTGRES_TLS}) if stem in TLS else frozenset()
    skip_without(stack, *needs, *([pooler] if pooler else []))
    if pooler is None:
        async with stack.cell("script", groups=("g0",), needs=needs) as cell_env, empty_database(cell_env) as dsn:
            yield dsn
        return
    settings = {"max_prepared_statements": "0"}
    async with stack.cell("script", groups=("g0",), pooler=pooler, settings=settings) as cell_env:
        async with await psycopg.AsyncConnection.connect(cell_env.admin.conninfo(), autocommit=True) as admin:
            # the pooler knows one database, and the harness has made the saver's tables there
            await admin.execute("DROP TABLE checkpoint_migrations, checkpoints, checkpoint_blobs, checkpoint_writes")
        yield cell_env.conninfo("g0")


@asynccontextmanager
async def empty_database(cell_env: CellEnvironment) -> AsyncIterator[str]:
    """A database of the agents' role with nothing in it, as a script asks for; its DSN."""
    name = "empty_for_a_script"
    async with await psycopg.AsyncConnection.connect(cell_env.admin.conninfo(), autocommit=True) as admin:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 OWNER {cell_env.endpoint.user}")
        try:
            yield replace(cell_env.endpoint, dbname=name).conninfo()
        finally:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.slow
@pytest.mark.parametrize("stem", SCRIPTS)
async def test_the_symptom_shows_and_the_cure_cures(stem: str, stack: Stack, tmp_path: Path) -> None:
    scenario = SCENARIOS[f"incidents/{stem}"]
    assert scenario.incident is not None
    # the numbers in a symptom are the scenario's, the words are the user's
    words = OWN_WORDS.get(stem) or re.sub(r"\d+\\\.\d+", r"[\\d.]+", scenario.incident.symptom)
    assert words
    await shown_and_cured(script(scenario, script_of(scenario)), words, stem, stack, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("stem", ALONE)
async def test_so_it_is_where_there_is_no_scenario(stem: str, stack: Stack, tmp_path: Path) -> None:
    await shown_and_cured(script_alone(ALONE[stem]), ALONE_WORDS[stem], stem, stack, tmp_path)


async def shown_and_cured(text: str, words: str, stem: str, stack: Stack, tmp_path: Path) -> None:
    async with ground(stem, stack) as dsn:
        status, said = await run(text, tmp_path, "--dsn", dsn)
    assert status == 1, said
    assert re.search(r"^symptom: ", said, re.MULTILINE), said
    assert re.search(words, said), said
    async with ground(stem, stack) as dsn:
        status, said = await run(text, tmp_path, "--dsn", dsn, "--cure")
    assert (status, said.splitlines()[-1]) == (0, "no symptom"), said


@pytest.mark.slow
async def test_without_a_dsn_it_brings_its_own_postgres(tmp_path: Path) -> None:
    scenario = default_registry().scenario("incidents/i_01_pool_recreated")
    status, said = await run(script(scenario, script_of(scenario)), tmp_path)
    assert status == 1, said
    assert "symptom: PoolClosed: the pool 'pool-1' is already closed" in said
