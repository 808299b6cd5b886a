"""What the network does to a pool: everything that stands between an agent and its database, and the post's incident.

Each scenario says which question of the post it answers, why it is here, and what it must catch. Windows are in
seconds after the gate; where an effect depends on the state of the pool, the fault waits for that state and not for
the clock.
"""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.scenario import Bounds, Layout, Scenario
from harness.core.verdict import Guarantee
from harness.faults.answers_lost import AnswersLost
from harness.faults.bandwidth import Bandwidth
from harness.faults.black_hole import BlackHole
from harness.faults.flapping import Flapping
from harness.faults.health_check_herd import HealthCheckHerd
from harness.faults.idle_cut import IdleCut
from harness.faults.latency import Latency
from harness.faults.limit_data import LimitData
from harness.faults.proxy_down import ProxyDown
from harness.faults.recreate import Recreate
from harness.faults.reset_peer import ResetPeer
from harness.faults.slicer import Slicer
from harness.faults.slow_close import SlowClose
from harness.faults.timeout import Timeout
from harness.workloads.closed_loop import ClosedLoop

LOAD = ClosedLoop()

#: Latency of each answer while a re-creation is ordered: it keeps turns in flight and requests queued.
BUSY = Latency(latency_ms=300)

#: What closes a pool that others hold leaks in every outage that its health check sees.
NAIVE_LEAKS = (("naive_recreate", Guarantee.NO_POOL_CLOSED),)
ALL_LEAK = (
    *NAIVE_LEAKS,
    ("instance_tracking_naive", Guarantee.NO_POOL_CLOSED),
    ("pool_reference_naive", Guarantee.NO_POOL_CLOSED),
)

STEADY = Scenario(
    name="network/steady",
    title="Nothing goes wrong",
    why="The baseline: a strategy that breaks a guarantee without any fault needs no chaos to be rejected.",
    question=1,
    load=LOAD,
    baseline=True,
    quick=True,
)

LATENCY = Scenario(
    name="network/latency",
    title="Every answer is 100 ms late",
    why="A database in another zone, or a busy link: slow is not down, and nobody may re-create or give up.",
    question=2,
    load=LOAD,
    plan=(Window(Latency(latency_ms=100), 0.0, 4.0),),
    bounds=Bounds(deadline_s=20.0),
)

BANDWIDTH = Scenario(
    name="network/bandwidth",
    title="The link is narrow",
    why="One agent stores a mebibyte a turn; on a narrow link its saves queue, and the others must still be served.",
    question=1,
    load=LOAD,
    plan=(Window(Bandwidth(rate_kb_per_s=1500), 0.0, 4.0),),
    bounds=Bounds(deadline_s=20.0),
)

RESET_MID_TURN = Scenario(
    name="network/reset_mid_turn",
    title="Connections are reset for 3 s, and the pool is re-created twice meanwhile",
    why="A failover resets every connection that carries data. The health check reacts by re-creating the pool.",
    question=2,
    load=LOAD,
    plan=(
        Window(ResetPeer(), 0.0, 3.0),
        Window(Recreate(times=2, pause_ms=800, wait_ms=600, queued=False), 0.0, 3.0),
    ),
    must_catch=(
        *ALL_LEAK,
        ("naive_recreate", Guarantee.RECOVERS),
        ("graceful_degradation", Guarantee.RECOVERS),
    ),
    quick=True,
)

ANSWERS_LOST = Scenario(
    name="network/answers_lost",
    title="Answers get lost for 50 ms, every 300 ms",
    why="The server did the work and the caller never learns it: what is sent again blindly is done twice.",
    question=4,
    load=LOAD,
    # nothing is demanded of a control: it leaks where a health check meets one of these holes, which none need do
    plan=(Window(AnswersLost(hole_ms=50, period_ms=300), 0.0, 4.0),),
    quick=True,
)

IDLE_RESET = Scenario(
    name="network/idle_reset",
    title="All idle connections are cut while nobody uses them",
    why=(
        "Firewalls forget idle connections during long model calls. A pool that checks them one by one backs "
        "off after each dead one."
    ),
    question=2,
    load=LOAD,
    plan=(Window(IdleCut(), 0.0, 2.0),),
    must_catch=NAIVE_LEAKS,
)

