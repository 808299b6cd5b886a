"""Every idle connection is dead, the database is back, and the check of each checkout backs off after each dead one."""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.incident import Incident
from harness.core.scenario import Bounds, Scenario
from harness.faults.idle_cut import IdleCut

from .load import ONE_EACH

SCENARIO = Scenario(
    name="incidents/i_10_check_backs_off",
    title="PoolTimeout on a healthy database: check= backs off after each dead connection",
    why="After a restart a warm pool holds dead connections only; a caller tries them one by one, 0, 1, 2, 4 s apart.",
    question=2,
    load=ONE_EACH,
    plan=(Window(IdleCut(), 0.0, 0.5),),
    bounds=Bounds(deadline_s=8.0),
    full_only=True,
    incident=Incident(
        number=10,
        repo="fecgov/fecfile-web-api",
        issue=2208,
        symptom=r"PoolTimeout: couldn't get a connection after 5\.00 sec",
        red="check_on_checkout",
        green="self_healing",
        correction=(
            "The report waits 30 s, the pool's default; 5 s show the same sooner. Its cure, min_size=0, helps a cold "
            "pool alone: a pool that is warm still holds dead connections. One drain() before the checkout does it."
        ),
    ),
)
