"""Acknowledges every save at once, and does those of some turns later: a write-behind cache."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any, ClassVar

from harness.core.verdict import Anomaly
from tests.oracle.savers.honest import HonestSaver, newest_turn, place, stored_as

#: In virtual seconds: longer than users think between two calls.
LATE_S = 0.5


class WritesLate(HonestSaver):
    """A read right after the acknowledgement lacks the turn: S1. A turn that is built on what such a read shows hides
    it for good: L2, P1. What waits for the user is not yet there when it is answered: I1, H1. A thread that is deleted
    meanwhile comes back: Z1.
    """

    own: ClassVar = frozenset({Anomaly.S1})
    follows: ClassVar = frozenset({Anomaly.L2, Anomaly.P1, Anomaly.I1, Anomaly.H1, Anomaly.Z1})

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self._late: set[str] = set()

    def put(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        """The checkpoints of one turn in three come late."""
        _, space = place(config)
        if space != "" or not self.picks(newest_turn(checkpoint), 1 / 3):
            return super().put(config, checkpoint, metadata, new_versions)
        self._late.add(checkpoint["id"])
        put = super().put
        asyncio.get_running_loop().call_later(LATE_S, lambda: put(config, checkpoint, metadata, new_versions))
        return stored_as(config, checkpoint)

    def put_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
        """The writes of a late checkpoint are as late."""
        put_writes = super().put_writes
        late_s = LATE_S if config["configurable"]["checkpoint_id"] in self._late else 0.0
        asyncio.get_running_loop().call_later(late_s, lambda: put_writes(config, writes, task_id, task_path))
