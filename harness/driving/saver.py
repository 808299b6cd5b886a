"""A recording saver around the strategy's own: the history knows each call that started, and how it ended.

It is an instance of the wrapped class to ``isinstance`` and passes everything else through, so that LangGraph and the
strategy see the saver that they know.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from harness.core.history import OpType
from harness.driving.awaits import watched
from harness.driving.exceptions import describe
from harness.driving.recorder import CURRENT_CALL, Call, Recorder

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

_OWN = frozenset({"_inner", "_recorder", "_process", "_line"})
#: Calls that change what is stored: once one has begun, an error no longer proves that nothing happened.
_CHANGES = frozenset({"aput", "aput_writes", "adelete_thread"})


class _Line:
    """The calls that are at one saver's lock: one is served, the others wait. Calls may come from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.calls = 0

    def change(self, by: int) -> None:
        """A call more, or one less."""
        with self._lock:
            self.calls += by


#: By lock: LangGraph clones a saver for each run when msgpack is strict, and the clones share the lock.
_lines: WeakKeyDictionary[object, _Line] = WeakKeyDictionary()


def _line_of(inner: BaseCheckpointSaver[Any]) -> _Line:
    return _lines.setdefault(getattr(inner, "lock", inner), _Line())


class RecordingSaver:
    """Wraps ``inner``; ``process`` is the replica's name in the history."""

    def __init__(self, inner: BaseCheckpointSaver[Any], recorder: Recorder, process: str) -> None:
        self._inner = inner
        self._recorder = recorder
        self._process = process
        self._line = _line_of(inner)

    @property
    def __class__(self) -> type:  # the wrapped saver's class, to isinstance
        return type(self._inner)

    @__class__.setter
    def __class__(self, value: type) -> None:
        raise TypeError("the class of a recording saver is its inner saver's")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OWN:
            object.__setattr__(self, name, value)
        else:
            setattr(self._inner, name, value)

    def __repr__(self) -> str:
        return f"<recording {self._inner!r}>"

    def with_allowlist(self, extra_allowlist: Any) -> BaseCheckpointSaver[Any]:
        """A clone with a derived allowlist, recorded like this one."""
        clone = self._inner.with_allowlist(extra_allowlist)
        if clone is self._inner:
            return cast("BaseCheckpointSaver[Any]", self)
        return recording(clone, self._recorder, self._process)

    def _begin(self, f: str, config: RunnableConfig | None) -> Call:
        user = CURRENT_CALL.get()
        configurable = (config or {}).get("configurable", {})
        self._line.change(+1)
        call = self._recorder.invoke(
            f,
            self._process,
            {
                "thread": str(configurable.get("thread_id", "")),
                "parent": None if user is None else user.number,
                "turn": None if user is None else user.value.get("turn"),
            },
        )
        if user is not None and f in _CHANGES:
            user.writes += 1
            user.open_writes += 1
            call.parent = user
        return call

    def _end(self, call: Call, error: BaseException | None = None) -> None:
        self._line.change(-1)
        if call.parent is not None:
            call.parent.open_writes -= 1
        if error is None:
            self._recorder.complete(call, OpType.OK)
        else:
            self._recorder.complete(call, OpType.INFO, error=describe(error))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Recorded."""
        call = self._begin("aget_tuple", config)
        try:
            found = await watched(self._inner.aget_tuple(config))
        except BaseException as error:
            self._end(call, error)
            raise
        self._end(call)
        return found

    async def aput(self, config: RunnableConfig, checkpoint: Any, metadata: Any, new_versions: Any) -> RunnableConfig:
        """Recorded."""
        call = self._begin("aput", config)
        try:
            put = await watched(self._inner.aput(config, checkpoint, metadata, new_versions))
        except BaseException as error:
            self._end(call, error)
            raise
        self._end(call)
        return put

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Recorded."""
        call = self._begin("aput_writes", config)
        try:
            await watched(self._inner.aput_writes(config, writes, task_id, task_path))
        except BaseException as error:
            self._end(call, error)
            raise
        self._end(call)

    async def adelete_thread(self, thread_id: str) -> None:
        """Recorded."""
        call = self._begin("adelete_thread", {"configurable": {"thread_id": thread_id}})
        try:
            await self._inner.adelete_thread(thread_id)
        except BaseException as error:
            self._end(call, error)
            raise
        self._end(call)

    async def alist(self, config: RunnableConfig | None, **kwargs: Any) -> AsyncIterator[CheckpointTuple]:
        """Recorded from the first item asked for to the last."""
        call = self._begin("alist", config)
        try:
            async for item in self._inner.alist(config, **kwargs):
                yield item
        except BaseException as error:
            self._end(call, error)
            raise
        self._end(call)


def recording(inner: BaseCheckpointSaver[Any], recorder: Recorder, process: str) -> BaseCheckpointSaver[Any]:
    """``inner`` wrapped, or as it is if it already was."""
    known: object = inner
    if type(known) is RecordingSaver:
        return inner
    return cast("BaseCheckpointSaver[Any]", RecordingSaver(inner, recorder, process))


def queued_calls(saver: BaseCheckpointSaver[Any]) -> int:
    """Calls that wait behind another call of the same saver, whose lock lets one through at a time."""
    known: object = saver
    return max(0, known._line.calls - 1) if type(known) is RecordingSaver else 0
