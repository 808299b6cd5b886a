"""Makes the users' calls: through the strategy's ``serve``, recorded, watched, and never rescued before deadline + 12
s.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Mapping
from functools import partial

from harness.core.history import OpType
from harness.core.scenario import Bounds
from harness.core.verdict import Json
from harness.core.workload import Action, Outcome
from harness.driving.ending import Ending
from harness.driving.group import Group
from harness.driving.recorder import Call, Recorder
from harness.driving.serving import Serving
from harness.driving.traffic import CellTraffic
from harness.driving.watchdog import Watchdog


class Caller:
    """One for the whole cell; calls may come from several loops. What it counts tells the runner when to go on."""

    def __init__(
        self,
        groups: Mapping[str, Group],
        *,
        bounds: Bounds,
        durability: str,
        recorder: Recorder,
        traffic: CellTraffic,
        watchdog: Watchdog,
    ) -> None:
        self._groups = groups
        self._bounds = bounds
        self._durability = durability
        self._recorder = recorder
        self._traffic = traffic
        self._watchdog = watchdog
        self._lock = threading.Lock()
        #  Calls answered since the last ``forget``: by kind, and by (group, agent) since that one last failed to
        # answer.
        self.answered: Counter[str] = Counter()
        self.answered_by: Counter[tuple[str, str]] = Counter()
        #: Kinds of call that were ever tried, and those that were ever answered.
        self.tried: set[str] = set()
        self.succeeded: set[str] = set()
        #: When the last call that was not answered ended, by (group, agent).
        self._unanswered_s: dict[tuple[str, str], float] = {}
        #: Every thread that was used, with its agent; and the turn ids that were sent to it.
        self.threads: dict[str, str] = {}
        self.turns: dict[str, list[str]] = {}

    def forget(self) -> None:
        """Count answers from now on."""
        with self._lock:
            self.answered.clear()
            self.answered_by.clear()

    def unanswered_since_s(self) -> float:
        """When the last call that was not answered ended, on the cell's clock; 0 if there was none."""
        with self._lock:
            return max(self._unanswered_s.values(), default=0.0)

    def lost_after(self, at_s: float, replicas: Collection[tuple[str, str]]) -> bool:
        """Whether one of these (group, agent) was asked after ``at_s`` in vain, and each other one was too or has
        answered since it last failed: nothing is left to be seen then.
        """
        with self._lock:
            late = {replica for replica, ended_s in self._unanswered_s.items() if ended_s > at_s}
        return bool(late) and all(self.answered_by[replica] for replica in replicas if replica not in late)

    async def call(self, user: str, action: Action) -> Outcome:
        """Make one call and wait for its end, all attempts included."""
        group = self._groups[action.group]
        row = self._recorder.invoke(action.kind, user, self._invocation(user, action))
        serving = Serving(group, action, row, bounds=self._bounds, durability=self._durability, recorder=self._recorder)
        self._note_use(action)
        self._traffic.began()
        self._watchdog.opened(row, self._bounds.deadline_s)
        visit = self._traffic.visit(user, action)
        try:
            ending = await serving.ended() if visit is None else await serving.ended(partial(visit.start, row))
        finally:
            self._watchdog.closed(row)
            self._traffic.ended()
        outcome = self._tell(row, action, ending if visit is None else visit.ends(ending))
        return outcome if await serving.left_nothing() else Outcome("hung")

    def _invocation(self, user: str, action: Action) -> dict[str, Json]:
        value: dict[str, Json] = {
            "user": user,
            "agent": action.agent,
            "group": action.group,
            "replica": f"{action.group}/{action.agent}",
            "thread": action.turn.thread_id,
            "turn": action.turn.id,
            "attempt": action.attempt,
            "deadline_s": self._bounds.deadline_s,
        }
        if action.target:
            value["target"] = action.target
        return value

    def _note_use(self, action: Action) -> None:
        with self._lock:
            self.tried.add(action.kind)
            self.threads[action.turn.thread_id] = action.agent
            turns = self.turns.setdefault(action.turn.thread_id, [])
            if action.kind == "turn" and action.turn.id not in turns:
                turns.append(action.turn.id)

    def _tell(self, row: Call, action: Action, ending: Ending) -> Outcome:
        """Record how the call ended, and say it to the user."""
        self._recorder.complete(row, ending.kind, ending.value, ending.error)
        if ending.kind is not OpType.OK:
            replica = str(row.value["group"]), str(row.value["agent"])
            with self._lock:
                self._unanswered_s[replica] = self._recorder.clock.now_s()
                self.answered_by.pop(replica, None)  # it has to show itself again
            return Outcome(ending.kind.value)
        with self._lock:
            self.succeeded.add(action.kind)
            self.answered[action.kind] += 1
            self.answered_by[action.group, action.agent] += 1
        return Outcome("ok", waiting=_texts(ending.value["waiting"]), turns=_texts(ending.value["turns"]))


def _texts(value: Json) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list) else ()
