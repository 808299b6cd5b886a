"""A pool to the real Postgres of this test's environment, straight to the server: faults are injected by the savers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

import pytest
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from harness.core.environment import Environment
from tests.agents_under_test.agents_driving import Pool


@pytest.fixture
async def pool(cell_env: Environment) -> AsyncIterator[Pool]:
    settings = {"autocommit": True, "row_factory": dict_row}
    async with AsyncConnectionPool(cell_env.admin.conninfo(), min_size=1, max_size=8, kwargs=settings) as opened:
        yield cast(Pool, opened)
