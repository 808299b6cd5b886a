"""Starts the middle of one cell and gives it orders. Implements ``core.environment.Middle``."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from harness.core.environment import Strike
from harness.core.errors import ComponentError
from harness.core.verdict import Json
from harness.environments.accounts import Account
from harness.environments.leases import RunFolder
from harness.environments.listening import Listening, start_listening
from harness.environments.middle import HEAD, ORDER_CODE, SECRET
from harness.environments.ports import LOOPBACK, listens
from harness.environments.processes import Child, clean_environment, start

_ROOT = Path(__file__).resolve().parents[2]
_RUN = "import sys; sys.path.append({!r}); from harness.environments.middle import main; main()"
_START_LIMIT_S = 10.0
_STOP_LIMIT_S = 1.5
_ORDER_LIMIT_S = 5.0


class MiddleLever:
    """A running middle. ``since_s`` turns a time of the machine's monotonic clock into one of the cell's clock."""

    def __init__(self, listening: Listening, secret: str, since_s: Callable[[float], float]) -> None:
        self._listening = listening
        self._secret = secret
        self._since_s = since_s

    @property
    def upstream(self) -> str:
        """``host:port`` as Toxiproxy reaches it."""
        return f"{LOOPBACK}:{self._listening.port.number}"

    @property
    def log(self) -> Path:
        return self._listening.child.log

    async def arm(self, strike: Strike) -> Mapping[str, Json]:
        order = {
            "moment": strike.moment,
            "table": strike.table,
            "nth": strike.nth,
            "times": strike.times,
            "action": strike.action,
            "stall_s": strike.stall_ms / 1000,
        }
        answer = await self._ask({"do": "arm", "name": strike.name, "strike": order})
        if strike.name not in _names(answer):
            raise ComponentError(f"the middle did not arm {strike.name!r}: {answer}")
        return {"armed": strike.name}

    async def disarm(self, name: str) -> Mapping[str, Json]:
        answer = await self._ask({"do": "disarm", "name": name})
        if name in _names(answer):
            raise ComponentError(f"the middle still has {name!r} armed")
        if "struck" not in answer:
            return {}
        told = answer["hits"] if isinstance(answer["hits"], list) else []
        return {"struck": answer["struck"], "seen": answer["seen"], "hits": [self._on_our_clock(hit) for hit in told]}

    def _on_our_clock(self, hit: Json) -> Json:
        if not isinstance(hit, dict):
            raise ComponentError(f"the middle tells of a hit {hit!r}")
        at_s = hit.pop("at_s", None)
        return {**hit, "time_s": round(self._since_s(at_s), 6)} if isinstance(at_s, float) else hit

    async def armed(self) -> tuple[str, ...]:
        return _names(await self._ask({"do": "look"}))

    def alive(self) -> bool:
        """True while its process runs."""
        return self._listening.child.alive()

    def stop(self) -> None:
        """End it, and every connection through it. Blocking, bounded; idempotent."""
        self._listening.stop(_STOP_LIMIT_S)

    async def _ask(self, order: Mapping[str, object]) -> dict[str, Json]:
        packet = self._secret.encode() + b"\0" + json.dumps(order).encode()
        try:
            async with asyncio.timeout(_ORDER_LIMIT_S):
                reader, writer = await asyncio.open_connection(LOOPBACK, self._listening.port.number)
                try:
                    writer.write(HEAD.pack(HEAD.size + len(packet), ORDER_CODE) + packet)
                    answer = json.loads(await reader.readline())
                finally:
                    writer.close()
        except (OSError, ValueError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise ComponentError(f"the middle does not obey ({order['do']}): {reason}") from error
        if not isinstance(answer, dict) or "error" in answer:
            raise ComponentError(f"the middle does not obey ({order['do']}): {answer}")
        return answer


def _names(answer: Mapping[str, Json]) -> tuple[str, ...]:
    names = answer.get("armed")
    return tuple(str(name) for name in names) if isinstance(names, list) else ()


def start_middle(name: str, upstream: str, run: RunFolder, since_s: Callable[[float], float]) -> MiddleLever:
    """Start one in front of ``upstream``, some 0.15 s. Main thread only. Raises ComponentError."""
    host, _, port = upstream.rpartition(":")
    secret = secrets.token_hex(16)

    def start_on(own_port: int) -> Child:
        child = start(
            "the middle",
            [sys.executable, "-I", "-S", "-c", _RUN.format(str(_ROOT)), str(own_port), host, port],
            log=run.path / f"{name}-middle.log",
            cwd=run.path,
            account=Account(os.geteuid(), os.getegid()),
            environment=clean_environment(**{SECRET: secret}),
        )
        run.record(child)
        return child

    listening = start_listening(start_on, lambda child, own: listens(child.pid, own), limit_s=_START_LIMIT_S)
    return MiddleLever(listening, secret, since_s)
