"""The saver that keeps every promise; the wrong ones are subclasses that break one."""

from __future__ import annotations

from random import Random
from typing import Any, ClassVar

from langgraph.checkpoint.memory import InMemorySaver

from harness.core.verdict import Anomaly


class HonestSaver(InMemorySaver):
    """What stands for the database: one for the run, behind every replica.

    ``own``: the codes that a wrong saver must be caught with. ``follows``: codes that come of the same lie when the
    users go on after it; each class says why.
    """

    own: ClassVar[frozenset[Anomaly]] = frozenset()
    follows: ClassVar[frozenset[Anomaly]] = frozenset()

    def __init__(self, rng: Random) -> None:
        super().__init__()
        self.rng = rng

    def crash(self) -> None:
        """A replica's process died; what was acknowledged stays."""

    def picks(self, turn: str, share: float) -> bool:
        """Whether this turn is one of the ``share`` that a wrong saver spoils: the same answer every time."""
        return Random(f"{self._seed}/{turn}").random() < share

    @property
    def _seed(self) -> float:
        if not hasattr(self, "_drawn"):
            self._drawn = self.rng.random()
        return self._drawn


def stored_as(config: Any, checkpoint: Any) -> Any:
    """What ``put`` gives back when all went well."""
    thread, space = place(config)
    return {"configurable": {"thread_id": thread, "checkpoint_ns": space, "checkpoint_id": checkpoint["id"]}}


def place(config: Any) -> tuple[str, str]:
    """(thread, namespace) that a config names."""
    return config["configurable"]["thread_id"], config["configurable"].get("checkpoint_ns", "")


def newest_turn(checkpoint: Any) -> str:
    """The last turn that a checkpoint of the top graph holds, or that has just come in; empty if none."""
    values = checkpoint["channel_values"]
    incoming = values.get("__start__")
    messages = (incoming if isinstance(incoming, dict) else values).get("messages") or ()
    return next((str(message.id) for message in reversed(messages) if message.type == "human"), "")
