"""What clients and the service itself do to a pool while network and database are well.

Users close the tab, gateways lose patience, somebody blocks the event loop, a deployment calls ``setup()`` in every
replica. Nothing is wrong with the database, so whoever is still there must be answered; and of those who went, no
connection may be left behind, no lock, and no turn stored twice when it is repeated. Two event loops are
``network/second_thread``; two writers and a skewed clock, which LangGraph does not survive, are controls in ``trust``.
"""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.scenario import Bounds, Scenario
from harness.core.verdict import Guarantee
from harness.faults.client_gone import ClientGone
from harness.faults.client_gone_twice import ClientGoneTwice
from harness.faults.latency import Latency
from harness.faults.loop_stall import LoopStall
from harness.faults.service_timeout import ServiceTimeout
from harness.faults.setup_herd import SetupHerd
from harness.workloads.closed_loop import ClosedLoop

LOAD = ClosedLoop()

CLIENT_GONE = Scenario(
    name="client/gone",
    title="Clients go in the middle of a turn, and come back",
    why=(
        "The server cancels what serves them, at any await: in a query, between two saves, while it waits for a "
        "connection. The others must not notice."
    ),
    question=4,
    load=LOAD,
    plan=(Window(ClientGone(), 0.0, 4.0),),
    full_only=True,
)

CLIENT_GONE_TWICE = Scenario(
    name="client/gone_twice",
    title="Clients go, and what serves them is cancelled a second time while it ends",
    why="The second cancellation hits the tidying up after the first: there connections get lost and locks are kept.",
    question=4,
    load=LOAD,
    plan=(Window(ClientGoneTwice(), 0.0, 4.0),),
)

SERVICE_TIMEOUT = Scenario(
    name="client/service_timeout",
    title="The service gives half of the calls 60 ms",
    why="asyncio.timeout around each call is what services have: it cancels once, and expects to see its own error.",
    question=4,
    load=LOAD,
    plan=(Window(ServiceTimeout(), 0.0, 4.0),),
    full_only=True,
)

LOOP_STALLED = Scenario(
    name="client/loop_stalled",
    title="The event loop stands still for 2.4 s while the health check waits for its answer",
    why=(
        "Somebody called something that blocks. Every timer fires at once afterwards, so a health check of 2 s finds "
        "a timeout on a database that is well. Its answers take 100 ms, so that the check has not got its own yet."
    ),
    question=2,
    load=LOAD,
    plan=(
        Window(Latency(latency_ms=100), 0.0, 4.0),
        Window(LoopStall(stall_ms=2400, times=1), 0.5, 3.5),
    ),
    bounds=Bounds(deadline_s=20.0),
    must_catch=(("naive_recreate", Guarantee.NO_POOL_CLOSED),),
)

LOOP_STUTTERS = Scenario(
    name="client/loop_stutters",
    title="The event loop stands still for 0.7 s, four times",
    why="A library that is not asynchronous, called in every turn: answers are late, and nothing is broken.",
    question=2,
    load=LOAD,
    plan=(Window(LoopStall(stall_ms=700, times=4, pause_ms=300), 0.0, 4.5),),
    bounds=Bounds(deadline_s=20.0),
    full_only=True,
)

SETUP_HERD = Scenario(
    name="client/setup_herd",
    title="Every replica calls setup() at once, while users talk to it",
    why=(
        "A deployment of a newer saver: the migrations race, with the pool's connections in their hands. Of ten 7 to 9 "
        "fail, and in 2 runs of 9 an index was left invalid for good; turns must go on."
    ),
    question=1,
    load=LOAD,
    plan=(Window(SetupHerd(), 0.0, 4.0),),
    full_only=True,
)
