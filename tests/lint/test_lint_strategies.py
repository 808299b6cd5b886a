"""Our own strategies under the lint: each control is flagged for what it deserves, and no candidate is flagged."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache
from pathlib import Path

import pytest

from harness.lint import LintFinding, lint
from harness.lint.checks import CHECKS
from harness.registry import CANDIDATE, default_registry, is_compared, is_planted, role_of

ROOT = Path(__file__).resolve().parents[2]

#: What the settings or the source of each control show.
DESERVED: dict[str, set[str]] = {
    "naive_recreate": {"setup_everywhere"},
    "graceful_degradation": {"setup_everywhere"},
    "instance_tracking_naive": {"setup_everywhere"},
    "pool_reference_naive": {"setup_everywhere"},
    "shared_saver": {"shared_saver"},
    "error_in_group": {"setup_everywhere"},
    "error_in_reply": {"setup_everywhere"},
    "error_wrapped": {"setup_everywhere"},
    "pool_per_request": {"connection_sum"},
    "recreate_storm": {"connection_sum"},
    "check_on_checkout": {"check_deadline"},
    "prepared_behind_pooler": {"prepare_threshold"},
    "setup_by_every_agent": {"setup_everywhere"},
    "single_connection": {"single_connection"},
    "timeout_of_asyncio": {"asyncio_deadline"},
}
#: Controls whose mistake is in what they do at run time, and no setting: running them shows it.
NOT_A_SETTING = {
    "best_effort_saver": "it drops a save that failed",
    "blind_retry": "it sends a turn again without asking what is stored",
    "forgotten_task": "nobody asks how a task ended",
    "kept_connection": "it does not give a connection back",
    "memory_fallback": "it acknowledges what only memory holds",
    "skewed_clock": "a clock is wrong",
    "two_writers": "nothing locks a conversation",
    "unreleased_lock": "a lock is not released",
}


def strategies(role: str) -> list[str]:
    return [name for name, strategy in default_registry().strategies.items() if role_of(strategy) == role]


@pytest.mark.parametrize("name", strategies(CANDIDATE))
def test_no_candidate_is_flagged(name: str) -> None:
    assert lint(name).findings == ()


@pytest.mark.parametrize("name", sorted(DESERVED))
def test_each_control_is_flagged_for_what_it_deserves(name: str) -> None:
    assert {finding.check for finding in lint(name).findings} == DESERVED[name]


@pytest.mark.parametrize("name", sorted(NOT_A_SETTING))
def test_a_mistake_that_is_no_setting_is_not_guessed(name: str) -> None:
    assert lint(name).findings == ()


def test_every_control_that_is_compared_or_planted_is_decided() -> None:
    ours = {
        name
        for name, strategy in default_registry().strategies.items()
        if role_of(strategy) != CANDIDATE and (is_compared(strategy) or is_planted(strategy))
    }
    assert ours <= {*DESERVED, *NOT_A_SETTING}, "say what the lint should find in it"


@cache
def all_findings() -> list[LintFinding]:
    old = {"psycopg": "3.2.0", "psycopg-pool": "3.2.0"}
    wrong = lint(f"{Path(__file__).parent / 'wrong_service.py'}:pool", versions=old).findings
    return [*wrong, *(finding for name in sorted(DESERVED) for finding in lint(name).findings)]


def test_every_finding_says_everything_and_names_incidents_that_there_are() -> None:
    catalogue = (ROOT / "docs" / "incidents.md").read_text(encoding="utf-8")
    known: Collection[str] = default_registry().scenarios
    for finding in all_findings():
        assert finding.what
        assert finding.value
        assert finding.allowed
        assert finding.fix
        assert bool(finding.incidents) is not bool(finding.mode)
        assert finding.incidents or finding.scenarios
        assert Path(finding.where.file).is_file() or finding.check == "versions"
        assert finding.where.line or finding.check == "versions"
        for incident in finding.incidents:
            assert re.search(rf"\| {incident} \|", catalogue) or re.fullmatch(r"[\w-]+/[\w-]+#\d+", incident), incident
        assert set(finding.scenarios) <= set(known)


def test_every_check_is_seen_at_work() -> None:
    assert {finding.check for finding in all_findings()} == {check.__name__ for check in CHECKS}


STRATEGY = """
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg_pool import AsyncConnectionPool
from harness import PoolStrategy

