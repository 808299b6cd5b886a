"""The nightly restart of the database, and a saver that never connects again."""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.incident import Incident
from harness.core.scenario import Scenario
from harness.core.verdict import Guarantee
from harness.faults.restart import Restart

from .load import BACK, ONE_EACH

SCENARIO = Scenario(
    name="incidents/i_08_nightly_restart",
    title="The chatbot fails every day after the nightly restart of its database",
    why="A saver neither retries nor reconnects: its one connection stays dead until somebody redeploys.",
    question=2,
    load=ONE_EACH,
    plan=(Window(Restart(), 0.0, 2.0),),
    bounds=BACK,
    must_catch=(("single_connection", Guarantee.RECOVERS),),
    full_only=True,
    durabilities=("async",),
    incident=Incident(
        number=8,
        repo="langchain-ai/langgraph",
        issue=6107,
        symptom=r"OperationalError: the connection is closed",
        red="single_connection",
        green="per_agent_pool",
        correction=(
            "The proposal is a retry inside of the saver. A pool that replaces dead connections is enough to be served "
            "again; a retry only hides the one error on the way."
        ),
    ),
)
