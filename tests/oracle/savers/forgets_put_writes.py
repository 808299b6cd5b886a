"""Acknowledges the writes of a task, and forgets them; checkpoints it keeps."""

from __future__ import annotations

from typing import Any, ClassVar

from harness.core.verdict import Anomaly
from tests.oracle.savers.honest import HonestSaver


class ForgetsPutWrites(HonestSaver):
    """An interrupt lives in the writes of its task alone, so it is lost: I1."""

    own: ClassVar = frozenset({Anomaly.I1})

    def put_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
        """Do nothing."""
