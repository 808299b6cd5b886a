"""Puts an old checkpoint on top again after some turns: two nodes that both think they are the primary."""

from __future__ import annotations

from typing import Any, ClassVar

from langgraph.checkpoint.base.id import uuid6

from harness.core.verdict import Anomaly
from tests.oracle.savers.honest import HonestSaver, newest_turn, place


class Forks(HonestSaver):
    """A fork that nobody asked for hides the turn: P1, L2. A later reply lacks it: S1."""

    own: ClassVar = frozenset({Anomaly.P1, Anomaly.L2})
    follows: ClassVar = frozenset({Anomaly.S1})

    def put(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        """After the answer of one turn in three, the newest checkpoint without that turn stands on top."""
        put = super().put(config, checkpoint, metadata, new_versions)
        thread, space = place(config)
        turn = newest_turn(checkpoint)
        messages = checkpoint["channel_values"].get("messages") or ()
        if space == "" and messages and messages[-1].type == "ai" and self.picks(turn, 1 / 3):
            self._raise_old(thread, turn)
        return put

    def _raise_old(self, thread: str, turn: str) -> None:
        saved = self.storage[thread][""]
        for name in sorted(saved, reverse=True):
            found = super().get_tuple(
                {"configurable": {"thread_id": thread, "checkpoint_ns": "", "checkpoint_id": name}}
            )
            assert found is not None
            held = [message.id for message in found.checkpoint["channel_values"].get("messages") or ()]
            if held and turn not in held and saved[name][2] is not None:
                saved[str(uuid6())] = saved[name]
                return
