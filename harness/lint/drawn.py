"""A database that connects nowhere: a strategy makes its pools with it, and each is noted with the line that did."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Collection
from typing import Any, cast

from psycopg_pool import AsyncConnectionPool

from harness.core.scenario import Bounds
from harness.driving.database import GroupDatabase
from harness.driving.recorder import Recorder
from harness.lint.finding import Place

#: The discard port: whoever connects against the rules meets nobody. Parts and names are as in a run.
CONNINFO = "host=127.0.0.1 port=9 dbname=poolproof user=poolproof password=none connect_timeout=2"


class DrawnDatabase(GroupDatabase):
    """``drawn`` has each pool, and the place among ``files`` that made it."""

    def __init__(self, files: Collection[str]) -> None:
        # a pool writes to the history when it is opened, and none of these is
        super().__init__(CONNINFO, Bounds().budget, "lint", cast("Recorder", None))
        self._files = frozenset(files)
        self.drawn: list[tuple[AsyncConnectionPool[Any], Place]] = []

    def pool(
        self, *, pool_class: type[AsyncConnectionPool[Any]] | None = None, **kwargs: Any
    ) -> AsyncConnectionPool[Any]:
        """As a run's database makes it."""
        pool = super().pool(pool_class=pool_class, **kwargs)
        self.drawn.append((pool, self._place()))
        return pool

    def _place(self) -> Place:
        """The nearest line in one of the files, else of whoever called."""
        stack = [Place(frame.f_code.co_filename, line) for frame, line in traceback.walk_stack(sys._getframe(2))]
        return next((place for place in stack if place.file in self._files), stack[0])
