"""Stores in memory first and on disk a little later: what is younger than that is gone when a process dies."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from random import Random
from typing import Any, ClassVar

from harness.core.verdict import Anomaly
from tests.oracle.savers.honest import HonestSaver, place

#: How long it takes until a save is on disk, in virtual seconds.
UNSAFE_S = 1.0


class LosesOnCrash(HonestSaver):
    """Acknowledged turns are gone after a crash: L1, and missing in later replies: S1, R2; or only their answers are:
    H1. Interrupts that wait are gone as well: I1. What another replica builds on lost checkpoints has no parent, hides
    what stands behind it, and does again what it cannot see: T1, L2, D2.
    """

    own: ClassVar = frozenset({Anomaly.L1})
    follows: ClassVar = frozenset({Anomaly.S1, Anomaly.R2, Anomaly.H1, Anomaly.I1, Anomaly.T1, Anomaly.L2, Anomaly.D2})

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self._young: list[tuple[float, MutableMapping[Any, Any], Any]] = []

    def put(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        """Remember what is not on disk yet."""
        put = super().put(config, checkpoint, metadata, new_versions)
        thread, space = place(config)
        self._note(self.storage[thread][space], [checkpoint["id"]])
        self._note(self.blobs, [(thread, space, channel, version) for channel, version in new_versions.items()])
        return put

    def put_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
        """Likewise."""
        key = (*place(config), config["configurable"]["checkpoint_id"])
        before = set(self.writes.get(key, ()))
        super().put_writes(config, writes, task_id, task_path)
        self._note(self.writes[key], [name for name in self.writes[key] if name not in before])

    def crash(self) -> None:
        """Lose what is young."""
        since_s = asyncio.get_running_loop().time() - UNSAFE_S
        for when_s, where, name in self._young:
            if when_s >= since_s:
                where.pop(name, None)
        self._young.clear()

    def _note(self, where: MutableMapping[Any, Any], names: list[Any]) -> None:
        now_s = asyncio.get_running_loop().time()
        self._young += [(now_s, where, name) for name in names]
