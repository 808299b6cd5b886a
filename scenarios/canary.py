"""The canary: a demand that nothing can meet, so that a run must fail and everything downstream must say so.

``poolproof run canary`` (or ``pytest scenarios/canary.py``) shows that reports, JUnit, the exit status and your CI
carry a failure out. It runs only when it is asked for.
"""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.scenario import Bounds, Scenario
from harness.faults.latency import Latency
from harness.workloads.closed_loop import ClosedLoop

IMPOSSIBLE = Scenario(
    name="canary/impossible",
    title="Fails on purpose: each answer of the database is 2.5 s late, and a turn must be answered within 2 s",
    why="A failure that nobody hears of is worse than no test. This one must be seen wherever results are read.",
    question=4,
    load=ClosedLoop(),
    plan=(Window(Latency(latency_ms=2500), 0.0, 3.0),),
    bounds=Bounds(deadline_s=2.0),
    strategies=("per_agent_pool",),
    gate_s=1.0,
    quick=True,
    on_request=True,
)
