"""One connection for an agent's whole life, as ``from_conn_string`` has it, and a server that ends idle sessions."""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.incident import Incident
from harness.core.scenario import Scenario
from harness.core.verdict import Guarantee
from harness.faults.terminate_backends import TerminateBackends

from .load import BACK, ONE_EACH

SCENARIO = Scenario(
    name="incidents/i_07_single_connection",
    title="The connection is closed, for ever: from_conn_string holds just one",
    why="Cloud SQL ends sessions after ten idle minutes; a saver with one connection never gets another.",
    question=1,
    load=ONE_EACH,
    plan=(Window(TerminateBackends(which="idle", period_ms=300), 0.0, 2.0),),
    bounds=BACK,
    must_catch=(("single_connection", Guarantee.RECOVERS),),
    full_only=True,
    incident=Incident(
        number=7,
        repo="langchain-ai/langgraph",
        issue=7304,
        symptom=r"OperationalError: the connection is closed",
        red="single_connection",
        green="per_agent_pool",
    ),
)
