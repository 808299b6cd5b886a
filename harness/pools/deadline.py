"""Deadlines that really end: for a whole request, and for each call that a saver makes to the database.

``asyncio.timeout`` cancels once and then waits for as long as the cancelled code likes. On a connection whose peer
stays silent psycopg likes 5 to 10 seconds (it asks the server to cancel the query, and waits for the answer), and a
LangGraph run waits for all its background saves. A second cancellation, a moment later, makes psycopg close the socket
at once. So: cancel, wait 0.25 s, cancel again, a bounded number of times, and then give up on it.

It needs psycopg 3.3.9 or newer. Copy this file into your service together with the strategy that you chose.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from contextvars import ContextVar, copy_context
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from langgraph.checkpoint.base import copy_checkpoint
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg.errors import ReadOnlySqlTransaction

from .writable import TakesNoWrites, reading

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import CheckpointTuple
    from psycopg import AsyncCursor
    from psycopg.rows import DictRow

logger = logging.getLogger("poolproof.pools.deadline")

T = TypeVar("T")

#: How long a cancellation may take effect before the next one is sent. A second one sent at once would interrupt code
#: that is just about to end well.
PAUSE_S = 0.25
#: How many are sent: one for psycopg's query, one for its attempt to cancel on the server, one for each level of nested
#: graphs that waits for its background saves.
CANCELS = 20
#: How long after the deadline the caller still waits for the step to end; then it is left to die by itself.
GIVE_UP_S = 1.25

#: What a strategy keeps of a request's deadline for its own ending.
MARGIN_S = 0.3
#: Bound of each maintenance call on a pool: opening, draining, resizing.
STEP_S = 2.0

#: Steps that were given up on. The loop keeps only weak references to tasks; one that is collected while it is pending
#: would be reported as destroyed.
_given_up: set[asyncio.Task[Any]] = set()


class _Step:
    """What a step and the savers that it uses tell each other: its end, the save that failed, the last checkpoint that
    was read.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, outer: _Step | None) -> None:
        until_s = loop.time() + seconds
        self.until_s: float = until_s if outer is None else min(until_s, outer.until_s)
        self.failed_save: asyncio.Future[Any] = loop.create_future()
        self.read: CheckpointTuple | None = None
        self.empty_thread: str | None = None


#: The step that the running task works for; LangGraph's background saves inherit it.
_step: ContextVar[_Step | None] = ContextVar("poolproof_step", default=None)

#: Whether the running task migrates the tables.
_migrates: ContextVar[bool] = ContextVar("poolproof_migrates", default=False)


def inside(deadline_s: float) -> float:
    """Seconds to give to a request that must be answered within ``deadline_s``: the rest is for ending it."""
    return max(deadline_s - MARGIN_S, deadline_s / 2)


async def hard_deadline(
    step: Callable[[], Awaitable[T]], seconds: float, *, home: asyncio.AbstractEventLoop | None = None
) -> T:
    """Await ``step()`` for at most ``seconds``, then end it; the caller is free ``GIVE_UP_S`` later at the latest.

    ``home`` is the event loop that the pool was opened on. If the caller runs on another one, in another thread, the
    step runs at home, for a pool and its connections belong to one loop, and is waited for here, with the same
    deadline. If the caller is cancelled the step is ended in the same way.

    A step is also ended as soon as a save of a :class:`BoundedSaver` fails in it: the run has failed, but LangGraph
    goes on with its nodes, and tells only when all its other saves have ended, which may be seconds after the
    database is back.

    Returns what the step returns, even if it came between the deadline and its end. Raises what the step raises, what
    its failed save raised, or TimeoutError.
    """
    if home is None or home is asyncio.get_running_loop():
        return await _bounded(step, seconds)
    work = _bounded(step, seconds)
    try:
        future = asyncio.run_coroutine_threadsafe(work, home)
    except RuntimeError:  # the loop is closed
        work.close()
        raise
    waiter = asyncio.wrap_future(future)
    try:
        # a home loop that does not turn must not hold us either
        await asyncio.wait({waiter}, timeout=seconds + 2 * GIVE_UP_S)
    except asyncio.CancelledError:
        waiter.cancel()
        raise
    if waiter.done():
        return waiter.result()
    waiter.cancel()
    raise TimeoutError(f"the home loop did not answer within {seconds + 2 * GIVE_UP_S:g} s")


