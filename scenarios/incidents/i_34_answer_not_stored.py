"""The default durability saves behind the caller's back: a turn runs to its end, and only then comes the error."""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.incident import Incident
from harness.core.scenario import Scenario
from harness.faults.proxy_down import ProxyDown

from .load import BACK, ONE_EACH

SCENARIO = Scenario(
    name="incidents/i_34_answer_not_stored",
    title="Every step was streamed, then an error: the stored state stops at an early step",
    why="With durability async a failed save is seen when the run ends; since 1.2.15 all later saves are skipped too.",
    question=4,
    load=ONE_EACH,
    plan=(Window(ProxyDown(), 0.0, 4.0),),
    bounds=BACK,
    full_only=True,
    durabilities=("async",),
    incident=Incident(
        number=34,
        repo="langchain-ai/langgraph",
        issue=8234,
        symptom=r"PoolTimeout: couldn't get a connection after 3\.00 sec",
        wasted_nodes=1,  # every outage has the timeout; that nodes ran on whose saves were lost is the incident
        red="pool_without_check",
        green="self_healing_retry",
        correction=(
            "Durability sync keeps what is shown and what is stored together, and is no cure of the outage: the turn "
            "ends in an error at the first save that fails. The green arm is therefore a retry under the default: it "
            "finishes the turn from what is stored, so the answer is whole and so is the state."
        ),
    ),
)
