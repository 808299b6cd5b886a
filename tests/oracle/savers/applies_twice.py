"""Stores the writes of a task twice: a statement that is sent again after a lost answer, without a key that tells."""

from __future__ import annotations

from typing import Any, ClassVar

from langgraph.checkpoint.base import WRITES_IDX_MAP

from harness.core.verdict import Anomaly
from tests.oracle.savers.honest import HonestSaver


class AppliesTwice(HonestSaver):
    """Once a run goes on from stored writes, what they append stands there twice: D2."""

    own: ClassVar = frozenset({Anomaly.D2})

    def put_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
        """Everything but interrupts and resumes once more, as further writes of the same task."""
        again = [write for write in writes if write[0] not in WRITES_IDX_MAP]
        super().put_writes(config, [*writes, *again], task_id, task_path)
