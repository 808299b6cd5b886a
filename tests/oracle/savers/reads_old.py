"""Serves some reads from k versions back: a standby that lags."""

from __future__ import annotations

from typing import Any, ClassVar

from langgraph.checkpoint.base import CheckpointTuple, get_checkpoint_id

from harness.core.verdict import Anomaly
from tests.oracle.savers.honest import HonestSaver, place

#: So many checkpoints back: more than the small graph saves in one turn.
BACK = 6


class ReadsOld(HonestSaver):
    """A read that began after the acknowledgement lacks the turn: S1, or contradicts the read before: N1, R2. A turn
    that is built on it hides what came between: L2, P1. An interrupt is not seen: I1, H1.
    """

    own: ClassVar = frozenset({Anomaly.S1})
    follows: ClassVar = frozenset({Anomaly.L2, Anomaly.P1, Anomaly.N1, Anomaly.R2, Anomaly.I1, Anomaly.H1})

    def get_tuple(self, config: Any) -> CheckpointTuple | None:
        """Every second read of a thread's newest state is old."""
        thread, space = place(config)
        if get_checkpoint_id(config) or space != "" or self.rng.random() >= 1 / 2:
            return super().get_tuple(config)
        known = sorted(self.storage[thread][space]) if thread in self.storage else []
        if len(known) <= BACK:
            return super().get_tuple(config)
        old = {"thread_id": thread, "checkpoint_ns": space, "checkpoint_id": known[-1 - BACK]}
        return super().get_tuple({"configurable": old})
