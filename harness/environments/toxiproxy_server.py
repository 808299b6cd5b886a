"""The Toxiproxy process."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass

from harness.environments.accounts import Account
from harness.environments.components import Component
from harness.environments.leases import RunFolder
from harness.environments.listening import Listening, start_listening
from harness.environments.ports import LOOPBACK, listens
from harness.environments.processes import Child, start
from harness.environments.toxiproxy import ToxiproxyClient

_START_LIMIT_S = 15.0
_STOP_LIMIT_S = 1.0


@dataclass(frozen=True, slots=True)
class ToxiproxyServer:
    """A running server; ``api`` is where it takes orders."""

    server: Listening

    @property
    def child(self) -> Child:
        return self.server.child

    @property
    def api(self) -> tuple[str, int]:
        return LOOPBACK, self.server.port.number

    def stop(self) -> None:
        """Stop it; bounded."""
        self.server.stop(_STOP_LIMIT_S)


def start_toxiproxy(binary: Component, run: RunFolder, account: Account) -> ToxiproxyServer:
    """Start a server. Raises ComponentError with the end of its log when it does not come up."""

    def start_on(port: int) -> Child:
        child = start(
            "Toxiproxy",
            [str(binary.path), "-host", LOOPBACK, "-port", str(port)],
            log=run.path / "toxiproxy.log",
            cwd=run.path,
            account=account,
            environment=binary.environment(),
        )
        run.record(child)
        return child

    server = start_listening(start_on, lambda child, port: listens(child.pid, port), limit_s=_START_LIMIT_S)
    try:
        with contextlib.closing(ToxiproxyClient(LOOPBACK, server.port.number)) as client:
            client.version()  # it is a Toxiproxy that answers, and not somebody else's server
    except BaseException:
        server.stop(_STOP_LIMIT_S)
        raise
    return ToxiproxyServer(server)


def answers(host: str, port: int) -> bool:
    """True if something accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False
