"""Runs that were once judged wrongly, in one direction or the other, each with the reason why."""

from __future__ import annotations

from harness.core.history import OpType
from tests.oracle.memory_run import Run, run
from tests.oracle.plans import Plan, Trouble
from tests.oracle.savers.swaps_threads import SwapsThreads
from tests.oracle.savers.undeletes import Undeletes


def _ends(found: Run, kind: str) -> list[OpType | None]:
    return [None if end is None else end.type for _, end in found.history.pairs(kind)]


def test_a_deletion_whose_answer_was_lost_is_in_doubt_and_excuses_what_it_deleted() -> None:
    plan = Plan(users=(("turn", "delete"), ("turn",)), troubles=((27, Trouble.ANSWER_LOST, 20),))

    found = run(plan)

    assert set(_ends(found, "delete")) == {OpType.INFO}
    assert found.broken == ()


def test_a_save_in_doubt_may_land_after_the_deletion() -> None:
    plan = Plan(users=(("turn", "delete"),), troubles=((1, Trouble.LATE, 1),))

    found = run(plan)

    assert _ends(found, "delete") == [OpType.OK]
    assert found.facts.threads["Clerk.u0.0"].exists
    assert found.broken == ()


def test_a_thread_that_was_not_deleted_is_seen_all_the_same() -> None:
    plan = Plan(users=(("turn", "delete"),), troubles=((1, Trouble.LATE, 1),))

    assert run(plan, Undeletes).codes == {"Z1"}
    assert run(Plan(users=plan.users), Undeletes).codes == {"Z1"}


def test_a_thread_on_which_an_abandoned_call_still_saves_gets_no_further_call() -> None:
    """A save that stalls in the sub-graph outlives its run, which is cancelled twice, and begins another one later."""
    plan = Plan(
        seed=127,
        users=(("turn",), ("turn",), ("turn", "delete")),
        troubles=((0, Trouble.REFUSED, 1), (18, Trouble.STALLS, 1)),
    )

    found = run(plan)

    hung = {op.value["thread"] for op, end in found.history.pairs("turn") if end is not None and end.value.get("hung")}
    assert len(hung) == 1
    assert all(op.value["thread"] not in hung for op, _ in found.history.pairs("delete", "restore"))
    assert found.broken == ()


def test_a_checkpoint_that_strayed_into_the_past_of_another_thread_is_found() -> None:
    plan = Plan(seed=17513, users=(("turn", "turn"), ("turn", "turn")), durability="exit")

    found = run(plan, SwapsThreads)

    strayed = [facts for facts in found.facts.threads.values() if facts.turns == facts.sql_turns]
    assert strayed, "both readers see a sound newest state, so only older checkpoints can tell"
    assert "X1" in found.codes


def test_a_save_that_a_refused_call_left_behind_and_that_fails_later_was_told_by_the_refusal() -> None:
    plan = Plan(seed=35, users=(("turn",), ("turn",), ("turn",)), troubles=((40, Trouble.STALLS, 20),), style="degrade")

    found = run(plan)

    ends = {op.value["turn"]: end.index for op, end in found.history.pairs("turn") if end is not None}
    late = [op for op, end in found.history.pairs("aput") if end and end.error and op.index > ends[op.value["turn"]]]
    assert late
    assert found.broken == ()


def test_a_fork_goes_back_behind_a_turn_that_never_got_its_answer() -> None:
    """The user gave up on the interrupt of the second turn, and takes back the third: both go."""
    plan = Plan(
        seed=320,
        users=(("turn",), ("restore", "turn", "turn", "turn", "fork")),
        troubles=(
            (86, Trouble.REFUSED, 1),
            (56, Trouble.ANSWER_LOST, 5),
            (82, Trouble.LATE, 2),
            (3, Trouble.LATE, 1),
        ),
        crashes=((54, 0), (4, 0)),
        style="deadline",
        durability="sync",
    )

    found = run(plan)

    assert found.facts.threads["Clerk.u1.0"].turns == ("Clerk.u1.0/t1",)
    assert _ends(found, "turn")[-3:] == [OpType.OK] * 3
    assert found.broken == ()
