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

from harness.cli.reproducing import script, script_of
from harness.environments.cell import CellEnvironment
from harness.registry import default_registry, reproducers

SCRIPTS = sorted(path.stem for path in reproducers().glob("i_*.py"))
LIMIT_S = 180.0
#: What a script prints is what the user of the report saw; where that is a silence, it says so in its own words.
OWN_WORDS = {
    "i_19_check_is_not_bounded": r"getconn\(timeout=1\) took [4-9]\.\d s",
    "i_20_timeout_does_not_fire": r"wait_for\(read, 1\) took [4-9]\.\d s",
    "i_14_waits_add_up": r"users waited 1\.\d, 2\.\d, 3\.\d, 4\.\d, 5\.\d s",
    "i_34_answer_not_stored": "steps were shown to the user",
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
async def test_the_symptom_shows_and_the_cure_cures(stem: str, cell_env: CellEnvironment, tmp_path: Path) -> None:
    scenario = default_registry().scenario(f"incidents/{stem}")
    assert scenario.incident is not None
    text = script(scenario, script_of(scenario))
    async with empty_database(cell_env) as dsn:
        status, said = await run(text, tmp_path, "--dsn", dsn)
    assert status == 1, said
    assert re.search(r"^symptom: ", said, re.MULTILINE), said
    # the numbers in a symptom are the scenario's, the words are the user's
    words = OWN_WORDS.get(stem) or re.sub(r"\d+\\\.\d+", r"[\\d.]+", scenario.incident.symptom)
    assert words
    assert re.search(words, said), said
    async with empty_database(cell_env) as dsn:
        status, said = await run(text, tmp_path, "--dsn", dsn, "--cure")
    assert (status, said.splitlines()[-1]) == (0, "no symptom"), said


@pytest.mark.slow
async def test_without_a_dsn_it_brings_its_own_postgres(tmp_path: Path) -> None:
    scenario = default_registry().scenario("incidents/i_01_pool_recreated")
    status, said = await run(script(scenario, script_of(scenario)), tmp_path)
    assert status == 1, said
    assert "symptom: PoolClosed: the pool 'pool-1' is already closed" in said
