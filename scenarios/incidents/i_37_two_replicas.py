"""Two replicas work on one conversation at the same time, and both answer: one of the two is never read again."""

from __future__ import annotations

from harness.core.incident import Incident
from harness.core.scenario import Scenario
from harness.core.verdict import Guarantee
from harness.workloads.two_writers import TwoWriters

SCENARIO = Scenario(
    name="incidents/i_37_two_replicas",
    title="Two replicas resume one thread, both succeed, and its history forks",
    why="A second tab, or a repeated request, reaches another replica; nothing in LangGraph keeps it to one writer.",
    question=1,
    load=TwoWriters(),
    baseline=True,
    must_catch=(("two_writers", Guarantee.NO_LOST_TURN),),
    full_only=True,
    durabilities=("async",),
    incident=Incident(
        number=37,
        repo="langchain-ai/langgraph",
        issue=8796,
        red="two_writers",
        green="thread_lease",
    ),
)
