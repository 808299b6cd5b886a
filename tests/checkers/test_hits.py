"""Which window met which agent in which phase of a turn (V15), on histories made by hand."""

from __future__ import annotations

import pytest

from harness.checkers.hits import hits
from harness.checkers.reading import read
from harness.checkers.vacuity import Evidence
from harness.core.history import OpType
from harness.core.verdict import Json
from tests.checkers.made_histories import AGENT, OPERATIONAL, MadeCell
from tests.vacuity.sound_cell import sound

OTHER = "TrialAnalysisAgent"
#: The window of the cells below.
SINCE_S, UNTIL_S = 3.0, 6.0


def _hits(cell: MadeCell) -> dict[str, Json]:
    return hits(Evidence(read(cell.history), cell.facts()))


class Timed(MadeCell):
    """Rows that are written in the order of their times, whichever comes first in a test."""

    def __init__(self) -> None:
        super().__init__()
        self._plans: list[tuple[float, str, int, dict[str, Json]]] = []
        self._number = 0

    def turn(self, since_s: float, until_s: float | None, agent: str = AGENT) -> int:
        """A call of a user; its place in the order of such calls."""
        self._number += 1
        self._plans.append((since_s, "turn", self._number, {"agent": agent}))
        if until_s is not None:
            self._plans.append((until_s, "answer", self._number, {}))
        return self._number

    def saver(self, f: str, since_s: float, until_s: float | None, parent: int | None) -> None:
        """A saver call in a call."""
        self._number += 1
        self._plans.append((since_s, f, self._number, {"parent": parent}))
        if until_s is not None:
            self._plans.append((until_s, "answer", self._number, {}))

    def played(self, *, needs_in_flight: int = 3) -> dict[str, Json]:
        """What the window of 3 to 6 s met."""
        plans = [*self._plans, (SINCE_S, "strike", -1, {}), (UNTIL_S, "heal", -1, {}), (9.0, "end", 10**6, {})]
        calls: dict[int, int] = {}
        for time_s, what, number, value in sorted(plans, key=lambda plan: (plan[0], plan[2])):
            self.now_s = time_s
            if what == "strike":
                self.strike(needs_in_flight=needs_in_flight)
            elif what == "heal":
                self.heal()
            elif what == "end":
                self.end()
            elif what == "answer":
                self.complete(calls[number])
            elif what == "turn":
                calls[number] = self.begin("turn", f"t{number}", thread=f"{value['agent']}.u{number}.0")
            else:
                parent = value["parent"]
                inside: dict[str, Json] = {"parent": calls[parent] if isinstance(parent, int) else None}
                calls[number] = self.invoke(what, "g0/x", inside)
        return _hits(self)


def phases(made: dict[str, Json], agent: str = AGENT, kind: str = "reset_peer") -> Json:
    met = made[kind]
    assert isinstance(met, dict)
    return met[agent]


def test_the_phases_are_those_of_the_calls_that_met_the_window() -> None:
    def save(made: MadeCell) -> None:
        parent = next(op.call for op in made.rows if op.f == "turn" and op.time_s == 3.0)
        made.save("aget_tuple", parent=parent, took_s=1.0)
        made.save("aput", parent=parent, took_s=0.5)

    assert _hits(sound(save)) == {"reset_peer": {AGENT: ["load", "node", "save"]}}


@pytest.mark.parametrize(
    ("f", "phase"), [("aget_tuple", "load"), ("alist", "load"), ("aput", "save"), ("aput_writes", "writes")]
)
def test_each_saver_call_is_a_phase(f: str, phase: str) -> None:
    """It lasted as long as the turn, so no node ran meanwhile."""
    cell = Timed()
    cell.saver(f, 3.5, 4.5, cell.turn(3.5, 4.5))
    assert phases(cell.played()) == [phase]


def test_what_is_no_phase_of_a_turn_is_none() -> None:
    cell = Timed()
    cell.saver("adelete_thread", 3.5, 4.5, cell.turn(3.5, 4.5))
    assert cell.played() == {"reset_peer": {}}


