"""Stores the saves of some turns under another thread: a connection that still carries somebody else's session."""

from __future__ import annotations

from typing import Any, ClassVar

from harness.core.verdict import Anomaly
from tests.oracle.savers.honest import HonestSaver, newest_turn, place, stored_as


class SwapsThreads(HonestSaver):
    """The other thread holds a turn that is not its own: X1. What it held itself is covered: L2, with a parent that it
    does not have, T1, or a fork, P1. Later replies lack both: S1, R2; interrupts and answers are gone: I1, H1. The turn
    is not where it belongs: L1.
    """

    own: ClassVar = frozenset({Anomaly.X1})
    follows: ClassVar = frozenset(
        {Anomaly.L1, Anomaly.L2, Anomaly.T1, Anomaly.P1, Anomaly.S1, Anomaly.R2, Anomaly.I1, Anomaly.H1}
    )

    def put(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        """The checkpoints of one turn in four go to the thread that was used longest ago."""
        thread, space = place(config)
        others = [other for other, spaces in self.storage.items() if other != thread and spaces.get("")]
        if space == "" and others and self.picks(newest_turn(checkpoint), 1 / 4):
            elsewhere: Any = {"configurable": {**config["configurable"], "thread_id": others[0]}}
            whole = dict.fromkeys(checkpoint["channel_values"], 0) | new_versions
            versions = {channel: checkpoint["channel_versions"].get(channel, new) for channel, new in whole.items()}
            super().put(elsewhere, checkpoint, metadata, versions)
            return stored_as(config, checkpoint)
        return super().put(config, checkpoint, metadata, new_versions)
