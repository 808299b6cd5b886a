"""A simulated system that keeps every promise, under trouble: what it acknowledges is stored, what it does not may be.

Users keep to the rules of the real load: one call at a time and thread, the same id again after an unknown outcome,
forks only of acknowledged turns. It writes the history that a cell would, and holds the state that one would leave.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from harness.core.facts import Facts
from harness.core.history import History, OpType
from tests.checkers.made_histories import AGENT, OPERATIONAL, MadeCell


class _User:
    def __init__(self, name: str) -> None:
        self.name = name
        self.threads = 0
        self.turns = 0
        self.thread = f"{AGENT}.{name}.0"
        self.acknowledged: list[str] = []
        self.waiting = ""


class HonestSystem:
    """``trouble``: the chance that a call meets the fault; ``show``: most turns that a reply lists (0: all)."""

    def __init__(self, rng: Random, trouble: float, *, show: int = 0) -> None:
        self._rng = rng
        self._trouble = trouble
        self._show = show
        self._users = {f"u{number}": _User(f"u{number}") for number in range(3)} | {"u9": _User("u9")}
        self._seen: dict[str, list[str]] = {}
        self.cell = MadeCell()
        self.owed: dict[str, list[str]] = {}
        self.cell.gate()
        self.cell.strike(in_flight=3)

    def finish(self) -> History:
        """End the cell, once, and give its history."""
        self.cell.heal()
        self.cell.sample(g0=[1], g1=[3])
        self.cell.everybody(round_=900)
        self.cell.end()
        return self.cell.history

    def facts(self) -> Facts:
        """What the database holds."""
        return self.cell.facts()

    def fresh_thread(self, user: str) -> str:
        """The user begins a new conversation."""
        person = self._users[user]
        person.threads += 1
        person.turns, person.acknowledged, person.waiting = 0, [], ""
        person.thread = f"{AGENT}.{user}.{person.threads + 100}"
        return person.thread

    def run(self, calls: int, users: Sequence[str] = ("u0", "u1", "u2")) -> None:
        """Random calls of random users; each repeats what is in doubt, up to three times."""
        for _ in range(calls):
            user = self._rng.choice(users)
            kinds = ["turn"] * 6 + ["restore"] * 2 + ["fork", "delete"]
            self.call(self._rng.choice(kinds), user=user)

    def call(
        self,
        kind: str,
        *,
        user: str,
        sure: bool | None = None,
        lands: bool | None = None,
        shows: Sequence[str] | None = None,
    ) -> None:
        """One call with its repetitions. ``sure``: whether it is answered; ``lands``: whether it happens if not."""
        person = self._users[user]
        if person.waiting and kind == "turn":
            kind = "resume"
        if kind == "fork" and not person.acknowledged:
            kind = "restore"
        turn, target = self._identity(person, kind)
        waits = kind == "turn" and sure is None and self._rng.random() < 0.2
        for attempt in range(1, 4):
            answered = sure if sure is not None else self._rng.random() >= self._trouble
            happens = answered or (lands if lands is not None else self._rng.random() < 0.5)
            self._attempt(person, kind, turn, target, attempt, answered, happens, shows, waits=waits)
            if answered or sure is False:
                break
        else:
            if kind in ("delete", "resume"):
                self.fresh_thread(user)

    def _identity(self, person: _User, kind: str) -> tuple[str, str]:
        if kind == "resume":
            return person.acknowledged[-1], person.waiting
        person.turns += 1
        turn = f"{person.thread}/{kind[0]}{person.turns}"
        return turn, self._rng.choice(person.acknowledged) if kind == "fork" else ""

    def _attempt(
        self,
        person: _User,
        kind: str,
        turn: str,
        target: str,
        attempt: int,
        answered: bool,
        happens: bool,
        shows: Sequence[str] | None,
        *,
        waits: bool,
    ) -> None:
        cell, thread = self.cell, person.thread
        if kind == "delete":
            self.owed.pop(
                thread, None
            )  # one of unknown outcome may act at any later time: nothing is owed from here on
        more = {"target": target} if target else {}
        group = self._rng.choice(["g0", "g1"])
        number = cell.begin(kind, turn, thread=thread, group=group, attempt=attempt, **more)
        cell.now_s += self._rng.uniform(0.0, 0.03)
        if happens:
            self._happen(person, kind, turn, target, half=not answered and self._rng.random() < 0.5, waits=waits)
        if kind in ("turn", "resume"):
            cell.save(
                "aput", parent=number, thread=thread, group=group, turn=turn, error=None if answered else OPERATIONAL
            )
        if not answered:
            refused = kind != "turn" and self._rng.random() < 0.3
            certain = not happens and self._rng.random() < 0.3
            if certain and not refused and kind not in ("turn", "resume"):
                self._end(number, "fail")
            else:
                self._end(number, "info")
            return
        held = cell.state.get(thread, [])
        if kind == "turn":
            person.acknowledged.append(turn)
            self.owed.setdefault(thread, []).append(turn)
            person.waiting = f"{turn}!" if waits else ""
        if kind == "resume":
            person.waiting = ""
        listed = held[: self._show] if self._show and not shows else held
        cell.complete(
            number,
            value={
                "text": "fine",
                "turns": [] if self._show and kind != "restore" else list(shows if shows is not None else listed),
                "waiting": [person.waiting] if person.waiting else [],
            }
            if kind != "delete"
            else {"text": "", "turns": [], "waiting": []},
        )
        if kind == "delete":
            self.fresh_thread(person.name)

    def _end(self, number: int, status: str) -> None:
        self.cell.complete(number, OpType(status), {}, OPERATIONAL)

    def _happen(self, person: _User, kind: str, turn: str, target: str, *, half: bool, waits: bool) -> None:
        """Change the state; a half turn is stored without its answer."""
        held = self.cell.state.setdefault(person.thread, [])
        answers = self.cell.answers.setdefault(person.thread, [])
        if kind == "turn" and turn not in held:
            held.append(turn)
        if kind in ("turn", "resume") and not half and not waits and turn not in answers:
            answers.append(turn)
        if kind == "fork":
            if target in held:
                del held[held.index(target) :]
                answers[:] = [answer for answer in answers if answer in held]
            person.acknowledged = [known for known in person.acknowledged if known in held]
            person.waiting = ""
        if kind == "delete":
            held.clear()
            answers.clear()
