"""Pairs of users who write one conversation at the same time, which LangGraph leaves to the service to prevent.

Only to show that a lost turn is seen where it is known to be lost: every other workload has one writer for each thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from harness.core.agent import Turn
from harness.core.errors import UsageError
from harness.core.workload import Action, Outcome, thread_id, turn_id, user_name

THINK_MIN_MS, THINK_MAX_MS = 10.0, 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoWriters:
    """``pairs_n`` pairs; the two of a pair call different replicas of one agent, each in a closed loop."""

    pairs_n: int = 5

    def __post_init__(self) -> None:
        if not 1 <= self.pairs_n <= 500:
            raise UsageError(f"TwoWriters: pairs_n is {self.pairs_n!r}; allowed: 1 to 500")

    def users(self, *, seed: int, agents: Sequence[str], groups: Sequence[str]) -> Sequence[_Writer]:
        """Users ``2n`` and ``2n + 1`` write the same thread of agent ``n`` modulo their number."""
        return [
            _Writer(user_name(n), agents[n // 2 % len(agents)], groups[n % len(groups)], n, Random(f"{seed}/u{n}"))  # noqa: S311 - a workload
            for n in range(2 * self.pairs_n)
        ]


class _Writer:
    """Sends one turn after the other; answers an interrupt that an answer reports; never repeats a turn."""

    def __init__(self, name: str, agent: str, group: str, number: int, rng: Random) -> None:
        self._name = name
        self._agent = agent
        self._group = group
        self._thread = thread_id(agent, user_name(number - number % 2), 0)  # named after the first of the pair
        self._place = number % 2
        self._rng = rng
        self._turns = 0
        self._turn = Turn("", self._thread, "")

    @property
    def name(self) -> str:
        """``u0`` ..."""
        return self._name

    def next(self, last: Outcome | None) -> Action | None:
        """See ``core.workload.User``."""
        if last is not None and last.status == "hung":
            return None  # the thread has a call that would not end
        if last is not None and last.waiting:
            return self._action("resume", ",".join(last.waiting))
        number = 2 * self._turns + 1 + self._place  # one writes the odd turns, the other the even ones
        self._turns += 1
        self._turn = Turn(turn_id(self._thread, number), self._thread, f"request {number} of {self._name}")
        return self._action("turn")

    def _action(self, kind: str, target: str = "") -> Action:
        think_s = self._rng.uniform(THINK_MIN_MS, THINK_MAX_MS) / 1000
        return Action(think_s=think_s, kind=kind, agent=self._agent, group=self._group, turn=self._turn, target=target)