@pytest.mark.parametrize(
    ("since_s", "until_s", "met"),
    [
        (1.0, 2.9, False), (1.0, 3.0, True), (1.0, 4.0, True), (4.0, 5.0, True), (5.0, 8.0, True), (6.0, 8.0, True),
        (6.1, 8.0, False), (1.0, 8.0, True), (4.0, None, True), (6.1, None, False),
    ],
)  # fmt: skip
def test_a_saver_call_meets_a_window_that_it_touches(since_s: float, until_s: float | None, met: bool) -> None:
    cell = Timed()
    cell.saver("aput", since_s, until_s, cell.turn(0.5, 8.5))
    found = phases(cell.played())
    assert isinstance(found, list)
    assert ("save" in found) is met


def test_a_saver_call_that_outlived_its_turn_meets_what_came_in_the_turn_alone() -> None:
    """What never completed lasted as long as the call that it was made for."""
    cell = Timed()
    cell.saver("aput", 1.0, None, cell.turn(0.5, 2.0))
    cell.saver("aput_writes", 3.5, None, cell.turn(3.5, 4.0, OTHER))
    assert cell.played() == {"reset_peer": {OTHER: ["writes"]}}


@pytest.mark.parametrize(
    ("since_s", "until_s", "ran"),
    [(3.0, 6.0, False), (2.0, 7.0, False), (3.5, 6.0, True), (3.0, 5.5, True), (3.002, 6.0, True), (3.001, 6.0, False)],
)
def test_a_node_ran_where_the_window_met_more_than_a_millisecond_without_the_saver(
    since_s: float, until_s: float, ran: bool
) -> None:
    cell = Timed()
    cell.saver("aput", since_s, until_s, cell.turn(1.0, 8.0))
    assert phases(cell.played()) == (["node", "save"] if ran else ["save"])


def test_a_millisecond_and_no_more_is_no_node() -> None:
    """In numbers that binary fractions hold exactly, but for the bound itself."""
    for length_s, ran in ((0.001, False), (0.0011, True)):
        cell = Timed()
        cell.turn(3.0 - 1.0, 3.0 + length_s)
        found = cell.played()
        assert found == {"reset_peer": {AGENT: ["node"]} if ran else {}}, length_s


def test_the_exact_bound_is_no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.checkers.hits._NODE_S", 0.25)
    cell = Timed()
    cell.turn(2.0, 3.25)
    assert cell.played() == {"reset_peer": {}}


@pytest.mark.parametrize(("since_s", "until_s"), [(2.0, 4.0), (5.0, 7.0), (4.0, 5.0), (5.0, None), (0.5, 8.5)])
def test_a_turn_without_a_saver_call_was_in_a_node(since_s: float, until_s: float | None) -> None:
    cell = Timed()
    cell.turn(since_s, until_s)
    assert phases(cell.played()) == ["node"]


def test_saver_calls_count_for_their_own_call() -> None:
    cell = Timed()
    first, second = cell.turn(3.5, 4.5), cell.turn(3.5, 4.5, OTHER)
    cell.saver("aput", 3.5, 4.5, first)
    cell.saver("aget_tuple", 3.5, 4.5, second)
    cell.saver("aput_writes", 3.5, 4.5, None)
    assert cell.played() == {"reset_peer": {AGENT: ["save"], OTHER: ["load"]}}


def test_all_saver_calls_of_a_call_count() -> None:
    cell = Timed()
    turn = cell.turn(3.0, 6.0)
    for f, since_s in (("aget_tuple", 3.0), ("aput_writes", 4.0), ("aput", 5.0)):
        cell.saver(f, since_s, since_s + 1.0, turn)
    assert phases(cell.played()) == ["load", "save", "writes"]


def test_calls_before_and_after_a_window_were_not_met() -> None:
    cell = Timed()
    cell.saver("aput", 1.5, 2.5, cell.turn(1.0, 2.9))
    cell.saver("aput", 7.0, 7.5, cell.turn(6.5, 8.0))
    assert cell.played() == {"reset_peer": {}}


