"""The tree that a finding shows: small, and right about who descends from whom."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harness.checkers.checkpoint_tree import ID_LENGTH, SHOWN, tree
from harness.core.facts import TREE_LIMIT, Checkpoint

_ID = "1f0c5a3e-{:04x}-6{:03x}-8000-000000000000"


def _id(number: int) -> str:
    return _ID.format(number // 0xFFF, number % 0xFFF)


def _chain(parents: list[int | None], turns: dict[int, str] | None = None) -> list[Checkpoint]:
    """Checkpoints 0, 1, 2 ...; ``parents`` by number, None for a root, a negative one for a parent that is missing."""
    named: dict[int | None, str | None] = {n: None if n is None else _id(n) if n >= 0 else "gone" for n in parents}
    held = turns or {}
    return [Checkpoint(_id(n), named[up], "loop", n, held.get(n, "")) for n, up in enumerate(parents)]


def _nodes(shown: dict[str, Any]) -> list[dict[str, Any]]:
    return list(shown["nodes"])


def test_a_short_thread_is_shown_whole() -> None:
    shown: Any = tree(_chain([None, 0, 1]), "")
    assert shown == {
        "checkpoints": 3,
        "forks": 0,
        "nodes": [
            _node("0000-6000", None, 0),
            _node("0000-6001", "0000-6000", 1),
            _node("0000-6002", "0000-6001", 2, tip=True),
        ],
    }


def _node(name: str, parent: str | None, step: int, **more: Any) -> dict[str, Any]:
    plain = {"source": "loop", "turn": "", "tip": False, "forks": False, "dangling": False, "skipped": 0}
    cut = len("0000-600")
    return (
        {"id": _tail(name, cut), "parent": None if parent is None else _tail(parent, cut), "step": step} | plain | more
    )


def _tail(name: str, length: int) -> str:
    """An id without what all ids begin with (up to the last digit that differs), in the length that is shown."""
    whole = f"1f0c5a3e-{name}-8000-000000000000"
    common = len("1f0c5a3e-0000-600")
    return whole[common : common + length]


def test_a_fork_is_told_and_so_is_the_branch_that_nobody_reads() -> None:
    shown: Any = tree(_chain([None, 0, 1, 1], {2: "t/t1"}), "t/t1")
    assert shown["forks"] == 1
    forks = [node["step"] for node in _nodes(shown) if node["forks"]]
    tips = [node["step"] for node in _nodes(shown) if node["tip"]]
    assert (forks, tips) == ([1], [3])
    assert [node["turn"] for node in _nodes(shown)] == ["", "", "t/t1", ""]


def test_a_missing_parent_is_told() -> None:
    shown: Any = tree(_chain([None, -5]), "")
    assert [node["dangling"] for node in _nodes(shown)] == [False, True]
    assert _nodes(shown)[1]["parent"] == "gone"


def test_of_a_long_thread_straight_runs_are_left_out_and_counted() -> None:
    parents: list[int | None] = [None, *range(99)]
    parents[60] = 20  # 60 and what follows branch off at 20, where 21 to 59 went on
    shown: Any = tree(_chain(parents, {40: "t/t7"}), "t/t7")
    nodes = _nodes(shown)
    assert shown["checkpoints"] == 100
    assert len(nodes) == SHOWN
    steps = {node["step"]: node for node in nodes}
    assert steps[99]["tip"]
    assert {0, 20, 21, 40, 59, 60} <= set(steps), "root, fork, its children, the turn's checkpoint, the branch's end"
    assert steps[20]["forks"]
    assert steps[20]["skipped"] == 19
    assert steps[40]["skipped"] == 18
    assert steps[60]["parent"] == steps[20]["id"]
    assert steps[60]["skipped"] == 0


def test_among_many_branches_the_parting_of_the_turn_s_own_is_shown() -> None:
    parents: list[int | None] = [None, *range(59)]
    parents[30] = 5  # the tip's branch leaves here; 29 is the end of the other one
    for place in range(40, 59, 2):
        parents[place] = place - 2  # a fork at every second node
    shown: Any = tree(_chain(parents, {12: "t/t1", 13: "t/t1", 14: "t/t1"}), "t/t1")
    steps = {node["step"]: node for node in _nodes(shown)}
    assert {0, 5, 6, 30, 12, 14, 59} <= set(steps), "the fork, both ways from it, the first and the last that hold it"
    assert steps[5]["forks"]
    assert steps[30]["parent"] == steps[6]["parent"] == steps[5]["id"]


def test_a_branch_that_shares_no_root_with_the_tip_has_no_parting() -> None:
    parents: list[int | None] = [None, *range(39)]
    parents[20] = None
    shown: Any = tree(_chain(parents, {9: "t/t1"}), "t/t1")
    assert {0, 9, 19, 20, 39} <= {node["step"] for node in _nodes(shown)}


def test_checkpoints_that_descend_from_one_another_in_a_circle_are_survived() -> None:
    parents: list[int | None] = [None, *range(39)]
    parents[3] = 12
    shown: Any = tree(_chain(parents, {9: "t/t1"}), "t/t1")
    assert len(_nodes(shown)) == SHOWN


def test_a_tip_that_is_an_ancestor_of_the_turn_s_own_is_where_its_branch_began() -> None:
    """With a replica's clock an hour ahead the newest id is older than what was stored on top of it."""
    ahead = _chain([None, *range(29)], {25: "t/t1"})
    checkpoints = [*ahead[20:], *ahead[:20]]  # 20 to 29 descend from 19, whose id says that it is the newest
    shown: Any = tree(checkpoints, "t/t1")
    steps = {node["step"]: node for node in _nodes(shown)}
    assert {0, 19, 20, 25} <= set(steps)
    assert steps[19]["tip"]
    assert (steps[20]["parent"], steps[20]["skipped"]) == (steps[19]["id"], 0)


