"""The whole graph of an exception stands in its row: causes, suppressed contexts, group members, cycles cut."""

from __future__ import annotations

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout

from harness.driving.exceptions import LINK_LIMIT, MESSAGE_LIMIT, describe

DECLARED = (psycopg.OperationalError, TimeoutError)


def raised(
    error: BaseException, *, cause: BaseException | None = None, inside: BaseException | None = None
) -> BaseException:
    try:
        try:
            if inside is not None:
                raise inside
            raise error from cause
        except BaseException as first:
            if first is error:
                raise
            raise error from cause
    except BaseException as final:
        return final


def test_pool_closed_is_found_at_the_top() -> None:
    row = describe(PoolClosed("the pool 'pool-1' is already closed"), DECLARED)
    assert row.pool_closed
    assert not row.declared, "it is an OperationalError, and still nobody may declare it"
    assert "OperationalError" in row.classes


def test_pool_closed_is_found_in_cause_context_even_if_suppressed_and_group() -> None:
    hidden = PoolClosed("closed")
    by_cause = raised(RuntimeError("wrapped"), cause=hidden)
    by_context = raised(RuntimeError("wrapped"), inside=hidden)
    suppressed = raised(RuntimeError("wrapped"), inside=hidden, cause=None)
    suppressed.__suppress_context__ = True
    in_group = BaseExceptionGroup("several", [ValueError("x"), ExceptionGroup("inner", [hidden])])
    for error in (by_cause, by_context, suppressed, in_group):
        row = describe(error, DECLARED)
        assert row.pool_closed, error
        assert "PoolClosed" in [name for _, name, _ in row.links]


def test_a_pool_timeout_is_declared_and_no_leak() -> None:
    row = describe(PoolTimeout("couldn't get a connection after 3.00 sec"), DECLARED)
    assert row.declared
    assert not row.pool_closed


def test_an_undeclared_class_is_told() -> None:
    assert not describe(IndexError("no"), DECLARED).declared


def test_cycles_long_chains_and_long_messages_are_bounded() -> None:
    first, second = RuntimeError("a" * 10_000), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    row = describe(first)
    assert len(row.message) == MESSAGE_LIMIT
    assert [name for _, name, _ in row.links] == ["RuntimeError"]
    chain: BaseException = ValueError("0")
    for n in range(500):
        chain = raised(ValueError(str(n)), cause=chain)
    assert len(describe(chain).links) == LINK_LIMIT


def test_pool_closed_at_the_far_end_of_a_long_chain_is_found() -> None:
    chain: BaseException = PoolClosed("deep")
    for n in range(500):
        chain = raised(ValueError(str(n)), cause=chain)
    assert describe(chain).pool_closed


def test_an_exception_whose_str_raises_has_a_row() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    assert "raised ValueError" in describe(Broken()).message


def test_a_row_round_trips() -> None:
    row = describe(raised(RuntimeError("x"), cause=PoolClosed("y")), DECLARED)
    assert type(row).from_json(row.to_json()) == row