def test_two_windows_of_one_kind_are_one_row_and_of_two_kinds_two() -> None:
    cell = MadeCell()
    for number, (kind, f) in enumerate([("reset_peer", "aget_tuple"), ("black_hole", "aput"), ("reset_peer", "aput")]):
        cell.now_s = 10.0 * number
        call = cell.begin("turn", f"t{number}")
        cell.strike(number, kind=kind, needs_in_flight=3)
        cell.save(f, parent=call, took_s=1.0)
        cell.complete(call)
        cell.heal(number)
    cell.end()
    assert _hits(cell) == {"reset_peer": {AGENT: ["load", "save"]}, "black_hole": {AGENT: ["save"]}}


def test_a_window_that_was_never_installed_met_nobody() -> None:
    cell = MadeCell()
    cell.gate()
    call = cell.begin("turn", "t5")
    value: dict[str, Json] = {"window": 0, "kind": "reset_peer", "fault": {"kind": "reset_peer"}, "needs_in_flight": 3}
    cell.complete(cell.invoke("fault", "faults", value), OpType.INFO, {}, OPERATIONAL)
    cell.complete(call)
    cell.end()
    assert _hits(cell) == {}


def test_the_window_after_one_that_was_never_installed_is_judged() -> None:
    cell = MadeCell()
    value: dict[str, Json] = {"window": 0, "kind": "black_hole", "fault": {"kind": "black_hole"}, "needs_in_flight": 0}
    cell.complete(cell.invoke("fault", "faults", value), OpType.INFO, {}, OPERATIONAL)
    cell.now_s = 1.0
    cell.strike(1, needs_in_flight=0)
    cell.heal(1)
    cell.everybody()
    cell.end()
    assert _hits(cell) == {"reset_peer": {AGENT: ["rest"]}}


# -- at rest ------------------------------------------------------------------------------------------------------


def test_at_rest_is_who_called_nobody_when_it_struck() -> None:
    assert _hits(sound(needs_in_flight=0)) == {"reset_peer": {}}, "the agent was in the middle of three calls"
    cell = Timed()
    cell.saver("aput", 2.5, 3.5, cell.turn(2.0, 4.0))
    cell.turn(3.1, 5.0, OTHER)
    assert cell.played(needs_in_flight=0) == {"reset_peer": {OTHER: ["rest"]}}, "one is busy, the other begins later"


def test_who_was_done_before_it_stood_is_at_rest() -> None:
    """The order waits until nobody calls: what counts is when it stood, not when it was given."""
    cell = MadeCell()
    call = cell.begin("turn", "t1")
    value: dict[str, Json] = {
        "window": 0, "kind": "idle_cut", "fault": {"kind": "idle_cut"}, "needs_in_flight": 0, "usable": True,
    }  # fmt: skip
    order = cell.invoke("fault", "faults", value)
    cell.now_s = 1.0
    cell.complete(call)
    cell.now_s = 2.0
    cell.complete(order, OpType.OK, {"window": 0, "change": {"cut": 1}})
    cell.heal()
    cell.end()
    assert _hits(cell) == {"idle_cut": {AGENT: ["rest"]}}


def test_each_agent_of_the_cell_may_be_at_rest_and_in_a_turn_elsewhere() -> None:
    cell = MadeCell()
    cell.call("turn", "t0", thread=f"{OTHER}.u9.0")
    cell.strike(0, kind="idle_cut", needs_in_flight=0)
    cell.heal(0)
    cell.now_s = 5.0
    call = cell.begin("turn", "t1")
    cell.strike(1, kind="reset_peer", needs_in_flight=1)
    cell.save("aput", parent=call, took_s=1.0)
    cell.complete(call)
    cell.heal(1)
    cell.end()
    assert _hits(cell) == {"idle_cut": {AGENT: ["rest"], OTHER: ["rest"]}, "reset_peer": {AGENT: ["save"]}}


def test_a_cell_without_a_window() -> None:
    cell = MadeCell()
    cell.gate()
    cell.end()
    assert _hits(cell) == {}
