"""How long a thread was ready to run and got no core: a busy neighbour, not the strategy, then made calls late.

The kernel counts it for each thread (the second number of ``schedstat``). Nothing is known where there is no such file.
"""

from __future__ import annotations

from pathlib import Path

#: Waiting is looked at over this long.
WINDOW_S = 0.5
#: Waiting for more than this share of a window is told. Three cells abreast on two cores wait for 0.3 of the time, and
#: in one window of a hundred for 0.58.
STARVED_SHARE = 0.6


class Starvation:
    """Of one thread, by its native id. ``told(now_s)`` gives the seconds to tell, once per window."""

    def __init__(self, thread: int, now_s: float, *, file: Path | None = None) -> None:
        self._file = file or Path(f"/proc/self/task/{thread}/schedstat")
        self._began_s = now_s
        self._waited_s = self._read()

    def told(self, now_s: float) -> float:
        """Seconds that the thread waited for a core in the window that ends now; 0 if it was little, or none ended."""
        window_s = now_s - self._began_s
        if window_s < WINDOW_S:
            return 0.0
        before_s, self._waited_s, self._began_s = self._waited_s, self._read(), now_s
        waited_s = self._waited_s - before_s
        return min(waited_s, window_s) if waited_s > STARVED_SHARE * window_s else 0.0

    def _read(self) -> float:
        try:
            return int(self._file.read_text().split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return 0.0
