"""Is the judge right? Mistakes that are planted on purpose, and the guarantee that has to catch each of them.

These scenarios run with the strategies that they name, whatever else a campaign compares, and are as short as shows
the mistake. A campaign in which one of them is not caught proves nothing.
"""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.scenario import Bounds, Scenario
from harness.core.verdict import Guarantee
from harness.faults.at_moment import AtMoment
from harness.faults.proxy_down import ProxyDown
from harness.faults.recreate import Recreate
from harness.workloads.closed_loop import ClosedLoop
from harness.workloads.two_writers import TwoWriters

#: Users who hardly think, so that every moment meets turns in flight.
BUSY = ClosedLoop(think_min_ms=20.0, think_max_ms=100.0)
_SHORT = "these strategies are wrong on purpose: it only says for how long they are driven"
#: What two pools of four connections need. The strategies' own pool holds four.
TIGHT_BUDGET = 8

OUTAGE = Scenario(
    name="trust/outage",
    title="The judge's test: the database refuses connections for a second",
    why="Mistakes that are made while the database is away, and look like good service: nobody sees an error.",
    question=4,
    load=BUSY,
    plan=(Window(ProxyDown(), 0.0, 1.0),),
    bounds=Bounds(
        deadline_s=3.0, recover_s=2.0, recover_why=_SHORT, hang_slow_s=1.5, hang_fail_s=2.0, budget=TIGHT_BUDGET
    ),
    must_catch=(
        ("best_effort_saver", Guarantee.NO_LOST_TURN),
        ("memory_fallback", Guarantee.NO_LOST_TURN),
        ("unreleased_lock", Guarantee.NO_HANG),
        ("recreate_storm", Guarantee.CONNECTION_BUDGET),
    ),
    strategies=("best_effort_saver", "memory_fallback", "unreleased_lock", "recreate_storm"),
    gate_s=0.5,
    tail_s=0.5,
    quick=True,
)

RECREATION = Scenario(
    name="trust/recreation",
    title="The judge's test: the post's re-creation, and PoolClosed in disguise",
    why="PoolClosed that is shown as a reply, wrapped, or put into a group is PoolClosed at a caller all the same.",
    question=4,
    load=BUSY,
    plan=(Window(Recreate(queued=False), 0.0, 0.5),),
    bounds=Bounds(recover_s=1.0, recover_why=_SHORT),
    must_catch=(
        ("error_in_reply", Guarantee.NO_POOL_CLOSED),
        ("error_wrapped", Guarantee.NO_POOL_CLOSED),
        ("error_in_group", Guarantee.NO_POOL_CLOSED),
    ),
    strategies=("error_in_reply", "error_wrapped", "error_in_group"),
    gate_s=0.5,
    tail_s=0.5,
    quick=True,
)

CALM = Scenario(
    name="trust/calm",
    title="The judge's test: nothing goes wrong, and connections or turns go missing",
    why="Mistakes that need no fault at all: the strategy itself uses up what it was given, or hides what it stored.",
    question=1,
    load=BUSY,
    bounds=Bounds(budget=TIGHT_BUDGET),
    must_catch=(
        ("forgotten_task", Guarantee.CLEAN_BACKGROUND),
        ("kept_connection", Guarantee.CONNECTION_BUDGET),
        ("pool_per_request", Guarantee.CONNECTION_BUDGET),
        ("skewed_clock", Guarantee.NO_LOST_TURN),
    ),
    strategies=("forgotten_task", "kept_connection", "pool_per_request", "skewed_clock"),
    baseline=True,
    gate_s=0.5,
    tail_s=0.5,
    quick=True,
)

TWO_WRITERS = Scenario(
    name="trust/two_writers",
    title="The judge's test: two requests of one conversation at the same time",
    why="A double click or a second tab: LangGraph loses one of two acknowledged turns, so this must be seen as lost.",
    question=1,
    load=TwoWriters(),
    must_catch=(("two_writers", Guarantee.NO_LOST_TURN), ("two_writers", Guarantee.ISOLATION)),
    strategies=("two_writers",),
    baseline=True,
    gate_s=0.5,
    tail_s=0.5,
    quick=True,
)

COMMIT = Scenario(
    name="trust/commit",
    title="The judge's test: the answer to a commit is lost, again and again",
    why="The save is stored and its caller cannot know: who sends the turn again as it was does it twice.",
    question=4,
    load=BUSY,
    plan=(Window(AtMoment(moment="commit", nth=5, times=1000), 0.0, 1.5),),
    bounds=Bounds(recover_s=2.0, recover_why=_SHORT),
    must_catch=(("blind_retry", Guarantee.NO_DUPLICATE_TURN),),
    strategies=("blind_retry",),
    gate_s=0.5,
    tail_s=0.5,
    quick=True,
)
