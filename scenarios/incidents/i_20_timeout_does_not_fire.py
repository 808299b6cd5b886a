"""The server's side acknowledges everything and answers nothing: ``asyncio.timeout`` cancels and waits for minutes."""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.incident import Incident
from harness.core.scenario import Bounds, Scenario
from harness.core.verdict import Guarantee
from harness.faults.black_hole import BlackHole

from .load import ONE_EACH

SCENARIO = Scenario(
    name="incidents/i_20_timeout_does_not_fire",
    title="asyncio.timeout around a turn does not end it while the network is silent",
    why="psycopg asks the server to cancel and waits for that, LangGraph waits for every save: 5 s become many more.",
    question=4,
    load=ONE_EACH,
    plan=(Window(BlackHole(), 0.0, 14.0),),
    bounds=Bounds(deadline_s=5.0, recover_s=6.0, hang_fail_s=4.0),
    must_catch=(("timeout_of_asyncio", Guarantee.NO_HANG),),
    full_only=True,
    incident=Incident(
        number=20,
        repo="psycopg/psycopg",
        issue=1371,
        red="timeout_of_asyncio",
        green="fail_fast",
        correction=(
            "psycopg since 3.3.6 gives up 5 to 10 s after it was cancelled, so nothing hangs for ever any more; a turn "
            "still ends that long after its deadline."
        ),
    ),
)
