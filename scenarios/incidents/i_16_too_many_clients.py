"""Three sources of connections in each process, none of them bounded together, and a server that gives no more."""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.incident import Incident
from harness.core.scenario import Scenario
from harness.faults.too_many_connections import TooManyConnections

from .load import BACK, ONE_EACH

SCENARIO = Scenario(
    name="incidents/i_16_too_many_clients",
    title="Sorry, too many clients already: two engines, and a connection for each run",
    why="Each part of a service sizes its own pool, runs connect on top of that, and replicas multiply all of it.",
    question=1,
    load=ONE_EACH,
    plan=(Window(TooManyConnections(leave=22), 0.0, 5.0),),
    bounds=BACK,
    full_only=True,
    durabilities=("async",),
    incident=Incident(
        number=16,
        repo="agencyenterprise/draft-detective",
        issue=490,
        symptom=r"sorry, too many clients already|remaining connection slots are reserved",
        red="connection_per_run",
        green="self_healing",
        correction=(
            "The last slots are kept for superusers, so others mostly read that the remaining ones are reserved; "
            "a service that connects as a superuser reads the report's words."
        ),
    ),
)
