"""A black hole while ``check=`` waits: neither the pool's timeout nor ``asyncio.timeout`` ends it in time."""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.incident import Incident
from harness.core.scenario import Bounds, Scenario
from harness.core.verdict import Guarantee
from harness.faults.black_hole import BlackHole

from .load import ONE_EACH

SCENARIO = Scenario(
    name="incidents/i_19_check_is_not_bounded",
    title="The deadline around a checkout does not fire: check= has none of its own",
    why="A connection that answers nothing is asked SELECT 1 at each checkout; the pool's timeout does not bound that.",
    question=4,
    load=ONE_EACH,
    plan=(Window(BlackHole(), 0.0, 14.0),),
    bounds=Bounds(deadline_s=5.0, recover_s=6.0, hang_fail_s=6.0),
    must_catch=(("check_on_checkout", Guarantee.NO_HANG),),
    full_only=True,
    incident=Incident(
        number=19,
        repo="psycopg/psycopg",
        issue=1401,
        red="check_on_checkout",
        green="self_healing",
        correction=(
            "The report's own bug, a check that absorbs cancellation, is gone since psycopg_pool 3.3.2. That "
            "getconn(timeout=) does not bound the check is not: the pool here has a timeout of 5 s."
        ),
    ),
)
