"""What nobody awaits: the loop's exception handler, coroutines that were never awaited, log records.

Entered once per cell process; leaving restores what was there.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.core.redaction import redacted
from harness.core.verdict import Json
from harness.driving.recorder import Recorder

_OURS = ("harness.driving", "harness.runner", "harness/driving", "harness/runner", "Group._", "DrivenRequest")
_TEXT_LIMIT = 600
#: No more rows of one logger and level than this; the rest is counted by the last one.
_LOG_LIMIT = 400
_THREAD_ID = re.compile(r"[\w.+-]+\.u\d+\.\d+")


class _Rows(logging.Handler):
    """Log records of level WARNING and above, as rows; the LangGraph thread that a record names is picked out."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__(logging.WARNING)
        self._recorder = recorder
        self._counts: dict[tuple[str, int], int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        key = (record.name, record.levelno)
        self._counts[key] = self._counts.get(key, 0) + 1
        if self._counts[key] > _LOG_LIMIT and record.levelno < logging.ERROR:
            return
        try:
            text = record.getMessage()
        except Exception as error:  # noqa: BLE001 - a broken record is the subject's
            text = f"<unreadable log record: {error}>"
        named = _THREAD_ID.search(text)
        value: dict[str, Json] = {
            "level": record.levelname,
            "text": redacted(text)[:_TEXT_LIMIT],
            "thread": named.group(0) if named else None,
        }
        self._recorder.point("log", record.name, value)


@contextmanager
def background(recorder: Recorder) -> Iterator[None]:
    """Record what happens beside the calls on the running loop and in this process."""
    loop = asyncio.get_running_loop()

    def note(what: str, text: str) -> None:
        ours = any(mark in text for mark in _OURS)
        recorder.point("background", "loop", {"what": what, "text": redacted(text)[:_TEXT_LIMIT], "ours": ours})

    def on_exception(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        message = str(context.get("message", ""))
        what = "destroyed_pending" if "was destroyed but it is pending" in message else "exception_handler"
        about = context.get("task") or context.get("future") or ""
        note(what, f"{message}: {context.get('exception')!r} {about!r}")

    def on_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
        note("unraisable", f"{unraisable.err_msg}: {unraisable.exc_value!r} in {unraisable.object!r}")

    def on_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if issubclass(category, RuntimeWarning) and "was never awaited" in str(message):
            note("never_awaited", str(message))

    rows = _Rows(recorder)
    root = logging.getLogger()
    before = (loop.get_exception_handler(), sys.unraisablehook, warnings.showwarning)
    with warnings.catch_warnings():
        warnings.simplefilter("always", RuntimeWarning)
        loop.set_exception_handler(on_exception)
        sys.unraisablehook = on_unraisable
        warnings.showwarning = on_warning
        root.addHandler(rows)
        try:
            yield
            gc.collect()
        finally:
            root.removeHandler(rows)
            loop.set_exception_handler(before[0])
            sys.unraisablehook = before[1]
            warnings.showwarning = before[2]