PROXY_DOWN = Scenario(
    name="network/proxy_down",
    title="The database refuses connections for 3 s",
    why="A restart or a failover: every connection is cut, new ones are refused at once.",
    question=4,
    load=LOAD,
    plan=(Window(ProxyDown(), 0.0, 3.0),),
    must_catch=(
        *ALL_LEAK,
        ("naive_recreate", Guarantee.DECLARED_ERRORS),
        ("graceful_degradation", Guarantee.NO_SILENT_FAILURE),
    ),
)

TIMEOUT = Scenario(
    name="network/timeout",
    title="Nothing comes back, and connections are closed after a second",
    why="The post's own word: a database timeout is what began their incident.",
    question=2,
    load=LOAD,
    plan=(Window(Timeout(timeout_ms=1000), 0.0, 4.0),),
    must_catch=ALL_LEAK,
)

BLACK_HOLE_DOWN = Scenario(
    name="network/black_hole_down",
    title="Answers vanish for 6 s, the deadline is 2 s",
    why="A dead host behind a living load balancer acknowledges everything and answers nothing: only a deadline helps.",
    question=4,
    load=LOAD,
    plan=(Window(BlackHole(stream="downstream"), 0.0, 6.0),),
    bounds=Bounds(deadline_s=2.0),
    must_catch=ALL_LEAK,
    quick=True,
)

BLACK_HOLE_UP = Scenario(
    name="network/black_hole_up",
    title="Requests vanish for 6 s, the deadline is 2 s",
    why="As above, in the other direction: the server never hears of the request, not even of its cancellation.",
    question=4,
    load=LOAD,
    plan=(Window(BlackHole(stream="upstream"), 0.0, 6.0),),
    bounds=Bounds(deadline_s=2.0),
    must_catch=ALL_LEAK,
)

BLACK_HOLE_LONG = Scenario(
    name="network/black_hole_long",
    title="Answers vanish for 16 s, the deadline is 2 s",
    why=(
        "Long enough that a call without a deadline is a hang, and that a swap at every failed check runs out "
        "of backends."
    ),
    question=2,
    load=LOAD,
    plan=(Window(BlackHole(stream="downstream"), 0.0, 16.0),),
    bounds=Bounds(deadline_s=2.0, recover_s=6.0),
    must_catch=ALL_LEAK,
)

SLICER = Scenario(
    name="network/slicer",
    title="Answers arrive in small slices",
    why="A middlebox that inspects, or a broken MTU: messages arrive in pieces and late, and must still be whole.",
    question=1,
    load=LOAD,
    plan=(Window(Slicer(average_size_bytes=256, delay_us=5000), 0.0, 4.0),),
    bounds=Bounds(deadline_s=20.0),
)

LIMIT_DATA = Scenario(
    name="network/limit_data",
    title="Connections are cut in the middle of a message",
    why=(
        "Each connection dies after 3,000 bytes of answers, in its third save or so: half a pipeline is "
        "there, half is not. With 30,000 bytes an agent that loads much lives long enough to save."
    ),
    question=4,
    load=LOAD,
    plan=(
        Window(LimitData(limit_bytes=3000), 0.0, 3.0),
        Window(LimitData(limit_bytes=30_000), 3.5, 5.5),
    ),
)

SLOW_CLOSE = Scenario(
    name="network/slow_close",
    title="Closing a connection takes 1.5 s while the pool is re-created",
    why=(
        "Old connections linger after a swap: whoever waits for their end waits long, and old and new together "
        "must fit the budget."
    ),
    question=2,
    load=LOAD,
    plan=(Window(SlowClose(delay_ms_each=1500), 0.0, 3.0),),
    bounds=Bounds(deadline_s=20.0),
    must_catch=NAIVE_LEAKS,
)

FLAPPING = Scenario(
    name="network/flapping",
    title="The port closes and opens again and again",
    why=(
        "A restart loop, or a load balancer that changes its mind: each opening tempts a strategy to re- "
        "create once more."
    ),
    question=2,
    load=LOAD,
    plan=(Window(Flapping(down_ms=400, up_ms=600), 0.0, 5.0),),
    must_catch=NAIVE_LEAKS,
)

