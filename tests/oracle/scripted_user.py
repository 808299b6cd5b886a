"""A user who does what a plan says, with the manners of the real load: the same turn again while its outcome is
unknown, an answer to every interrupt, forks only of acknowledged turns, one call at a time, from one replica group to
the other.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.agent import Turn
from harness.core.workload import Action, Outcome

#: Tries of one call.
ATTEMPTS = 5
#: Answers to one turn's interrupts; who is asked the same again and again goes on to something else.
RESUMES = 3
_PREFIX = {"turn": "t", "restore": "r", "fork": "f", "delete": "d"}


class ScriptedUser:
    """Implements ``core.workload.User``."""

    def __init__(self, number: int, sayings: Sequence[str], agent: str, groups: Sequence[str]) -> None:
        self.name = f"u{number}"
        self._sayings = list(sayings)
        self._agent = agent
        self._groups = tuple(groups)
        self._calls = number
        self._threads = -1
        self._resumes = 0
        self._done: Action | None = None
        self._begin_thread()

    def next(self, last: Outcome | None) -> Action | None:
        """See ``core.workload.User``."""
        self._done = self._after(self._done, last)
        return self._done

    def _after(self, done: Action | None, last: Outcome | None) -> Action | None:
        if done is not None and last is not None:
            again = self._same_again(done, last)
            if again is not None:
                return again
        while self._sayings:
            saying = self._sayings.pop(0)
            if saying == "new":
                self._begin_thread()
            elif saying == "fork":
                if len(self._acknowledged) > 1:
                    return self._call(saying, target=self._acknowledged[-1])
            else:
                return self._call(saying)
        return None

    def _same_again(self, done: Action, last: Outcome) -> Action | None:
        """What has to be said before the script goes on; None if nothing."""
        if last.status == "hung":
            self._begin_thread()
            return None
        if last.status != "ok":
            if done.attempt < ATTEMPTS:
                return self._action(done.kind, done.turn, done.attempt + 1, done.target)
            if done.kind == "delete":
                self._begin_thread()
            return None
        if last.waiting and self._resumes < RESUMES:
            self._resumes += 1
            return self._action("resume", done.turn, 1, ",".join(last.waiting))
        if done.kind in ("turn", "resume"):
            self._acknowledged.append(done.turn.id)
        if done.kind == "fork":
            self._acknowledged.remove(done.target)
        if done.kind == "delete":
            self._begin_thread()
        return None

    def _begin_thread(self) -> None:
        self._threads += 1
        self._thread = f"{self._agent}.{self.name}.{self._threads}"
        self._acknowledged: list[str] = []
        self._numbers = dict.fromkeys(_PREFIX, 0)

    def _call(self, kind: str, target: str = "") -> Action:
        self._numbers[kind] += 1
        self._resumes = 0
        turn = Turn(f"{self._thread}/{_PREFIX[kind]}{self._numbers[kind]}", self._thread, f"please {kind}")
        return self._action(kind, turn, 1, target)

    def _action(self, kind: str, turn: Turn, attempt: int, target: str) -> Action:
        self._calls += 1
        group = self._groups[self._calls % len(self._groups)]
        return Action(
            think_s=0.02, kind=kind, agent=self._agent, group=group, turn=turn, attempt=attempt, target=target
        )
