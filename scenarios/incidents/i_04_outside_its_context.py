"""A graph is used after the block that owns its saver: the connection was closed when the block was left."""

from __future__ import annotations

from harness.core.incident import Incident
from harness.core.scenario import Scenario
from harness.core.verdict import Guarantee

from .load import ONE_EACH

SCENARIO = Scenario(
    name="incidents/i_04_outside_its_context",
    title="The connection is closed, from the first call on: the saver's block was left",
    why="A factory compiles the graph within the block of from_conn_string and returns it: no fault is needed.",
    question=1,
    load=ONE_EACH,
    baseline=True,
    must_catch=(("saver_outside_its_context", Guarantee.AVAILABLE),),
    full_only=True,
    durabilities=("async",),
    incident=Incident(
        number=4,
        repo="langchain-ai/langgraph",
        issue=4214,
        symptom=r"OperationalError: the connection is closed",
        red="saver_outside_its_context",
        green="per_agent_pool",
    ),
)