def test_the_oldest_that_was_kept_of_a_very_long_thread_is_not_called_an_orphan() -> None:
    checkpoints = _chain([-1, *range(TREE_LIMIT - 1)])
    shown: Any = tree(checkpoints, "")
    assert not any(node["dangling"] for node in _nodes(shown))
    fewer: Any = tree(checkpoints[:-1], "")
    assert any(node["dangling"] for node in _nodes(fewer))


def test_ids_that_differ_late_are_shown_long_enough() -> None:
    names = ["a" * 30 + tail for tail in ("b" * 20, "b" * 19 + "c")]
    shown: Any = tree([Checkpoint(name, None, "input", -1) for name in names], "")
    assert len({node["id"] for node in _nodes(shown)}) == 2


@given(st.lists(st.integers(-1, 60), min_size=1, max_size=60), st.integers(0, 60), st.none() | st.randoms())
def test_every_node_hangs_below_the_nearest_one_that_is_shown(
    choices: list[int], own: int, clocks: Random | None
) -> None:
    """Also where clocks disagree, so that the ids say nothing of who came first."""
    parents: list[int | None] = [None] + [up if up < n else n - 1 for n, up in enumerate(choices, start=1)]
    checkpoints = _chain(parents, {own: "t/t1"})
    if clocks is not None:
        clocks.shuffle(checkpoints)
    order = [checkpoint.step for checkpoint in checkpoints]
    shown: Any = tree(checkpoints, "t/t1")
    nodes = _nodes(shown)
    assert len(nodes) == min(SHOWN, len(checkpoints))
    assert [node["step"] for node in nodes] == sorted((node["step"] for node in nodes), key=order.index)
    assert nodes[-1]["tip"]
    ids = {node["id"]: node["step"] for node in nodes}
    assert len(ids) == len(nodes)
    assert all(len(node["id"]) >= ID_LENGTH for node in nodes)
    for node in nodes:
        up, left_out = parents[node["step"]], 0
        while up is not None and up >= 0 and up not in ids.values():
            up, left_out = parents[up], left_out + 1
        if up is None:
            assert node["parent"] is None
        elif up >= 0:
            assert (ids[node["parent"]], node["skipped"]) == (up, left_out)
        assert node["forks"] is (parents.count(node["step"]) > 1)
    if own < len(checkpoints):
        assert own in ids.values(), "the checkpoint that holds the turn is always there"
