"""What becomes of conversations when a replica's process dies, is told to end, stands still, or is replaced.

In these scenarios each replica group is an operating-system process, as a container is: users reach it through a
balancer, a supervisor starts it again, and a turn that it did not answer is repeated at another replica. Nothing is
wrong with the database or the network. Each scenario says which question of the post it answers and why it is here;
all run in the full size, the two that prove most in the default one too.
"""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.scenario import Bounds, Scenario
from harness.core.verdict import Guarantee
from harness.faults.replica_drain import ReplicaDrain
from harness.faults.replica_freeze import ReplicaFreeze
from harness.faults.replica_kill import ReplicaKill
from harness.faults.rolling_restart import RollingRestart
from harness.workloads.closed_loop import ClosedLoop

#: One replica must bear it all while the other one is away.
LOAD = ClosedLoop(think_min_ms=200.0, think_max_ms=600.0)

REPLICA_KILLED = Scenario(
    name="process/replica_killed",
    title="A replica is killed in mid-turn, and then the other one",
    why=(
        "Out of memory, or a node that is taken away: nobody closes a pool or finishes a save. Users repeat their "
        "turns at the other replica, and what the dead one had stored of them must not be there twice."
    ),
    question=3,
    load=LOAD,
    plan=(Window(ReplicaKill(replica=0), 0.0, 1.0), Window(ReplicaKill(replica=1), 2.0, 3.0)),
)

REPLICA_DRAINED = Scenario(
    name="process/replica_drained",
    title="A replica is told to end, and nobody notices",
    why=(
        "Scaling in: the container gets SIGTERM. Its calls are answered, its pool is closed once nobody uses it any "
        "more, and all others are served elsewhere: a pool that is closed too early shows here."
    ),
    question=2,
    load=LOAD,
    plan=(Window(ReplicaDrain(replica=0), 0.0, 1.5),),
    full_only=True,
)

REPLICA_FROZEN = Scenario(
    name="process/replica_frozen",
    title="A replica stands still for 8 s, and wakes up in the middle of turns that others have gone on from",
    why=(
        "A paused container or a machine that moves. Its users gave up at their deadline and went on elsewhere; when "
        "it wakes up it must not finish what it had begun, or it hides the turns that were acknowledged since."
    ),
    question=3,
    load=LOAD,
    plan=(Window(ReplicaFreeze(replica=0), 0.0, 8.0),),
    bounds=Bounds(deadline_s=4.0),
    # What gives a request no deadline loses turns here (naive_recreate in three runs of five), but not every time.
)

REPLICA_FROZEN_TAKEN_OVER = Scenario(
    name="process/replica_frozen_taken_over",
    title="A replica stands still for 3 s, and its conversations are taken over after half a second",
    why=(
        "A gateway that resets connections sooner than turns end: the replica wakes up inside their deadlines, and two "
        "processes write one conversation. LangGraph leaves that to the service, so no strategy for a pool is judged "
        "by it: it shows what is lost, and that a lease for each conversation keeps it."
    ),
    question=3,
    load=LOAD,
    plan=(Window(ReplicaFreeze(replica=0, cut_ms=500), 0.0, 3.0),),
    must_catch=(("two_writers", Guarantee.NO_LOST_TURN),),
    strategies=("two_writers", "thread_lease"),
    full_only=True,
)

ROLLING_RESTART = Scenario(
    name="process/rolling_restart",
    title="Every replica is replaced, one after the other",
    why="A deployment: the safe way to renew every pool without touching one that is in use.",
    question=2,
    load=LOAD,
    plan=(Window(RollingRestart(), 0.0, 2.0),),
    full_only=True,
)
