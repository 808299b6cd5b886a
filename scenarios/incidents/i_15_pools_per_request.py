"""Every request opens two pools of its own, until the database gives no more connections."""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.incident import Incident
from harness.core.scenario import Scenario
from harness.faults.connection_limit import ConnectionLimit

from .load import BACK, ONE_EACH

SCENARIO = Scenario(
    name="incidents/i_15_pools_per_request",
    title="PoolTimeout under any real concurrency: two pools for each request",
    why="The handler opens a pool for the saver and one for the store; five users want forty connections.",
    question=1,
    load=ONE_EACH,
    plan=(Window(ConnectionLimit(limit=5), 0.0, 10.0),),
    bounds=BACK,
    full_only=True,
    durabilities=("async",),
    incident=Incident(
        number=15,
        repo="databricks/app-templates",
        issue=219,
        symptom=r"PoolTimeout: couldn't get a connection after 3\.00 sec",
        red="pools_per_request",
        green="self_healing",
        correction="The report waits for 30 s, the pool's default; 3 s show the same sooner.",
    ),
)
