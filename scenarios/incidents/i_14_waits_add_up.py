"""One saver for all, and the database away: the lock is taken before the pool is asked, so its timeouts add up."""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.history import CALLS
from harness.core.incident import Incident
from harness.core.scenario import Bounds, Scenario
from harness.core.verdict import Guarantee
from harness.faults.proxy_down import ProxyDown
from harness.workloads.closed_loop import ClosedLoop

SCENARIO = Scenario(
    name="incidents/i_14_waits_add_up",
    title="Each user waits one pool timeout longer than the one before",
    why="The lock of a shared saver is taken before a connection is asked for: in an outage timeouts queue up.",
    question=1,
    load=ClosedLoop(think_min_ms=20.0, think_max_ms=60.0),
    plan=(Window(ProxyDown(), 0.0, 16.0),),  # longer than a call may take at most: 3 s and 12 s over
    bounds=Bounds(deadline_s=3.0, recover_s=6.0),
    must_catch=(("shared_saver", Guarantee.NO_HANG),),
    full_only=True,
    durabilities=("async", "sync"),  # under exit a turn saves once, and the lock stands in nobody's way
    incident=Incident(
        number=14,
        repo="langchain-ai/langgraph",
        issue=7259,
        symptom=r"PoolTimeout: couldn't get a connection after 5\.00 sec",
        # who waited longest is ended before its own pool's timeout is heard of; the save says it all the same
        seen_by=(*CALLS, "aput", "aput_writes"),
        red="shared_saver",
        green="fail_fast",
        correction="The issue is about throughput; that its lock makes the pool's timeouts add up was found here.",
    ),
)
