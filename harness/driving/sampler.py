"""Counts backends on the admin endpoint, from a thread of its own, so that no fault and no busy loop hides them.

Now and then it also looks which way their connections came.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from harness.core.environment import Clock
from harness.core.verdict import Json
from harness.driving.recorder import Recorder
from harness.environments.routes import Routes

PERIOD_S = 0.1
#: A row is written at least this often, also when nothing changed.
REPEAT_S = 1.0
#: Routes are looked at this often once every group was traced: a look costs some 5 ms.
ROUTES_S = 1.0
#: So many connections past the proxy are told; one would do.
PAST_TOLD = 20


class Sampler:
    """``read`` gives the pids of client backends by replica group; it may raise, which becomes a row as well.

    ``routes`` says which way the connections came that ``read`` saw last; None where nothing can tell.
    """

    def __init__(
        self,
        read: Callable[[], Mapping[str, tuple[int, ...]]],
        recorder: Recorder,
        clock: Clock,
        routes: Callable[[], Routes] | None = None,
    ) -> None:
        self._read = read
        self._routes = routes
        self._through: set[str] = set()
        self._past: dict[str, None] = {}
        self._routed_s = -ROUTES_S
        self._recorder = recorder
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="poolproof-sampler", daemon=True)

    def start(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, bounded."""
        self._stop.set()
        self._thread.join(3.0)

    def _run(self) -> None:
        last: Mapping[str, tuple[int, ...]] | None = None
        told_s = -REPEAT_S
        while not self._stop.is_set():
            now_s = self._clock.now_s()
            try:
                seen = {group: tuple(sorted(pids)) for group, pids in self._read().items()}
            except Exception as error:  # noqa: BLE001 - a sample that failed must not end the sampling
                self._recorder.point("connections", "sampler", {"error": f"{type(error).__name__}: {error}"})
                last, told_s = None, now_s
                self._stop.wait(PERIOD_S * 3)
                continue
            if seen != last or now_s - told_s >= REPEAT_S:
                backends: dict[str, Json] = {group: list(pids) for group, pids in seen.items()}
                self._recorder.point("connections", "sampler", {"backends": backends})
                last, told_s = seen, now_s
            if self._routes is not None and any(seen.values()):
                self._trace(self._routes, seen, now_s)
            self._stop.wait(PERIOD_S)

    def _trace(self, routes: Callable[[], Routes], seen: Mapping[str, tuple[int, ...]], now_s: float) -> None:
        """A row when a group was traced for the first time, or a connection was seen that came past the proxy."""
        if now_s - self._routed_s < ROUTES_S and self._through >= seen.keys():
            return
        self._routed_s = now_s
        try:
            found = routes()
        except OSError as error:
            self._recorder.point("route", "sampler", {"error": f"{type(error).__name__}: {error}"})
            self._routes = None
            return
        new = [name for name in found.past if name not in self._past][: max(0, PAST_TOLD - len(self._past))]
        if found.through <= self._through and not new:
            return
        self._through |= found.through
        self._past.update(dict.fromkeys(new))
        through: list[Json] = [*sorted(self._through)]
        self._recorder.point("route", "sampler", {"through": through, "past": list(new)})
