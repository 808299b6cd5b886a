"""One saver for all: its lock lets one call through at a time, so a bigger pool changes nothing."""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.incident import Incident
from harness.core.scenario import Bounds, Scenario
from harness.core.verdict import Guarantee
from harness.faults.latency import Latency
from harness.workloads.closed_loop import ClosedLoop

SCENARIO = Scenario(
    name="incidents/i_13_one_saver_serialises",
    title="Throughput stays flat however large the pool is: one saver for all",
    why="A saver holds a lock around each call, even over a pool: ten users wait for each other, and connections idle.",
    question=1,
    load=ClosedLoop(think_min_ms=20.0, think_max_ms=60.0),
    plan=(Window(Latency(latency_ms=150), 0.0, 16.0),),
    bounds=Bounds(deadline_s=9.0, recover_s=6.0, hang_slow_s=0.5, hang_fail_s=1.0),
    must_catch=(("shared_saver", Guarantee.NO_HANG),),
    full_only=True,
    durabilities=("async", "sync"),  # under exit a turn saves once, and the lock stands in nobody's way
    incident=Incident(number=13, repo="langchain-ai/langgraph", issue=7259, red="shared_saver", green="shared_swap"),
)
