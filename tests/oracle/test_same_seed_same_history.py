"""The same plan gives the same history, row by row and on the same (virtual) second; another seed gives another one."""

from __future__ import annotations

import json
import re

import pytest

from tests.oracle.memory_run import Run, run
from tests.oracle.plans import Plan, Trouble
from tests.oracle.savers.honest import HonestSaver
from tests.oracle.savers.reads_old import ReadsOld

_NAME = re.compile(r"\b[0-9a-f]{32}\b|\b0x[0-9a-f]+\b|\bTask-\d+\b")
_PLAN = Plan(
    seed=5,
    users=(("turn", "turn", "restore", "fork", "turn"), ("turn", "delete", "turn")),
    troubles=((20, Trouble.LATE, 2), (50, Trouble.REFUSED, 8)),
    crashes=((70, 1),),
    style="finish",
)


def _rows(found: Run) -> list[str]:
    """The history's lines. Ids of interrupts, which LangGraph makes of the real clock, and names of objects in the
    text of an error are numbered as they come.
    """
    names: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        return names.setdefault(match.group(), f"name {len(names)}")

    return [_NAME.sub(number, json.dumps(op.to_json())) for op in found.history]


@pytest.mark.parametrize("saver", [HonestSaver, ReadsOld])
@pytest.mark.parametrize("durability", ["async", "sync", "exit"])
def test_the_same_seed_gives_the_same_history(saver: type[HonestSaver], durability: str) -> None:
    plan = Plan(_PLAN.seed, _PLAN.users, _PLAN.troubles, _PLAN.crashes, _PLAN.style, durability)

    first, second = run(plan, saver), run(plan, saver)

    assert len(first.history) > 60
    assert _rows(first) == _rows(second)
    assert first.codes == second.codes


def test_another_seed_gives_another_history() -> None:
    other = Plan(_PLAN.seed + 1, _PLAN.users, _PLAN.troubles, _PLAN.crashes, _PLAN.style)

    assert _rows(run(_PLAN)) != _rows(run(other))
