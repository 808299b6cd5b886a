"""A replica's process is told to end (SIGTERM), as a container is that is scaled in: it takes no call any more, answers
those that it has, closes its strategy and ends.

Nobody need notice: the calls that it has are answered, the others go to another replica.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import ClassVar

from harness.core.environment import Capability, Environment
from harness.core.fault import Effect, Witness
from harness.faults.replicas import check_replica, process_of, struck


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaDrain:
    """``replica``: which group, counted from 0. A new process is started when the window ends."""

    replica: int = 0

    kind: ClassVar[str] = "replica_drain"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.REPLICA_PROCESS})
    usable: ClassVar[bool] = True
    effect: ClassVar[Effect] = Effect.DRAINS
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
        """The block begins when the process has ended, by itself or by SIGKILL once its time was over."""
        replicas = env.replicas
        return struck(env, self.replica, replicas.drain, replicas.start, heals=self.heals)
