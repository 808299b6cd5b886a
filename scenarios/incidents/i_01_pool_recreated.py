"""The post: the class-level pool is re-created after a database timeout, and living agents keep the closed one."""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.incident import Incident
from harness.core.scenario import Scenario
from harness.core.verdict import Guarantee
from harness.faults.proxy_down import ProxyDown
from harness.faults.recreate import Recreate
from harness.workloads.closed_loop import ClosedLoop

SCENARIO = Scenario(
    name="incidents/i_01_pool_recreated",
    title="The shared pool is re-created, and living agents keep the closed one",
    why=(
        "A timeout makes the health check close the pool of five agents and open another; their savers stay on the "
        "closed one, so every call fails until the service is restarted."
    ),
    question=2,
    load=ClosedLoop(),
    plan=(
        Window(ProxyDown(), 0.0, 1.0),
        Window(Recreate(wait_ms=600, queued=False), 0.2, 1.4),
    ),
    must_catch=(("naive_recreate", Guarantee.RECOVERS),),
    full_only=True,
    incident=Incident(
        number=1,
        repo="forum.langchain.com",
        issue=1730,
        symptom=r"PoolClosed: the pool '[^']+' is already closed",
        red="naive_recreate",
        green="shared_swap",
        correction=(
            "The posted health check could not have fired: it calls pool.is_closed(), and psycopg_pool has only the "
            "property closed. The control asks SELECT 1 within 2 s instead."
        ),
    ),
)
