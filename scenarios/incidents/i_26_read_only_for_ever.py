"""A failover leaves the old primary alive and read-only: connections to it pass every check and refuse every INSERT."""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.incident import Incident
from harness.core.scenario import Scenario
from harness.core.verdict import Guarantee
from harness.faults.failover import Failover
from harness.workloads.closed_loop import ClosedLoop

SCENARIO = Scenario(
    name="incidents/i_26_read_only_for_ever",
    title="cannot execute INSERT in a read-only transaction, for days",
    why="The old primary lives on as a standby; SELECT 1 passes there, so a check keeps connections that cannot write.",
    question=2,
    load=ClosedLoop(),
    plan=(Window(Failover(rerouted="at_once"), 0.0, 2.0),),
    must_catch=(("check_on_checkout", Guarantee.RECOVERS),),
    full_only=True,
    incident=Incident(
        number=26,
        repo="gpustack/gpustack",
        issue=6105,
        symptom=r"ReadOnlySqlTransaction: cannot execute INSERT in a read-only transaction",
        red="check_on_checkout",
        green="self_healing",
        correction="The report is about asyncpg; psycopg's pool does the same. Its caller sees no OperationalError either.",
    ),
)
