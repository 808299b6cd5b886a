"""The way between a replica and the database in memory: it takes time, and calls go wrong on it as a plan says.

What the server was asked to do it does, also when the one who asked has gone: as Postgres does with a statement whose
client died.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from random import Random
from typing import Any, TypeVar

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

from tests.oracle.plans import Trouble

_T = TypeVar("_T")
_LOST = "server closed the connection unexpectedly"
#: How long a stalled call takes, and how late at most the server does what it was asked for, in virtual seconds.
STALL_S = 30.0
LATEST_S = 0.4


class Wire:
    """One for the run. ``troubles`` maps a saver call's number to what happens to it; ``at_call`` hears of each."""

    def __init__(self, rng: Random, troubles: Mapping[int, Trouble], at_call: Callable[[int], None]) -> None:
        self._rng = rng
        self._troubles = troubles
        self._at_call = at_call
        self._numbers = itertools.count()
        self._serving: set[asyncio.Task[Any]] = set()
        self.met: list[Trouble] = []
        #: What tasks of a dead process wait for: they do nothing any more until the run is over.
        self.never = asyncio.Event()

    async def ask(self, work: Callable[[], _T]) -> _T:
        """Have the server do ``work``; gives its answer, or raises as the plan says."""
        number = next(self._numbers)
        self._at_call(number)
        trouble = self._troubles.get(number)
        way_s = self._rng.uniform(0.0002, 0.004)
        if trouble is not None:
            self.met.append(trouble)
        never = trouble is Trouble.REFUSED or (trouble is Trouble.STALLS and self._rng.random() < 0.5)
        way_back_s = STALL_S if trouble is Trouble.STALLS else way_s
        if never:
            await asyncio.sleep(way_back_s)
            raise psycopg.OperationalError(_LOST)
        serving = self._serve(work, self._rng.uniform(0.01, LATEST_S) if trouble is Trouble.LATE else way_s)
        if trouble is Trouble.LATE:
            await asyncio.sleep(way_s)
            raise psycopg.OperationalError(_LOST)
        answer = await self._patiently(serving, way_back_s)
        if trouble is Trouble.ANSWER_LOST:
            raise psycopg.OperationalError(_LOST)
        return answer

    def _serve(self, work: Callable[[], _T], after_s: float) -> asyncio.Task[_T]:
        async def serve() -> _T:
            await asyncio.sleep(after_s)
            return work()

        task = asyncio.ensure_future(serve())
        self._serving.add(task)
        return task

    async def _patiently(self, serving: asyncio.Task[_T], way_back_s: float) -> _T:
        """Wait for the answer. One who stops waiting leaves a request that the server may still do, or never got."""
        try:
            answer = await asyncio.shield(serving)
            await asyncio.sleep(way_back_s)
        except asyncio.CancelledError:
            if self._rng.random() < 0.5:
                serving.cancel()
            raise
        return answer

    async def quiet(self) -> None:
        """Wait until the server has done all that it ever will; raises what went wrong there: a bug of these tests."""
        for done in await asyncio.gather(*self._serving, return_exceptions=True):
            if isinstance(done, Exception):
                raise done


class WireSaver(BaseCheckpointSaver[str]):
    """What a replica holds: every call goes over the wire to the one saver behind it."""

    def __init__(self, behind: BaseCheckpointSaver[str], wire: Wire) -> None:
        super().__init__(serde=behind.serde)
        self._behind = behind
        self._wire = wire
        self._dead = False

    def die(self) -> None:
        """The process is gone: what it has not sent it never will, and it hears no answer."""
        self._dead = True

    async def _ask(self, work: Callable[[], _T]) -> _T:
        if self._dead:
            await self._wire.never.wait()
        try:
            return await self._wire.ask(work)
        finally:
            if self._dead:
                await self._wire.never.wait()

    def get_next_version(self, current: str | None, channel: None) -> str:
        """As the saver behind does."""
        return self._behind.get_next_version(current, channel)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Over the wire."""
        return await self._ask(lambda: self._behind.get_tuple(config))

    async def aput(self, config: RunnableConfig, checkpoint: Any, metadata: Any, new_versions: Any) -> RunnableConfig:
        """Over the wire."""
        return await self._ask(lambda: self._behind.put(config, checkpoint, metadata, new_versions))

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Over the wire."""
        await self._ask(lambda: self._behind.put_writes(config, writes, task_id, task_path))

    async def adelete_thread(self, thread_id: str) -> None:
        """Over the wire."""
        await self._ask(lambda: self._behind.delete_thread(thread_id))

    async def alist(self, config: RunnableConfig | None, **kwargs: Any) -> AsyncIterator[CheckpointTuple]:
        """Over the wire, in one answer."""
        for item in await self._ask(lambda: list(self._behind.list(config, **kwargs))):
            yield item
