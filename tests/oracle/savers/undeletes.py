"""Acknowledges that a thread is deleted, and keeps it."""

from __future__ import annotations

from typing import ClassVar

from harness.core.verdict import Anomaly
from tests.oracle.savers.honest import HonestSaver


class Undeletes(HonestSaver):
    """The thread is still there: Z1."""

    own: ClassVar = frozenset({Anomaly.Z1})

    def delete_thread(self, thread_id: str) -> None:
        """Do nothing."""
