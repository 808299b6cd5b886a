"""What becomes of a save that is hit at a chosen moment of the protocol: stored and not told, or lost without a trace.

The faults of the other families strike by the clock, so that what they hit is luck. Here a proxy that understands
Postgres's messages waits for the moment. Each scenario says which question of the post it answers and why it is here.
All run in the full size, and the one that proves most in the default one too: the lost answer to a commit. Only the
local environment has that proxy.
"""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.scenario import Bounds, Scenario
from harness.core.verdict import Guarantee
from harness.faults.at_moment import AtMoment
from harness.workloads.closed_loop import ClosedLoop

LOAD = ClosedLoop()

ANSWER_TO_COMMIT_LOST = Scenario(
    name="protocol/answer_to_commit_lost",
    title="Every tenth save is committed, and its connection is cut before the answer",
    why=(
        "The caller reads the same error whether the save was stored or not, and here it always was: who sends such a "
        "turn again as it was has it twice, every time and not by luck."
    ),
    question=4,
    load=LOAD,
    plan=(Window(AtMoment(moment="commit", nth=10, times=1000), 0.0, 3.0),),
)

ANSWER_TO_COMMIT_LATE = Scenario(
    name="protocol/answer_to_commit_late",
    title="Four saves are committed, and their connections fall silent until the window ends",
    why=(
        "Some connections are dead and all others work: a check that asks for a connection finds nothing, and only a "
        "deadline on the call itself ends the wait for a save that is stored already."
    ),
    question=4,
    load=LOAD,
    plan=(Window(AtMoment(moment="commit", nth=8, times=4, action="drop"), 0.0, 6.0),),
    bounds=Bounds(deadline_s=4.0),
    # Its two pools hold two connections each, and all four fall silent, so that its health check fails.
    must_catch=(("naive_recreate", Guarantee.NO_POOL_CLOSED),),
    full_only=True,
)

CUT_MID_PIPELINE = Scenario(
    name="protocol/cut_mid_pipeline",
    title="Every tenth save is cut between its INSERT and its Sync",
    why=(
        "The other half of the doubt: the same error, and the checkpoint with its blobs is gone as if never sent. Who "
        "takes the error for success loses it; a save that is not whole must leave no half."
    ),
    question=4,
    load=LOAD,
    plan=(Window(AtMoment(moment="sync", nth=10, times=1000), 0.0, 3.0),),
    full_only=True,
)

WRITES_CUT = Scenario(
    name="protocol/writes_cut",
    title="Every third time a node's writes are executed, they are cut before they are committed",
    why=(
        "Saves of writes run beside the next node, and an error there is easily dropped: the checkpoint stands, the "
        "writes that belong to it do not."
    ),
    question=4,
    load=LOAD,
    # Under the durability "exit" there are hardly any: some three in a second.
    plan=(Window(AtMoment(moment="insert", table="checkpoint_writes", nth=3, times=25), 0.0, 4.0),),
    full_only=True,
)

STALL_AFTER_PARSE = Scenario(
    name="protocol/stall_after_parse",
    title="Connections are cut, and the new ones stand still for a second at their first save",
    why=(
        "Prepared statements make the first save on each new connection a different one: a pool that was just renewed "
        "is at its slowest when everybody waits for it."
    ),
    question=2,
    load=LOAD,
    plan=(
        Window(AtMoment(moment="commit", nth=3, times=1000), 0.0, 1.5),
        Window(AtMoment(moment="parse", table="any", times=1000, action="stall", stall_ms=1000), 0.5, 4.0),
    ),
    full_only=True,
)

STALL_IN_TRANSACTION = Scenario(
    name="protocol/stall_in_transaction",
    title="Every tenth save stands still for 700 ms between its INSERT and its commit",
    why=(
        "A client that pauses in mid-save keeps its transaction and its locks: slow is not down, and whoever sends "
        "the same checkpoint again meanwhile waits for the lock of his own first attempt."
    ),
    question=4,
    load=LOAD,
    plan=(Window(AtMoment(moment="insert", nth=10, times=1000, action="stall", stall_ms=700), 0.0, 4.0),),
    full_only=True,
)
