"""A pool that one life of the service closed is opened again by the next: psycopg_pool refuses that for good."""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.incident import Incident
from harness.core.scenario import Scenario
from harness.core.verdict import Guarantee
from harness.faults.recreate import Recreate

from .load import BACK, ONE_EACH

SCENARIO = Scenario(
    name="incidents/i_03_reopened",
    title="PoolClosed on the second use: a closed pool cannot be opened again",
    why="A lifespan closes the pool of a global, the next one in the same process opens it again and finds it closed.",
    question=2,
    load=ONE_EACH,
    plan=(Window(Recreate(queued=False), 0.0, 1.0),),
    bounds=BACK,
    must_catch=(("reopened_pool", Guarantee.RECOVERS),),
    full_only=True,
    durabilities=("async",),
    incident=Incident(
        number=3,
        repo="coval-ai/benchmarks",
        issue=632,
        symptom=r"PoolClosed: the pool '[^']+' is already closed",
        red="reopened_pool",
        green="shared_swap",
    ),
)