async def _bounded(step: Callable[[], Awaitable[T]], seconds: float) -> T:
    loop = asyncio.get_running_loop()
    shared = _Step(loop, seconds, _step.get())
    context = copy_context()
    context.run(_step.set, shared)
    task = loop.create_task(_awaited(step), context=context)
    try:
        await asyncio.wait({task, shared.failed_save}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        ended_itself = task.done()
    finally:
        try:
            if not task.done():
                _end(task, CANCELS)
                await asyncio.wait({task}, timeout=GIVE_UP_S)  # a cancellation ends this wait, not the ending
        finally:
            _let_go(task)
    error = task.exception() if task.done() and not task.cancelled() else None
    if ended_itself or (task.done() and not task.cancelled() and error is None):
        return task.result()
    if shared.failed_save.done():
        raise shared.failed_save.result()
    raise TimeoutError(f"no answer within {seconds:g} s") from error  # what a step raises when it is cut off is no news


async def uninterrupted(step: Callable[[], Awaitable[None]]) -> None:
    """Await ``step()``; a cancellation ends the wait for it, but not the step. For what gives something back."""
    task = asyncio.get_running_loop().create_task(_awaited(step))
    try:
        await asyncio.shield(task)
    finally:
        if not task.done():
            _let_go(task)


async def _awaited(step: Callable[[], Awaitable[T]]) -> T:
    return await step()


def _end(task: asyncio.Task[Any], cancels: int) -> None:
    """Cancel ``task`` now and every ``PAUSE_S`` until it ends. By timer: nobody needs to wait for it."""
    if cancels > 0 and not task.done():
        task.cancel()
        task.get_loop().call_later(PAUSE_S, _end, task, cancels - 1)


def _let_go(task: asyncio.Task[Any]) -> None:
    """Nobody will look at ``task`` again: keep it alive until it ends, and take its exception."""
    if task.done():
        _consume(task)
    else:
        _given_up.add(task)
        task.add_done_callback(_consume)


def _consume(task: asyncio.Task[Any]) -> None:
    _given_up.discard(task)
    if not task.cancelled():
        task.exception()


def call_home(home: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    """Call ``callback`` on the loop ``home``: at once if we run on it, else as soon as it turns."""
    if home is asyncio.get_running_loop():
        callback()
    else:
        home.call_soon_threadsafe(callback)


class HardTimeout:
    """``asyncio.timeout`` that goes on cancelling until its block is left, and whose time begins with :meth:`start`.

    It needs no task of its own, so it costs next to nothing; what it cannot do is to give up on code that swallows
    every cancellation. Raises TimeoutError from the block.
    """

    def __init__(self) -> None:
        self._strikes = 0
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> HardTimeout:
        task = asyncio.current_task()
        assert task is not None, "a HardTimeout needs a task to cancel"
        self._task = task
        self._cancelling = task.cancelling()
        return self

    def start(self, seconds: float) -> None:
        """The block has ``seconds`` from now."""
        self._seconds = seconds
        self._timer = asyncio.get_running_loop().call_later(seconds, self._strike)

    def _strike(self) -> None:
        self._strikes += 1
        self._task.cancel()
        self._timer = self._task.get_loop().call_later(PAUSE_S, self._strike)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        cancelling = self._cancelling
        for _ in range(self._strikes):
            cancelling = self._task.uncancel()
        if self._strikes and cancelling <= self._cancelling and kind is not None:
            raise TimeoutError(f"the database did not answer within {self._seconds:g} s") from error


class BoundedSaver(AsyncPostgresSaver):
    """An AsyncPostgresSaver whose every call to the database ends, and which reports each one that fails.

    A run that is cancelled for good leaves background saves behind, and nobody else bounds those: on a silent
    connection each would hold its place in the pool, and this saver's lock, for ever. And if a node fails as well,
    LangGraph raises only the node's error: the save that failed is seen nowhere. So it is logged here, at level ERROR,
    with the id of its thread, and it ends the request at once (see :func:`hard_deadline`).

    No save begins after the deadline. A process that was stopped wakes up in the middle of a turn, and takes its next
    steps before any timer ends it: its checkpoint would be the newest, and hide what others were told is stored.

    After a failover a connection may still lead to the old primary, which lives on, read-only: it passes ``SELECT 1``,
    what it says to an INSERT is no OperationalError, and what it says to a SELECT is the past. Here both raise one, so
    that it is treated as a lost connection.
    """

    #: Seconds that one call may hold a connection. The wait for the saver's lock is not counted.
    call_s = 6.0

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncIterator[AsyncCursor[DictRow]]:
        try:  # around it all: in a pipeline the error may come when it is left
            async with HardTimeout() as bound, super()._cursor(pipeline=pipeline) as cursor:
                bound.start(self.call_s)
                fence = nullcontext() if pipeline or _migrates.get() else reading(cursor.connection)
                async with fence:  # for reads; of saves the server says so itself
                    yield cursor
        except ReadOnlySqlTransaction as error:
            raise TakesNoWrites(f"this server takes no writes; another one may: {error}") from error

    async def setup(self) -> None:
        """Migrate; see the base class. It creates indexes concurrently, which no transaction may hold."""
        token = _migrates.set(True)
        try:
            await super().setup()
        finally:
            _migrates.reset(token)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Read a checkpoint; see the base class.

        Within one step, and until something is saved, the same checkpoint is not read again: ``finish_turn`` looks at
        what is stored, and LangGraph reads it once or twice more a moment later. With one writer to a thread nothing
        can come between but a save that lands late, and that is harmless whether it is seen or not.
        """
        step = _step.get()
        asked = config["configurable"]
        if step is not None and step.empty_thread == asked["thread_id"]:
            return None
        if step is not None and step.read is not None and _asks_for(asked, step.read):
            return step.read._replace(checkpoint=copy_checkpoint(step.read.checkpoint))  # a run works on its own
        found = await super().aget_tuple(config)
        if step is not None and "checkpoint_id" not in asked and not asked.get("checkpoint_ns"):
            step.read = None if found is None else found._replace(checkpoint=copy_checkpoint(found.checkpoint))
            step.empty_thread = asked["thread_id"] if found is None else None
        return found

    async def alist(self, config: RunnableConfig | None, **kwargs: Any) -> AsyncIterator[CheckpointTuple]:
        """List checkpoints; see the base class.

        All is read before the first one is given out: whoever takes only some of them is told as well that the server
        takes no writes, and whoever takes long over them holds neither this saver's lock nor a connection.
        """
        listed = super().alist(config, **kwargs)
        for found in [item async for item in listed]:
            yield found

    async def aput(self, config: RunnableConfig, checkpoint: Any, metadata: Any, new_versions: Any) -> RunnableConfig:
        """Save a checkpoint; see the base class."""
        _forget_read()
        try:
            _in_time()
            return await super().aput(config, checkpoint, metadata, new_versions)
        except BaseException as error:
            _report("a checkpoint", config, error)
            raise

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Save a task's writes; see the base class."""
        _forget_read()
        try:
            _in_time()
            await super().aput_writes(config, writes, task_id, task_path)
        except BaseException as error:
            _report("a task's writes", config, error)
            raise


def _asks_for(asked: Mapping[str, Any], known: CheckpointTuple) -> bool:
    """True for the checkpoint ``known``, by its id or as the newest of its thread."""
    has = known.config["configurable"]
    same = asked["thread_id"] == has["thread_id"] and asked.get("checkpoint_ns", "") == has.get("checkpoint_ns", "")
    return same and asked.get("checkpoint_id") in (None, has["checkpoint_id"])


def _in_time() -> None:
    """Begin no save once the deadline is over. Raises TimeoutError."""
    step = _step.get()
    if step is not None and asyncio.get_running_loop().time() > step.until_s:
        raise TimeoutError("the deadline of the request is over, and others may have gone on: nothing more is saved")


def _forget_read() -> None:
    step = _step.get()
    if step is not None:
        step.read = step.empty_thread = None


def _report(what: str, config: RunnableConfig, error: BaseException) -> None:
    thread_id = config["configurable"]["thread_id"]
    logger.error("thread %s: %s may not have been saved: %s: %s", thread_id, what, type(error).__name__, error)
    step = _step.get()
    if isinstance(error, Exception) and step is not None and not step.failed_save.done():
        step.failed_save.set_result(error)
