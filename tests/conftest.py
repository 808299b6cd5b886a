"""Fixtures over real servers that all tests may use: one stack and one slot per test run, one cell per test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from harness.environments.cell import CellEnvironment
from harness.environments.stack import Stack
from harness.slot import Slot


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """A running Postgres and Toxiproxy (and PgBouncer, where it can be had), shared by the whole test run."""
    stack = Stack.open("local", note=lambda text: print(text))
    yield stack
    stack.close()


@pytest.fixture(scope="session")
def slot() -> Iterator[Slot]:
    """A process with a stack of its own, for tests of whole cells."""
    found = Slot.start("local")
    yield found
    found.close()


@pytest.fixture
async def cell_env(stack: Stack) -> AsyncIterator[CellEnvironment]:
    """A cell of its own on the shared stack, without a pooler, with the groups g0 and g1."""
    async with stack.cell("test", groups=("g0", "g1"), pooler=None) as environment:
        yield environment
