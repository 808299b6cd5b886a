"""The post's load: ten users in a closed loop, each with one conversation at a time, moving between replicas.

A user thinks, makes one call, and thinks again. Turns of one thread alternate between the replica groups; sessions
are restored on the other group, interrupts are resumed there, conversations end (some are deleted) and new ones
begin, and where a graph's users go back in time they fork. After a call whose outcome is unknown the user repeats the
same turn, up to five times in all, then moves on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from harness.core.agent import Turn
from harness.core.errors import UsageError
from harness.core.workload import Action, Outcome, User, thread_id, turn_id, user_name


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoop:
    """``users_n`` users with think times drawn from ``think_min_ms`` to ``think_max_ms``.

    ``turns_per_thread``: length of a conversation. ``restore_share``: chance that a turn is preceded by a restore of
    the session. ``delete_share``: chance that a finished conversation is deleted. ``fork_every``: each so many turns
    of a thread of ``fork_agent`` are taken back by a fork (0: never). ``attempts``: tries of one call.
    """

    users_n: int = 10
    think_min_ms: float = 100.0
    think_max_ms: float = 400.0
    turns_per_thread: int = 12
    restore_share: float = 0.2
    delete_share: float = 0.3
    fork_every: int = 5
    fork_agent: str = "FormulationAssistant"
    attempts: int = 5

    def __post_init__(self) -> None:
        if not 1 <= self.users_n <= 1000:
            raise UsageError(f"ClosedLoop: users_n is {self.users_n!r}; allowed: 1 to 1000")
        if not 0 <= self.think_min_ms <= self.think_max_ms:
            times = f"{self.think_min_ms!r} to {self.think_max_ms!r} ms"
            raise UsageError(f"ClosedLoop: think times are {times}; allowed: 0 <= min <= max")

    def users(self, *, seed: int, agents: Sequence[str], groups: Sequence[str]) -> Sequence[User]:
        """User ``n`` talks to agent ``n`` modulo their number."""
        return [
            _ClosedLoopUser(self, user_name(n), agents[n % len(agents)], tuple(groups), seed, n)
            for n in range(self.users_n)
        ]


class _ClosedLoopUser:
    def __init__(
        self, load: ClosedLoop, name: str, agent: str, groups: tuple[str, ...], seed: int, number: int
    ) -> None:
        self._load = load
        self._name = name
        self._agent = agent
        self._groups = groups
        self._rng = Random(f"{seed}/{name}")  # noqa: S311 - a workload, not a secret
        self._group = number
        self._threads = 0
        self._thread = self._new_thread()
        self._turns = 0
        self._reads = 0
        self._last: Action | None = None
        self._acknowledged: list[str] = []

    @property
    def name(self) -> str:
        """``u0`` ..."""
        return self._name

    def next(self, last: Outcome | None) -> Action | None:
        """See ``core.workload.User``."""
        action = self._after(last)
        self._last = action
        return action

    def _after(self, last: Outcome | None) -> Action:
        done = self._last
        if done is None or last is None:
            return self._turn()
        if last.status == "hung":  # the thread has a call that would not end: it gets no further turn
            self._thread = self._new_thread()
            return self._turn()
        if last.status != "ok":
            if done.attempt < self._load.attempts:
                return self._action(done.kind, done.turn, attempt=done.attempt + 1, target=done.target)
            return self._new_conversation() if done.kind == "delete" else self._turn()
        if done.kind in ("turn", "resume"):
            return self._after_answer(done, last)
        if done.kind == "fork" and done.target in self._acknowledged:
            self._acknowledged.remove(done.target)
        if done.kind == "delete":
            return self._new_conversation()
        return self._turn()

    def _after_answer(self, done: Action, last: Outcome) -> Action:
        if last.waiting:
            return self._action("resume", done.turn, target=",".join(last.waiting))
        self._acknowledged.append(done.turn.id)
        if self._forks() and len(self._acknowledged) > 1:
            self._reads += 1
            turn = Turn(f"{self._thread}/f{self._reads}", self._thread, "go back")
            return self._action("fork", turn, target=done.turn.id)
        if self._turns >= self._load.turns_per_thread:
            if self._rng.random() < self._load.delete_share:
                return self._action("delete", Turn(f"{self._thread}/d1", self._thread, "delete"))
            return self._new_conversation()
        if self._rng.random() < self._load.restore_share:
            self._reads += 1
            return self._action("restore", Turn(f"{self._thread}/r{self._reads}", self._thread, "restore"))
        return self._turn()

    def _forks(self) -> bool:
        """True after each ``fork_every``-th turn, from the second on: so that the gate, too, sees a fork."""
        every = self._load.fork_every
        return bool(every) and self._agent == self._load.fork_agent and self._turns % every == 2 % every

    def _new_conversation(self) -> Action:
        self._thread = self._new_thread()
        return self._turn()

    def _new_thread(self) -> str:
        self._turns = 0
        self._acknowledged = []
        thread = thread_id(self._agent, self._name, self._threads)
        self._threads += 1
        return thread

    def _turn(self) -> Action:
        self._turns += 1
        turn = Turn(turn_id(self._thread, self._turns), self._thread, f"request {self._turns} of {self._name}")
        return self._action("turn", turn)

    def _action(self, kind: str, turn: Turn, *, attempt: int = 1, target: str = "") -> Action:
        self._group += 1  # the next call goes to the other group: a thread moves between replicas
        think_ms = self._rng.uniform(self._load.think_min_ms, self._load.think_max_ms)
        return Action(
            think_s=think_ms / 1000,
            kind=kind,
            agent=self._agent,
            group=self._groups[self._group % len(self._groups)],
            turn=turn,
            attempt=attempt,
            target=target,
        )
