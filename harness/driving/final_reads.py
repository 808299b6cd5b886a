"""What the database really holds at the end, on the admin endpoint: a fresh agent with a fresh saver, and plain SQL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psycopg
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg.rows import dict_row

from harness.core.agent import AgentUnderTest
from harness.core.facts import Facts, ThreadFacts
from harness.core.redaction import redacted
from harness.driving.sql_reader import Ever, SqlThread, read_thread, table_threads, tree_of, turns_ever
from harness.driving.stored_messages import Said

#: All final reads together may take this long, in seconds.
LIMIT_S = 60.0
_INTERRUPT = "__interrupt__"
#: Where an agent reads its state in a way of its own, plain SQL cannot tell repetitions from quotations.
_READ_ALIKE = ("turn_input", "turns_in", "answers_in", "effects_in")


async def final_reads(
    admin: str,
    threads: Mapping[str, str],
    agents: Mapping[str, Callable[[], AgentUnderTest]],
    turns_of: Mapping[str, Sequence[str]],
) -> Facts:
    """Read every thread that the workload used.

    ``admin`` is the conninfo of the admin endpoint; ``threads`` maps thread to agent name; ``agents`` makes fresh
    agents; ``turns_of`` are the turn ids that were ever sent to each thread. Whatever fails is told in ``problems``,
    and ``complete`` is then false.
    """
    facts: dict[str, ThreadFacts] = {}
    problems: list[str] = []
    tables: tuple[str, ...] = ()
    try:
        async with asyncio.timeout(LIMIT_S):
            async with (
                await psycopg.AsyncConnection.connect(
                    admin, autocommit=True, prepare_threshold=0, row_factory=dict_row
                ) as own,
                await psycopg.AsyncConnection.connect(admin, autocommit=True, prepare_threshold=0) as plain,
            ):
                saver = AsyncPostgresSaver(own)
                fresh = {name: make() for name, make in agents.items()}
                tables = await table_threads(plain)
                for thread, agent in threads.items():
                    used = turns_of.get(thread, ())
                    try:
                        facts[thread] = await _read(saver, plain, thread, fresh[agent], used, thread in tables)
                    except Exception as error:  # noqa: BLE001 - a read that fails is told, and proves nothing
                        problems.append(redacted(f"{thread}: {type(error).__name__}: {error}")[:300])
    except Exception as error:  # noqa: BLE001 - likewise
        problems.append(redacted(f"final reads: {type(error).__name__}: {error}")[:300])
    return Facts(threads=facts, table_threads=tables, problems=tuple(problems), complete=not problems)


async def _read(
    saver: AsyncPostgresSaver,
    plain: psycopg.AsyncConnection[Any],
    thread: str,
    agent: AgentUnderTest,
    used: Sequence[str],
    exists: bool,
) -> ThreadFacts:
    """One thread by both readers."""
    found, sql = await asyncio.gather(  # the one computes while the other's server does
        saver.aget_tuple({"configurable": {"thread_id": thread, "checkpoint_ns": ""}}),
        read_thread(plain, thread) if exists else _nothing(),
    )
    values: Mapping[str, Any] = found.checkpoint["channel_values"] if found else {}
    pending = (found.pending_writes or ()) if found else ()
    interrupts = [item for _, channel, value in pending if channel == _INTERRUPT for item in value]
    turns = tuple(agent.turns_in(values))
    looked = exists and (_strayed(sql) or turns != sql.turns or turns != tuple(used))
    ever = await turns_ever(plain, thread) if looked else Ever(turns, {})
    exact = _exact(agent, sql)
    return ThreadFacts(
        thread=thread,
        agent=agent.name,
        exists=exists,
        turns=turns,
        answers=tuple(agent.answers_in(values)),
        effects=tuple(agent.effects_in(values)),
        problems=tuple(agent.problems_in(values)),
        waiting=tuple(str(interrupt.id) for interrupt in interrupts),
        sql_turns=sql.turns if exact is None else exact.turns,
        history_turns=ever.turns,
        forks=sql.forks,
        orphan_writes=sql.orphan_writes,
        dangling_parents=sql.dangling_parents,
        checkpoints=sql.checkpoints,
        sql_exact=exact is not None,
        sql_answers=() if exact is None else exact.answers,
        sql_effects=() if exact is None else sql.effects or (),
        sql_waiting=sql.waiting,
        pending_turns=sql.pending,
        missing_blobs=sql.missing_blobs,
        tree=tree_of(sql.tree, ever.newest),
    )


async def _nothing() -> SqlThread:
    return SqlThread(said=Said((), ()), effects=())


def _strayed(sql: SqlThread) -> bool:
    """Whether a checkpoint may have come from another thread: one begins the thread, without a parent or with the id
    of a strategy that pins its first turn to "nothing", and a stranger would begin it once more.
    """
    return sql.dangling_parents + sql.roots > 1


def _exact(agent: AgentUnderTest, sql: SqlThread) -> Said | None:
    """What was said, as plain SQL reads it, if this agent's state means what plain SQL takes it for."""
    own = type(agent)
    plain = all(getattr(own, name) is getattr(AgentUnderTest, name) for name in _READ_ALIKE)
    return sql.said if plain and sql.effects is not None else None
