"""The checkers and a search for a linear order agree on small histories of one thread, sound ones and spoilt ones.

One user at a time, as the contract of a thread demands: turns that are answered, fail or stay in doubt (and then take
effect at once, later, or never), the same turn again, reads, and the final reads. Some replies are spoilt.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.checkers.isolation import Isolation
from harness.checkers.no_duplicate_turn import NoDuplicateTurn
from harness.checkers.no_lost_turn import NoLostTurn
from harness.core.history import OpType
from harness.core.verdict import Verdict
from tests.checkers.made_histories import BOUNDS, THREAD, MadeCell
from tests.oracle.linearizable import Step, linearizable

JUDGES = (NoLostTurn(), NoDuplicateTurn(), Isolation())


class End(StrEnum):
    """How a call ends, and what it did."""

    OK = "ok"
    FAIL = "fail"  # it certainly did nothing
    LOST = "lost"  # in doubt, and it did
    LATE = "late"  # in doubt, and it does so one or more calls later
    NEVER = "never"  # in doubt, and it did not


class Spoil(StrEnum):
    """What is wrong with a list that was shown."""

    DROPS_FIRST = "drops_first"
    DROPS_LAST = "drops_last"
    SWAPS = "swaps"
    DOUBLES = "doubles"
    INVENTS = "invents"


@dataclass(frozen=True, slots=True)
class Said:
    """One call. ``again``: the turn of the call before once more, if that was not answered."""

    read: bool
    again: bool
    end: End
    spoil: Spoil | None


def _calls() -> st.SearchStrategy[list[Said]]:
    ends = st.sampled_from((End.OK, End.OK, End.OK, *End))
    spoils = st.one_of(st.none(), st.none(), st.none(), st.none(), st.sampled_from(Spoil))
    return st.lists(st.builds(Said, st.booleans(), st.booleans(), ends, spoils), min_size=1, max_size=7)


class _Thread:
    """Plays the calls on an honest list, and writes them down for both judges."""

    def __init__(self) -> None:
        self.cell = MadeCell()
        self.steps: list[Step] = []
        self.held: list[str] = []
        self._late: list[str] = []
        self._turns = 0
        self._attempt = 0
        self._open = False

    def say(self, said: Said) -> None:
        """One call."""
        if said.read:
            self._land()
            number = self.cell.begin("restore", f"r{len(self.steps)}", group=f"g{len(self.steps) % 2}")
            self._answer(number, "", said.spoil)
            return
        if not (said.again and self._open):
            self._turns, self._attempt = self._turns + 1, 0
        self._attempt += 1
        turn = f"{THREAD}/t{self._turns}"
        number = self.cell.begin("turn", turn, group=f"g{len(self.steps) % 2}", attempt=self._attempt)
        began = len(self.cell.rows)
        self._open = said.end is not End.OK
        if said.end in (End.OK, End.LOST):
            self._append(turn)
        if said.end is End.LATE:
            self._late.append(turn)
        if said.end is End.OK:
            self._answer(number, turn, said.spoil)
        elif said.end is End.FAIL:
            self.cell.complete(number, OpType.FAIL)
        else:
            self.cell.complete(number, OpType.INFO)
            self.steps.append(Step(began, math.inf, turn, None))

    def finish(self, spoil: Spoil | None, *, land: bool) -> None:
        """The final reads."""
        if land:
            self._land()
        shown = _spoilt(self.held, spoil)
        self.steps.append(Step(len(self.cell.rows) + 1, len(self.cell.rows) + 2, "", tuple(shown)))
        self.cell.state[THREAD] = shown
        self.cell.answers[THREAD] = list(dict.fromkeys(shown))

    def _land(self) -> None:
        for turn in self._late:
            self._append(turn)
        self._late.clear()

    def _append(self, turn: str) -> None:
        if turn not in self.held:
            self.held.append(turn)

    def _answer(self, number: int, turn: str, spoil: Spoil | None) -> None:
        began = len(self.cell.rows)
        shown = _spoilt(self.held, spoil)
        told = shown if shown or not turn else None  # a reply to a turn that lists nothing says nothing
        self.cell.complete(number, value={"text": "", "turns": list(shown), "waiting": []})
        self.steps.append(Step(began, len(self.cell.rows), turn, None if told is None else tuple(told)))


def _spoilt(held: list[str], spoil: Spoil | None) -> list[str]:
    if spoil is Spoil.INVENTS:
        return [*held, f"{THREAD}/t99"]
    if not held or spoil is None:
        return list(held)
    return {
        Spoil.DROPS_FIRST: held[1:],
        Spoil.DROPS_LAST: held[:-1],
        Spoil.SWAPS: [*held[:-2], *reversed(held[-2:])],
        Spoil.DOUBLES: [*held, held[0]],
    }[spoil]


def _agree(examples: int) -> None:
    seen: Counter[bool] = Counter()

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(_calls(), st.one_of(st.none(), st.none(), st.sampled_from(Spoil)), st.booleans())
    def same(calls: list[Said], spoil: Spoil | None, land: bool) -> None:
        thread = _Thread()
        for said in calls:
            thread.say(said)
        thread.finish(spoil, land=land)
        history, facts = thread.cell.history, thread.cell.facts()
        findings = [judge.check(history, facts, BOUNDS) for judge in JUDGES]
        broken = [finding.summary for finding in findings if finding.verdict is Verdict.FAIL]
        sound = linearizable(thread.steps)
        seen[sound] += 1
        assert sound == (not broken), (sound, broken, thread.steps)

    same()
    assert min(seen[True], seen[False]) > examples / 10, seen


@pytest.mark.slow
def test_the_checkers_and_the_search_agree_on_1_000_histories() -> None:
    _agree(1_000)


@pytest.mark.proof
def test_the_checkers_and_the_search_agree_on_20_000_histories() -> None:
    _agree(20_000)


def test_the_search_finds_the_one_order_that_explains_a_late_effect() -> None:
    steps = [Step(0, math.inf, "t1", None), Step(2, 3, "t2", ("t2",)), Step(4, 5, "", ("t2", "t1"))]

    assert linearizable(steps)
    assert not linearizable([*steps, Step(6, 7, "", ("t2",))])
    assert not linearizable([Step(0, 1, "t1", ("t1",)), Step(2, 3, "", ())])
