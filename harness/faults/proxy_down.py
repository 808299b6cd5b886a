"""The port is closed: every connection is cut, idle ones too, and new ones are refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.fault import Effect, Witness
from harness.faults.toxics import heal

#: What a window with :func:`closed_port` in it heals.
PORT = "the proxy's port"


@asynccontextmanager
async def closed_port(env: Environment) -> AsyncIterator[Witness]:
    """The proxy disabled from here to the end of the block."""

    async def enable() -> None:
        await env.proxy.set_enabled(True)

    try:
        yield Witness(dict(await env.proxy.set_enabled(False)))
    finally:
        await heal(enable, "the disabled proxy")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyDown:
    """No fields: the proxy is disabled for the whole window."""

    kind: ClassVar[str] = "proxy_down"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.TOXIPROXY})
    usable: ClassVar[bool] = False
    effect: ClassVar[Effect] = Effect.DISTURBS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    @property
    def heals(self) -> str:
        """The port that the window closes."""
        return PORT

    @property
    def delay_ms(self) -> float:
        """Refused at once."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """Disable, and enable again at the end."""
        return closed_port(env)
