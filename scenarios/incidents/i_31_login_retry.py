"""A restart of two seconds is an outage of a quarter of a minute behind a PgBouncer with its defaults."""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.incident import Incident
from harness.core.scenario import Bounds, Scenario
from harness.core.verdict import Guarantee
from harness.faults.restart import Restart

from .load import ONE_EACH

SCENARIO = Scenario(
    name="incidents/i_31_login_retry",
    title="Postgres is back, and PgBouncer goes on refusing: server_login_retry",
    why="After one failed login PgBouncer refuses everybody for 15 s, its default, before it asks Postgres again.",
    question=2,
    load=ONE_EACH,
    plan=(Window(Restart(), 0.0, 2.0),),
    bounds=Bounds(
        recover_s=4.0, recover_why="the 15 s of the default are to be broken, not only late: three times as long"
    ),
    must_catch=(("pooler_defaults", Guarantee.RECOVERS),),
    full_only=True,
    durabilities=("async",),
    incident=Incident(
        number=31,
        repo="pgbouncer/pgbouncer",
        issue=320,
        symptom=r"server login has been failing|server_login_retry|pgbouncer cannot connect to server",
        red="pooler_defaults",
        green="pgbouncer_transaction",
    ),
)
