"""Two writers for each thread: same seed same load, turn ids that never meet, an interrupt answered by who met it."""

from __future__ import annotations

import pytest

from harness.core.errors import UsageError
from harness.core.workload import TURN_ID, Action, Outcome, User
from harness.workloads.two_writers import TwoWriters

AGENTS = ("Asker", "Planner", "Writer")
GROUPS = ("g0", "g1")


def users(seed: int = 7, pairs_n: int = 5) -> list[User]:
    return list(TwoWriters(pairs_n=pairs_n).users(seed=seed, agents=AGENTS, groups=GROUPS))


def calls(user: User, number: int) -> list[Action]:
    found = []
    last: Outcome | None = None
    for _ in range(number):
        action = user.next(last)
        assert action is not None
        found.append(action)
        last = Outcome("ok")
    return found


def test_the_same_seed_gives_the_same_load() -> None:
    assert [calls(user, 20) for user in users()] == [calls(user, 20) for user in users()]
    assert [calls(user, 20) for user in users()] != [calls(user, 20) for user in users(seed=8)]


def test_the_two_of_a_pair_write_one_thread_of_one_agent_on_two_groups_with_turns_of_their_own() -> None:
    first, second, third = (calls(user, 30) for user in users()[:3])
    assert {a.turn.thread_id for a in first} == {a.turn.thread_id for a in second} != {a.turn.thread_id for a in third}
    assert {a.agent for a in first} == {a.agent for a in second} == {"Asker"}
    assert ({a.group for a in first}, {a.group for a in second}) == ({"g0"}, {"g1"})
    ids = [a.turn.id for a in (*first, *second)]
    assert len(set(ids)) == 60
    assert all(action.turn.id.startswith(f"{action.turn.thread_id}/t") for action in first)


def test_an_interrupt_is_answered_and_a_failed_turn_is_not_repeated() -> None:
    user = users()[0]
    turn = user.next(None)
    resume = user.next(Outcome("ok", waiting=("i1", "i2")))
    after = user.next(Outcome("info"))
    assert turn is not None
    assert resume is not None
    assert after is not None
    assert (resume.kind, resume.target, resume.turn) == ("resume", "i1,i2", turn.turn)
    assert (after.kind, after.attempt) == ("turn", 1)
    assert after.turn.id != turn.turn.id


def test_who_hung_calls_no_more() -> None:
    user = users()[0]
    user.next(None)
    assert user.next(Outcome("hung")) is None


@pytest.mark.parametrize("pairs_n", [0, 501])
def test_an_impossible_number_is_refused(pairs_n: int) -> None:
    with pytest.raises(UsageError, match="pairs_n"):
        TwoWriters(pairs_n=pairs_n)


def test_every_turn_id_can_be_found_again_in_raw_bytes() -> None:
    for user in users():
        action = user.next(None)
        assert action is not None
        assert TURN_ID.fullmatch(action.turn.id.encode())
