"""Starting a server on a port that the kernel chose, and trying again if somebody took it all the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from harness.core.errors import ComponentError
from harness.environments.ports import ReservedPort
from harness.environments.processes import Child, wait_until

_TRIES = 5
_TAKEN = "ddress already in use"
_STOP_LIMIT_S = 2.0


@dataclass(frozen=True, slots=True)
class Listening:
    """A server that runs and listens on its port."""

    child: Child
    port: ReservedPort

    def stop(self, limit_s: float) -> None:
        """Stop it and give the port back; bounded by about twice ``limit_s`` + 3 s; idempotent."""
        try:
            self.child.stop(limit_s)
        finally:
            self.port.release()


def start_listening(
    start_on: Callable[[int], Child], ready: Callable[[Child, int], bool], *, limit_s: float
) -> Listening:
    """Start the server and wait until it is ready; whatever goes wrong, no process and no port is left.

    Raises ComponentError with the end of its log when it does not come up within ``limit_s``.
    """
    for attempt in range(1, _TRIES + 1):
        port = ReservedPort()
        child: Child | None = None
        try:
            child = start_on(port.number)
            if _came_up(child, partial(ready, child, port.number), limit_s):
                return Listening(child, port)
            if _TAKEN not in child.tail() or attempt == _TRIES:
                raise ComponentError(f"{child.name} does not start; end of its log:\n{child.tail()}")
        except BaseException:
            if child is not None:
                child.stop(_STOP_LIMIT_S)
            port.release()
            raise
        child.stop(_STOP_LIMIT_S)
        port.release()
    raise AssertionError("the last attempt returns or raises")


def _came_up(child: Child, ready: Callable[[], bool], limit_s: float) -> bool:
    """True once it is ready; False if it ended, or says that its port is taken: Toxiproxy then stays, and is deaf."""
    return wait_until(lambda: ready() or _TAKEN in child.tail(), child, limit_s) and ready()
