"""The final reads of a run in memory: the real code of both readers, on what the saver behind the wire holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from langgraph.checkpoint.memory import InMemorySaver

from harness.core.agent import AgentUnderTest
from harness.core.facts import Facts
from harness.driving.final_reads import _read
from harness.driving.sql_reader import table_threads
from tests.oracle.memory_tables import MemoryTables


async def final_facts(
    stored: InMemorySaver,
    threads: Mapping[str, str],
    agents: Mapping[str, Callable[[], AgentUnderTest]],
    turns_of: Mapping[str, Sequence[str]],
) -> Facts:
    """What ``stored`` holds, as ``driving.final_reads`` tells it; a wrong saver's own way of reading is left out."""
    fresh = InMemorySaver()
    fresh.storage, fresh.writes, fresh.blobs = stored.storage, stored.writes, stored.blobs
    saver, plain = cast("Any", fresh), cast("Any", MemoryTables(stored))
    tables = await table_threads(plain)
    facts = {
        thread: await _read(saver, plain, thread, agents[agent](), turns_of.get(thread, ()), thread in tables)
        for thread, agent in threads.items()
    }
    return Facts(threads=facts, table_threads=tables)