LONG_OUTAGE = Scenario(
    name="network/long_outage",
    title="The database refuses connections for 20 s",
    why="A pool's reconnect attempts back off while the database is away, and then sleep on after it is back.",
    question=2,
    load=LOAD,
    plan=(Window(ProxyDown(), 0.0, 20.0),),
    bounds=Bounds(recover_s=6.0),
    must_catch=ALL_LEAK,
)

POST_INCIDENT = Scenario(
    name="network/post_incident",
    title="The post's incident: a timeout, a health check, a re-creation with turns in flight",
    why="What happened to the team that asked: a timeout, then _recreate_pool() while agents were serving users.",
    question=3,
    load=LOAD,
    plan=(
        Window(Timeout(timeout_ms=1000), 0.0, 2.5),
        Window(BUSY, 3.0, 8.0),
        Window(Recreate(), 4.0, 8.0),
    ),
    bounds=Bounds(deadline_s=20.0),
    must_catch=(
        *ALL_LEAK,
        ("naive_recreate", Guarantee.RECOVERS),
        ("graceful_degradation", Guarantee.RECOVERS),
    ),
    quick=True,
)

RECREATE_NO_FAULT = Scenario(
    name="network/recreate_no_fault",
    title="The pool is re-created although nothing is wrong",
    why="A deployment hook, a false alarm, an operator: re-creation alone, on a healthy database, must hurt nobody.",
    question=3,
    load=LOAD,
    plan=(
        Window(BUSY, 0.0, 5.0),
        Window(Recreate(), 1.0, 5.0),
    ),
    bounds=Bounds(deadline_s=20.0),
    must_catch=(
        *ALL_LEAK,
        ("naive_recreate", Guarantee.RECOVERS),
        ("naive_recreate", Guarantee.AVAILABLE),
        ("graceful_degradation", Guarantee.RECOVERS),
        ("graceful_degradation", Guarantee.AVAILABLE),
    ),
    quick=True,
)

FALSE_ALARM = Scenario(
    name="network/false_alarm",
    title="The health check fails although the database is well",
    why=(
        "One answer that is 2.4 s late is enough for a health check of 2 s; the turns themselves would all "
        "have succeeded."
    ),
    question=2,
    load=LOAD,
    plan=(Window(Latency(latency_ms=2400), 0.0, 2.8),),
    bounds=Bounds(deadline_s=20.0),
    must_catch=(*ALL_LEAK, ("graceful_degradation", Guarantee.NO_SILENT_FAILURE)),
)

HEALTH_CHECK_HERD = Scenario(
    name="network/health_check_herd",
    title="Fifty health checks at once, right after the connections were reset",
    why="A check before each request means that all callers check, and re-create, at the same moment.",
    question=2,
    load=LOAD,
    plan=(
        Window(ResetPeer(), 0.0, 1.5),
        Window(HealthCheckHerd(callers=50), 1.0, 2.0),
    ),
    must_catch=ALL_LEAK,
)

SECOND_THREAD = Scenario(
    name="network/second_thread",
    title="Half of the users call from a second thread with an event loop of its own",
    why="The post asks about thread safety: a web framework's worker thread calls agents that live on another loop.",
    question=1,
    load=LOAD,
    plan=(Window(ResetPeer(), 0.5, 2.0),),
    layout=Layout.SECOND_THREAD,
    must_catch=ALL_LEAK,
)

SHARED_SAVER = Scenario(
    name="network/shared_saver",
    title="One saver for all agents, and the database is away",
    why="A saver's lock lets one call through at a time: while the database is away its users wait behind each other.",
    question=1,
    load=ClosedLoop(think_min_ms=20.0, think_max_ms=60.0),
    plan=(Window(ProxyDown(), 0.0, 14.0),),
    bounds=Bounds(deadline_s=3.0, recover_s=6.0),
    must_catch=(*NAIVE_LEAKS, ("shared_saver", Guarantee.NO_HANG)),
)
