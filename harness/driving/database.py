"""What one replica group is given: a conninfo, a budget, and pools that tell who opened and closed them."""

from __future__ import annotations

import itertools
import traceback
from collections import Counter
from typing import Any

from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from harness.driving.recorder import Recorder

_FRAMES = 6
#: A request for a connection begins and ends: counted, not written.
_ASKING = {"ask": 1, "served": -1}
_OURS = ("/harness/driving/", "/harness/runner", "/harness/slot", "/asyncio/", "/psycopg_pool/")


class GroupDatabase:
    """Implements ``core.pool.Database`` for one replica group."""

    def __init__(self, conninfo: str, budget: int, group: str, recorder: Recorder) -> None:
        self._conninfo = conninfo
        self._budget = budget
        self._group = group
        self._recorder = recorder
        self._generations = itertools.count(1)
        self._asking: Counter[int] = Counter()

    @property
    def group(self) -> str:
        """The name of the replica group."""
        return self._group

    @property
    def conninfo(self) -> str:
        """Where agents connect: through the proxy, and the pooler where there is one."""
        return self._conninfo

    @property
    def budget(self) -> int:
        """Backends that this group may hold, old and new pools together."""
        return self._budget

    def pool(
        self, *, pool_class: type[AsyncConnectionPool[Any]] | None = None, **kwargs: Any
    ) -> AsyncConnectionPool[Any]:
        """A pool that is not open yet; see ``core.pool.Database.pool``."""
        connection = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row, **kwargs.pop("kwargs", {})}
        generation = next(self._generations)
        settings: dict[str, Any] = {
            "conninfo": self._conninfo,
            "open": False,
            "name": f"{self._group}-{generation}",
            "kwargs": connection,
            **kwargs,
        }
        instrumented = _instrumented(pool_class or AsyncConnectionPool)
        pool: AsyncConnectionPool[Any] = instrumented(
            **settings, poolproof_note=lambda event: self._note(event, pool.name, generation)
        )
        return pool

    def waiters(self) -> int:
        """Requests for a connection that are not served yet, over all pools of the group: queued, or connecting."""
        return sum(self._asking.values())

    def _note(self, event: str, name: str, generation: int) -> None:
        if event in _ASKING:
            self._asking[generation] += _ASKING[event]
            return
        frames = [
            f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}"
            for frame in reversed(traceback.extract_stack()[:-3])
            if not any(part in frame.filename for part in _OURS)
        ]
        self._recorder.point(
            "pool",
            self._group,
            {"event": event, "pool": name, "generation": generation, "by": list(frames[:_FRAMES])},
        )


def _instrumented(pool_class: type[AsyncConnectionPool[Any]]) -> Any:
    """A subclass of ``pool_class`` that notes its opening and closing; otherwise it is the same pool."""

    class Instrumented(pool_class):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any, poolproof_note: Any, **kwargs: Any) -> None:
            self._poolproof_note = poolproof_note
            super().__init__(*args, **kwargs)

        async def open(self, *args: Any, **kwargs: Any) -> None:
            if self.closed:
                self._poolproof_note("open")
            await super().open(*args, **kwargs)

        async def close(self, *args: Any, **kwargs: Any) -> None:
            if not self.closed:
                self._poolproof_note("close")
            await super().close(*args, **kwargs)

        async def getconn(self, *args: Any, **kwargs: Any) -> Any:
            self._poolproof_note("ask")
            try:
                return await super().getconn(*args, **kwargs)
            finally:
                self._poolproof_note("served")

    Instrumented.__name__ = pool_class.__name__
    Instrumented.__qualname__ = pool_class.__qualname__
    return Instrumented
