"""A session that was forgotten on the way: the peer is there, new ones are served, and this one answers nothing."""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.incident import Incident
from harness.core.scenario import Bounds, Scenario
from harness.core.verdict import Guarantee
from harness.faults.pause import Pause

from .load import ONE_EACH

SCENARIO = Scenario(
    name="incidents/i_09_half_open",
    title="The agent parks for ever in aget_tuple, on a connection that idled for 88 minutes",
    why="A firewall forgot the session: what is sent on it is never answered, and the saver has no other connection.",
    question=4,
    load=ONE_EACH,
    plan=(Window(Pause(what="sessions"), 0.0, 14.0),),
    bounds=Bounds(deadline_s=5.0, recover_s=6.0, hang_fail_s=6.0),
    must_catch=(("single_connection", Guarantee.NO_HANG),),
    full_only=True,
    durabilities=("async",),
    incident=Incident(
        number=9,
        repo="rwlove/home-ops",
        issue=11748,
        red="single_connection",
        green="self_healing",
        correction=(
            "The cure of the report, a pool with check=, replaces what is known to be dead. On a connection that is "
            "silent the check itself waits, and nothing bounds it (I-19): it is the deadline that cures."
        ),
    ),
)
