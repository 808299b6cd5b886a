"""The closed loop against simulated outcomes: same seed same load, the same turn until its outcome is known."""

from __future__ import annotations

import itertools
from collections import Counter
from random import Random

import pytest

from harness.core.errors import UsageError
from harness.core.workload import TURN_ID, Action, Outcome, User
from harness.workloads.closed_loop import ClosedLoop

AGENTS = ("Asker", "ProjectBodhiAgent", "FormulationAssistant")
GROUPS = ("g0", "g1")


def live(user: User, calls: int, seed: int = 0, ok_share: float = 0.7) -> list[tuple[Action, Outcome]]:
    """``calls`` calls of ``user`` against a server that answers ``ok_share`` of them."""
    rng, last, seen = Random(seed), None, list[tuple[Action, Outcome]]()
    for _ in range(calls):
        action = user.next(last)
        assert action is not None
        waiting = ("i1",) if action.agent == "ProjectBodhiAgent" and action.kind == "turn" else ()
        status = "ok" if rng.random() < ok_share else rng.choice(["info", "fail"])
        last = Outcome(status, waiting=waiting if status == "ok" else ())
        seen.append((action, last))
    return seen


def users(seed: int = 7, **fields: float) -> list[User]:
    return list(ClosedLoop(**fields).users(seed=seed, agents=AGENTS, groups=GROUPS))  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_load() -> None:
    first = [action for user in users() for action, _ in live(user, 200)]
    again = [action for user in users() for action, _ in live(user, 200)]
    other = [action for user in users(seed=8) for action, _ in live(user, 200)]
    assert first == again
    assert first != other


def test_an_unknown_outcome_is_tried_again_with_the_same_turn_five_times_in_all() -> None:
    user = users()[0]
    tries = [action for action, _ in live(user, 5, ok_share=0.0)]
    assert [action.attempt for action in tries] == [1, 2, 3, 4, 5]
    assert len({action.turn for action in tries}) == 1
    after = user.next(Outcome("info"))
    assert after is not None
    assert after.attempt == 1
    assert after.turn.id != tries[0].turn.id
    assert after.turn.thread_id == tries[0].turn.thread_id, "the user moves on in the same conversation"


def test_a_turn_id_names_its_thread_and_is_never_used_twice() -> None:
    for user in users():
        fresh = [action for action, _ in live(user, 400) if action.kind == "turn" and action.attempt == 1]
        assert all(action.turn.id.rpartition("/")[0] == action.turn.thread_id for action in fresh)
        assert max(Counter(action.turn.id for action in fresh).values()) == 1


def test_calls_alternate_between_the_groups() -> None:
    for user in users():
        groups = [action.group for action, _ in live(user, 50)]
        assert all(a != b for a, b in itertools.pairwise(groups))


def test_every_kind_of_call_happens_where_its_agent_has_it() -> None:
    kinds = {name: Counter(a.kind for u in users() for a, _ in live(u, 400) if a.agent == name) for name in AGENTS}
    assert all(kinds[name]["turn"] and kinds[name]["restore"] and kinds[name]["delete"] for name in AGENTS)
    assert kinds["ProjectBodhiAgent"]["resume"]
    assert not kinds["Asker"]["resume"]
    assert kinds["FormulationAssistant"]["fork"]
    assert not kinds["Asker"]["fork"]


def test_a_fork_takes_back_the_turn_that_was_just_acknowledged_and_never_the_first() -> None:
    user = users()[2]
    seen = live(user, 400)
    forks = [(before, action) for (before, _), (action, _) in itertools.pairwise(seen) if action.kind == "fork"]
    first_tries = [(before, fork) for before, fork in forks if fork.attempt == 1]
    assert first_tries
    assert all(fork.target == before.turn.id for before, fork in first_tries)
    assert not any(fork.target.endswith("/t1") for _, fork in first_tries)


def test_a_thread_whose_call_would_not_end_is_left_alone() -> None:
    user = users()[0]
    first = user.next(None)
    assert first is not None
    later = [user.next(Outcome("hung"))] + [user.next(Outcome("ok")) for _ in range(30)]
    assert all(action is not None and action.turn.thread_id != first.turn.thread_id for action in later)


def test_a_deleted_conversation_is_never_used_again() -> None:
    deleted: set[str] = set()
    for action, outcome in live(users()[0], 600):
        assert action.turn.thread_id not in deleted
        if action.kind == "delete" and (outcome.status == "ok" or action.attempt == 5):
            deleted.add(action.turn.thread_id)
    assert deleted


@pytest.mark.parametrize(
    "fields", [{"users_n": 0}, {"users_n": 10_000}, {"think_min_ms": -1}, {"think_min_ms": 5, "think_max_ms": 4}]
)
def test_impossible_loads_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="ClosedLoop"):
        ClosedLoop(**fields)  # type: ignore[arg-type]


def test_every_turn_id_can_be_found_again_in_raw_bytes() -> None:
    turns = [action.turn for user in users() for action, _ in live(user, 60) if action.kind in ("turn", "resume")]
    assert len({turn.id for turn in turns}) > 100
    for turn in turns:
        assert TURN_ID.findall(b"\xda" + turn.id.encode() + b"\xa7content") == [turn.id.encode()]
        assert turn.id.startswith(f"{turn.thread_id}/")
