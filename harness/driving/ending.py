"""How a call of a user ended, from the task that served it: ok, certainly not, or unknown."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from harness.core.history import ErrorInfo, OpType
from harness.core.pool import Answered, Degraded, Reply
from harness.core.redaction import redacted
from harness.core.verdict import Json
from harness.driving.exceptions import describe

_TEXT_LIMIT = 300


@dataclass(frozen=True, slots=True)
class Ending:
    """The completion of a call, as it stands in its row."""

    kind: OpType
    value: dict[str, Json]
    error: ErrorInfo | None = None


def ending_of(
    task: asyncio.Task[Reply], *, hung: bool, nothing_begun: bool, errors: tuple[type[BaseException], ...]
) -> Ending:
    """``hung``: the harness had to end it. ``nothing_begun``: no attempt is alive, and no saver write was begun, so
    that an error proves that nothing was stored. ``errors`` are those that the strategy declares.
    """
    extra: dict[str, Json] = {"hung": True} if hung else {}
    if hung:
        info = ErrorInfo("TimeoutError", "no answer by deadline + 12 s; the harness cancelled", ("TimeoutError",))
        return Ending(OpType.INFO, extra, info)
    if not task.done() or task.cancelled():
        info = ErrorInfo("CancelledError", "the call ended in a cancellation", ("CancelledError", "BaseException"))
        return Ending(OpType.INFO, extra, info)
    error = task.exception()
    if error is not None:
        sure = nothing_begun and not isinstance(error, TimeoutError | asyncio.CancelledError)
        return Ending(OpType.FAIL if sure else OpType.INFO, extra, describe(error, errors))
    reply: object = task.result()
    if isinstance(reply, Answered):
        text = redacted(reply.text)[:_TEXT_LIMIT]
        return Ending(OpType.OK, {"text": text, "turns": list(reply.turns), "waiting": list(reply.waiting)})
    if isinstance(reply, Degraded):
        code = redacted(reply.code)[:_TEXT_LIMIT]
        return Ending(OpType.INFO, {**extra, "refused": True, "code": code, "retry_after_s": reply.retry_after_s})
    text = f"serve() returned {redacted(repr(reply))[:100]}; allowed: Answered or Degraded"
    return Ending(OpType.INFO, extra, ErrorInfo("TypeError", text, ("TypeError", "Exception", "BaseException")))
