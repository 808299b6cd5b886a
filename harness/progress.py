"""Says how a run goes on, on standard error: a live display on a terminal, one line per finished cell elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Protocol

from harness.core.record import CellResult
from harness.rendering.words import label

#: Where nothing has been said for this long (a cell of 40 s, a build), a line says that we are alive.
HEARTBEAT_S = 30.0


class Progress(Protocol):
    """What a campaign tells. All methods return at once."""

    def note(self, text: str) -> None:
        """Something that is worth a line of its own."""
        ...

    def running(self, cells: tuple[str, ...]) -> None:
        """The cells that run now; called often."""
        ...

    def finished(self, result: CellResult) -> None:
        """One more cell is judged."""
        ...

    def close(self) -> None:
        """No more will come."""
        ...


class Lines:
    """One line per finished cell, and a heartbeat."""

    def __init__(self, planned: int, write: Callable[[str], None]) -> None:
        self._planned = planned
        self._write = write
        self._done = 0
        self._said_s = time.monotonic()

    def note(self, text: str) -> None:
        """See :class:`Progress`."""
        self._say(text)

    def running(self, cells: tuple[str, ...]) -> None:
        """See :class:`Progress`."""
        if time.monotonic() - self._said_s > HEARTBEAT_S:
            self._say(f"... {self._done}/{self._planned} done, running: {', '.join(cells)}")

    def finished(self, result: CellResult) -> None:
        """See :class:`Progress`."""
        self._done += 1
        self._say(f"[{self._done:>3}/{self._planned}] {line_of(result)}")

    def close(self) -> None:
        """See :class:`Progress`."""

    def _say(self, text: str) -> None:
        self._said_s = time.monotonic()
        self._write(text)


class Live:
    """rich's progress bar, the running cells below it, finished cells that need attention above it."""

    def __init__(self, planned: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task("cells", total=planned)
        self._progress.start()

    def note(self, text: str) -> None:
        """See :class:`Progress`."""
        self._console.print(text, markup=False, highlight=False)

    def running(self, cells: tuple[str, ...]) -> None:
        """See :class:`Progress`."""
        names = ", ".join(cells[:2]) + (f" and {len(cells) - 2} more" if len(cells) > 2 else "")
        self._progress.update(self._task, description=names)

    def finished(self, result: CellResult) -> None:
        """See :class:`Progress`."""
        self._console.print(line_of(result), markup=False, highlight=False)
        self._progress.advance(self._task)

    def close(self) -> None:
        """See :class:`Progress`."""
        self._progress.stop()


def line_of(result: CellResult) -> str:
    """One finished cell in one line: glyph, word, id, seconds, and the reason where it needs attention."""
    glyph, word, _ = label(result)
    reason = "" if result.as_it_should_be else f"  {result.reason}"
    return f"{glyph} {word:<8} {result.id}  {result.wall_s:.1f} s{reason}"


def progress_for(planned: int, *, live: bool) -> Progress:
    """Live on a terminal, lines elsewhere."""
    if live and sys.stderr.isatty():
        return Live(planned)
    return Lines(planned, lambda text: print(text, file=sys.stderr, flush=True))
