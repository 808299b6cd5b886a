"""Prepared statements behind PgBouncer in transaction mode: one client's statement reaches another client's session."""

from __future__ import annotations

from harness.core.incident import Incident
from harness.core.scenario import Scenario
from harness.core.verdict import Guarantee
from harness.workloads.closed_loop import ClosedLoop

SCENARIO = Scenario(
    name="incidents/i_27_prepared_behind_pooler",
    title='prepared statement "_pg3_0" already exists, behind PgBouncer',
    why="In transaction mode each transaction may get another session; a statement that was prepared stays behind.",
    question=1,
    load=ClosedLoop(),
    baseline=True,
    must_catch=(("prepared_behind_pooler", Guarantee.AVAILABLE),),
    full_only=True,
    incident=Incident(
        number=27,
        repo="psycopg/psycopg",
        issue=589,
        symptom=r'prepared statement "_pg3_\d+" (already exists|does not exist)',
        red="prepared_behind_pooler",
        green="pgbouncer_transaction",
        correction=(
            "Several reports blame pipelines; they are fine (the cure uses them). With psycopg's default threshold it "
            "happens too, because the executemany of a save prepares at once."
        ),
    ),
)
