"""A replica's process stands still in mid-turn (SIGSTOP), and goes on later: a paused container, a machine that moves.

Meanwhile its callers give up and their conversations go on at another replica. Then it wakes up in the middle of a
turn that is long over. LangGraph fences nobody: whoever saves last is the newest, so a process that finishes such a
turn hides what others were told is stored. What helps is a deadline that ends the turn before anything else runs, and
that nobody takes the conversation over before that deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.fault import Effect, Witness
from harness.faults.replicas import check_replica, group_of, process_of, struck
from harness.faults.toxics import check_range


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaFreeze:
    """``replica``: which group, counted from 0. Its callers give up at their deadline, or, with ``cut_ms``, so long
    after it was stopped: then something between them resets their connections, and they take their conversations over
    while their turns there are not over.
    """

    replica: int = 0
    cut_ms: int = 0

    kind: ClassVar[str] = "replica_freeze"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.REPLICA_PROCESS})
    usable: ClassVar[bool] = True  # whoever is not waiting for that process is served by the other one
    effect: ClassVar[Effect] = Effect.STRANDS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_replica(self.kind, self.replica)
        check_range(self.kind, "cut_ms", self.cut_ms, 0, 60_000)

    @property
    def heals(self) -> str:
        """What leaving the window puts back."""
        return process_of(self.replica)

    @property
    def delay_ms(self) -> float:
        """What it does late, it does when the window ends."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """The witness is the state that the kernel shows of the process, and how many calls it had."""
        return self._active(env)

    @asynccontextmanager
    async def _active(self, env: Environment) -> AsyncIterator[Witness]:
        replicas = env.replicas
        async with struck(env, self.replica, replicas.freeze, replicas.thaw, heals=self.heals) as witness:
            if self.cut_ms:
                await asyncio.sleep(self.cut_ms / 1000)
                witness.change["cut"] = await replicas.cut(group_of(env, self.replica))
            yield witness
