"""A reload closes the pool while LangGraph still saves in the background: its task meets PoolClosed."""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.incident import Incident
from harness.core.scenario import Bounds, Scenario
from harness.faults.latency import Latency
from harness.faults.recreate import Recreate
from harness.workloads.closed_loop import ClosedLoop

SCENARIO = Scenario(
    name="incidents/i_02_closed_under_a_save",
    title="A reload closes the pool while saves still run in the background",
    why="The run is over for its caller, or was cancelled, and its last saves are not: whoever closes must wait.",
    question=2,
    load=ClosedLoop(),
    plan=(
        Window(Latency(latency_ms=300), 0.0, 5.0),
        Window(Recreate(), 1.0, 5.0),
    ),
    bounds=Bounds(deadline_s=20.0),
    full_only=True,
    durabilities=("async",),
    incident=Incident(
        number=2,
        repo="bytedance/deer-flow",
        issue=3373,
        symptom=r"PoolClosed: the pool '[^']+' is already closed",
        seen_by=("aput", "aput_writes"),
        red="instance_tracking_naive",
        green="instance_tracking",
        correction=(
            "The report saw it at shutdown; the same happens at every reload in a living process, and there the user "
            "sees the error as well."
        ),
    ),
)