class Mine(PoolStrategy):
    name = "mine"

    def __init__(self, database):
        super().__init__(database)
        {made}

    async def checkpointer(self, agent):
        {saver}

    async def recreate(self):
        {renew}

    async def open(self):
        {start}
"""


@pytest.mark.parametrize(
    ("part", "checks"),
    [
        ({}, set()),
        ({"made": "self.pool = database.pool(max_size=25, min_size=1)"}, {"connection_sum"}),
        ({"made": "self.pools = [database.pool(min_size=5) for _ in range(5)]"}, {"connection_sum"}),
        ({"made": "self.pool = AsyncConnectionPool(database.conninfo, open=False)"}, {"autocommit"}),
        (
            {"made": "self.pool = AsyncConnectionPool('host=db', open=False, kwargs={'autocommit': True})"},
            {"connect_timeout"},
        ),
        ({"saver": "return AsyncPostgresSaver(self.database.pool(min_size=1, max_size=4))"}, set()),
        ({"saver": "return AsyncPostgresSaver(self.database.pool(min_size=5))"}, {"connection_sum"}),
        ({"saver": "return AsyncPostgresSaver(self.database.pool())"}, set()),
        ({"saver": "self.saver = AsyncPostgresSaver(self.pool); return self.saver"}, set()),
        (
            {"saver": "if not hasattr(self, 's'): self.s = AsyncPostgresSaver(self.pool)\n        return self.s"},
            {"shared_saver"},
        ),
        ({"saver": "return SAVER"}, {"shared_saver"}),
        ({"saver": "return self.savers[agent.replica]"}, set()),
        ({"renew": "await self.pool.open(True)"}, {"open_wait"}),
        ({"renew": "await self.open()", "start": "await self.pool.wait()"}, {"open_wait"}),
        ({"start": "await self.pool.open(wait=True)"}, set()),
        ({"renew": "import asyncio; await asyncio.wait({self.pool.drain()})"}, set()),
        (
            {"start": "self.p = self.database.pool(min_size=1, check=AsyncConnectionPool.check_connection)"},
            {"check_deadline"},
        ),
        ({"start": "self.p = self.database.pool(min_size=1, kwargs={'autocommit': False})"}, {"autocommit"}),
        ({"start": "self.p = self.database.pool(**self.settings)"}, set()),
        ({"start": "await AsyncPostgresSaver(self.pool).setup()"}, {"setup_everywhere"}),
        (
            {"start": "await self.ask('SELECT pg_try_advisory_lock(1)'); await AsyncPostgresSaver(self.pool).setup()"},
            set(),
        ),
        (
            {"start": "await self.ask('SELECT pg_advisory_lock(1)'); await AsyncPostgresSaver(self.pool).setup()"},
            {"setup_everywhere"},
        ),
    ],
)
def test_a_strategy_of_ones_own(part: dict[str, str], checks: set[str], tmp_path: Path) -> None:
    right = {
        "made": "self.pool = database.pool(min_size=1, max_size=2)",
        "saver": "return AsyncPostgresSaver(self.pool)",
        "renew": "await self.pool.drain()",
        "start": "await self.pool.open()",
    }
    (tmp_path / "mine.py").write_text(STRATEGY.format(**{**right, **part}))
    report = lint(f"{tmp_path}/mine.py:Mine")
    assert {finding.check for finding in report.findings} == checks
    assert all(finding.where.line for finding in report.findings)


def test_waiting_for_an_advisory_lock_is_worse_than_none(tmp_path: Path) -> None:
    """docs/incidents.md, I-12: it stands still for ever."""
    (tmp_path / "mine.py").write_text(
        STRATEGY.format(
            made="pass",
            saver="return AsyncPostgresSaver(self.pool)",
            renew="pass",
            start="await self.ask('SELECT pg_advisory_lock(1)')\n        await self.saver.setup()",
        )
    )
    (finding,) = lint(f"{tmp_path}/mine.py:Mine").findings
    assert "waits for ever" in finding.what
