"""The connection is closed behind PgBouncer: with pipelines off it is, and with them on nobody notices."""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.incident import Incident
from harness.core.scenario import Scenario
from harness.core.verdict import Guarantee
from harness.faults.idle_cut import IdleCut

from .load import BACK, ONE_EACH

SCENARIO = Scenario(
    name="incidents/i_28_pipeline_blamed",
    title="connection is closed behind PgBouncer, blamed on pipelines",
    why="Idle connections are cut on the way to the pooler. Who holds one is left with it, pipeline or not.",
    question=1,
    load=ONE_EACH,
    plan=(Window(IdleCut(), 0.0, 0.5),),
    bounds=BACK,
    must_catch=(("single_connection_behind_pooler", Guarantee.RECOVERS),),
    full_only=True,
    durabilities=("async",),
    incident=Incident(
        number=28,
        repo="langchain-ai/langgraph",
        issue=8420,
        symptom=r"OperationalError: the connection is closed",
        red="single_connection_behind_pooler",
        green="pgbouncer_transaction",
        correction=(
            "The report says that pipelines cannot pass PgBouncer in transaction mode. Here the red arm uses none and "
            "has the very error; the green arm uses them for every save. What differs is a connection that is replaced."
        ),
    ),
)
