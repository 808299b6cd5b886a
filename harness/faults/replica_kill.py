"""A replica's process is killed in mid-turn (SIGKILL): out of memory, a node that is taken away, a deployment gone bad.

Its callers see a connection that was reset, and repeat their turns at another replica. What it was saving just then is
stored or is not, and nobody is left to say which.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.fault import Effect, Witness
from harness.faults.replicas import check_replica, process_of, struck


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaKill:
    """``replica``: which group, counted from 0. A new process is started when the window ends."""

    replica: int = 0

    kind: ClassVar[str] = "replica_kill"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.REPLICA_PROCESS})
    usable: ClassVar[bool] = True  # whoever is not waiting for the dead process is served by the other one
    effect: ClassVar[Effect] = Effect.STRANDS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_replica(self.kind, self.replica)

    @property
    def heals(self) -> str:
        """What leaving the window puts back."""
        return process_of(self.replica)

    @property
    def delay_ms(self) -> float:
        """Nothing is delayed."""
        return 0.0

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        """The witness is the status with which the process ended, and how many calls it had."""
        replicas = env.replicas
        return struck(env, self.replica, replicas.kill, replicas.start, heals=self.heals)
