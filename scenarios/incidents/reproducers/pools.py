"""A pool as LangGraph's documentation has it."""

from __future__ import annotations

from typing import Any

from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

THREAD: Any = {"configurable": {"thread_id": "t"}}


def pool_of(dsn: str, **settings: Any) -> AsyncConnectionPool[Any]:
    kwargs = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    return AsyncConnectionPool(dsn, open=False, kwargs=kwargs, **settings)
