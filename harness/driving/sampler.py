"""Counts backends on the admin endpoint, from a thread of its own, so that no fault and no busy loop hides them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from harness.core.environment import Clock
from harness.core.verdict import Json
from harness.driving.recorder import Recorder

PERIOD_S = 0.1
#: A row is written at least this often, also when nothing changed.
REPEAT_S = 1.0


class Sampler:
    """``read`` gives the pids of client backends by replica group; it may raise, which becomes a row as well."""

    def __init__(self, read: Callable[[], Mapping[str, tuple[int, ...]]], recorder: Recorder, clock: Clock) -> None:
        self._read = read
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
            self._stop.wait(PERIOD_S)
