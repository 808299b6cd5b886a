"""Counts the awaits of the work for a call, so that a call can be cancelled at a chosen one of them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

from harness.driving.recorder import CURRENT_CALL

T = TypeVar("T")


@coroutine
def counted(work: Coroutine[Any, Any, T], on_await: Callable[[], None]) -> Generator[Any, Any, T]:
    """Await ``work``, and call ``on_await`` each time that it suspends.

    A task that is cancelled in there is cancelled at just this await: it has not yet been suspended.
    """
    send: Any = None
    error: BaseException | None = None
    while True:
        try:
            waits_for = work.send(send) if error is None else work.throw(error)
        except StopIteration as ended:
            value: T = ended.value
            return value
        on_await()
        try:
            send, error = (yield waits_for), None
        except BaseException as thrown:  # noqa: BLE001 - all of it belongs to the work
            error = thrown


async def watched(work: Coroutine[Any, Any, T]) -> T:
    """Await ``work`` for the running user's call; its awaits are counted if somebody wants to know."""
    call = CURRENT_CALL.get()
    if call is None or call.on_await is None:
        return await work
    return await counted(work, call.on_await)
