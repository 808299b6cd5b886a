"""The link between PgBouncer and Postgres goes silent; PgBouncer itself is well, so nothing in front of it notices."""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.incident import Incident
from harness.core.scenario import Bounds, Scenario
from harness.core.verdict import Guarantee
from harness.faults.pooler_black_hole import PoolerBlackHole

from .load import ONE_EACH

SCENARIO = Scenario(
    name="incidents/i_30_silent_behind_pooler",
    title="Clients are blocked until PgBouncer's own link to Postgres is found dead",
    why="Between a pool and a silent server stands a pooler that accepts, acknowledges and waits, without any limit.",
    question=4,
    load=ONE_EACH,
    plan=(Window(PoolerBlackHole(), 0.0, 14.0),),
    bounds=Bounds(deadline_s=5.0, recover_s=6.0, hang_fail_s=6.0),
    must_catch=(("pool_behind_pooler", Guarantee.NO_HANG),),
    full_only=True,
    durabilities=("async",),
    incident=Incident(
        number=30,
        repo="pgbouncer/pgbouncer",
        issue=1355,
        symptom=r"server conn crashed\?|server closed the connection unexpectedly|query_wait_timeout",
        red="pool_behind_pooler",
        green="pgbouncer_transaction",
    ),
)
