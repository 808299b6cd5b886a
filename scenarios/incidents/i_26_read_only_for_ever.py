"""A failover leaves the old primary alive and read-only: connections to it pass every check and refuse every INSERT."""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.incident import Incident
from harness.core.scenario import Scenario
from harness.core.verdict import Guarantee
from harness.faults.failover import Failover

from .load import BACK, ONE_EACH

SCENARIO = Scenario(
    name="incidents/i_26_read_only_for_ever",
    title="cannot execute INSERT in a read-only transaction, for days",
    why="The old primary lives on as a standby; SELECT 1 passes there, so a check keeps connections that cannot write.",
    question=2,
    load=ONE_EACH,
    plan=(Window(Failover(rerouted="at_once"), 0.0, 2.0),),
    bounds=BACK,
    must_catch=(("check_on_checkout", Guarantee.RECOVERS),),
    full_only=True,
    incident=Incident(
        number=26,
        repo="gpustack/gpustack",
        issue=6105,
        symptom=r"ReadOnlySqlTransaction: cannot execute INSERT in a read-only transaction",
        red="check_on_checkout",
        green="self_healing",
        correction=(
            "The report is about asyncpg; psycopg's pool does the same, and the error is no OperationalError. A check "
            "that asks SHOW transaction_read_only must close the connection and raise: one that only raises gives it "
            "back to the pool, which runs into PoolTimeout, and one that only closes hands out a closed connection."
        ),
    ),
)
