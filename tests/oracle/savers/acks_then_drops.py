"""Acknowledges every save, and never stores those of some turns."""

from __future__ import annotations

from random import Random
from typing import Any, ClassVar

from harness.core.verdict import Anomaly
from tests.oracle.savers.honest import HonestSaver, newest_turn, place, stored_as


class AcksThenDrops(HonestSaver):
    """The turn is gone: L1. A later reply lacks it: S1. Where a part of it was kept, an older checkpoint may still hold
    it: L2.
    """

    own: ClassVar = frozenset({Anomaly.L1})
    follows: ClassVar = frozenset({Anomaly.S1, Anomaly.L2})

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self._dropped: set[str] = set()

    def put(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        """Drop the checkpoints of one turn in three."""
        thread, space = place(config)
        if space == "" and self.picks(newest_turn(checkpoint), 1 / 3):
            self._dropped.add(checkpoint["id"])
            self.writes.pop((thread, space, checkpoint["id"]), None)
            return stored_as(config, checkpoint)
        return super().put(config, checkpoint, metadata, new_versions)

    def put_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
        """Drop what belongs to a dropped checkpoint."""
        if config["configurable"]["checkpoint_id"] not in self._dropped:
            super().put_writes(config, writes, task_id, task_path)
