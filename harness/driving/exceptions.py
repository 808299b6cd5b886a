"""Turns an exception into its row: the whole graph, over cause, context (even if suppressed) and group members."""

from __future__ import annotations

from collections.abc import Iterator

from psycopg_pool import PoolClosed

from harness.core.history import ErrorInfo
from harness.core.redaction import redacted

#: No row holds more of a message than this many characters, or more links than this.
MESSAGE_LIMIT = 500
LINK_LIMIT = 60


def describe(error: BaseException, declared: tuple[type[BaseException], ...] = ()) -> ErrorInfo:
    """The row of ``error``. ``declared`` are the classes that the strategy says its callers may see."""
    links = tuple(_walk(error))
    pool_closed = isinstance(error, PoolClosed) or any(isinstance(link, PoolClosed) for _, link in links)
    return ErrorInfo(
        type=type(error).__qualname__,
        message=_text(error),
        classes=tuple(cls.__qualname__ for cls in type(error).__mro__ if issubclass(cls, BaseException)),
        links=tuple((relation, type(link).__qualname__, _text(link)) for relation, link in links[:LINK_LIMIT]),
        pool_closed=pool_closed,
        declared=isinstance(error, declared) and not pool_closed,
    )


def _walk(error: BaseException) -> Iterator[tuple[str, BaseException]]:
    """Every exception reachable from ``error``, each once, the nearest first; cycles are cut."""
    seen = {id(error)}
    queue: list[BaseException] = [error]
    while queue:
        current = queue.pop(0)
        near: list[tuple[str, BaseException | None]] = [("cause", current.__cause__), ("context", current.__context__)]
        if isinstance(current, BaseExceptionGroup):
            near += [("member", member) for member in current.exceptions]
        for relation, link in near:
            if link is not None and id(link) not in seen:
                seen.add(id(link))
                queue.append(link)
                yield relation, link


def _text(error: BaseException) -> str:
    try:
        return redacted(str(error))[:MESSAGE_LIMIT]  # before the cut, which could leave half a secret
    except Exception as broken:  # noqa: BLE001 - a __str__ that raises is the subject's, and worth a row
        return f"<its __str__ raised {type(broken).__name__}>"
