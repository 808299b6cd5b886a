"""The first requests race for the making of the pool, and those that lose the race leave theirs open."""

from __future__ import annotations

from harness.core.incident import Incident
from harness.core.scenario import Scenario
from harness.core.verdict import Guarantee
from harness.workloads.closed_loop import ClosedLoop

SCENARIO = Scenario(
    name="incidents/i_17_unlocked_start",
    title="Two pools where one was meant, and one that nobody closes",
    why="if _saver is None, and an await before it is set: several agents open a pool each at a cold start.",
    question=1,
    load=ClosedLoop(users_n=6, think_min_ms=150.0, think_max_ms=170.0),
    baseline=True,
    must_catch=(("unlocked_start", Guarantee.CONNECTION_BUDGET),),
    full_only=True,
    durabilities=("async",),
    incident=Incident(
        number=17,
        repo="martian56/redcell",
        issue=130,
        red="unlocked_start",
        green="locked_start",
    ),
)
