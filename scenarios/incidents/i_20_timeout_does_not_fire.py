"""The server's side acknowledges everything and answers nothing: ``asyncio.timeout`` cancels and waits for minutes."""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.incident import Incident
from harness.core.scenario import Bounds, Scenario
from harness.core.verdict import Guarantee
from harness.faults.black_hole import BlackHole
from harness.workloads.closed_loop import ClosedLoop

SCENARIO = Scenario(
    name="incidents/i_20_timeout_does_not_fire",
    title="asyncio.timeout around a turn does not end it while the network is silent",
    why="psycopg tries to cancel on the server and waits for that; LangGraph waits for every save: 2 s become many more.",
    question=4,
    load=ClosedLoop(),
    plan=(Window(BlackHole(), 0.0, 18.0),),
    bounds=Bounds(deadline_s=2.0, recover_s=6.0),
    must_catch=(("timeout_of_asyncio", Guarantee.NO_HANG),),
    full_only=True,
    incident=Incident(
        number=20,
        repo="psycopg/psycopg",
        issue=1371,
        red="timeout_of_asyncio",
        green="fail_fast",
        correction=(
            "psycopg since 3.3.6 gives up after 10 s for each statement, so nothing hangs for ever any more; a turn "
            "has several statements, and still ends long after its deadline."
        ),
    ),
)
