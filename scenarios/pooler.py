"""What a pooler does to the pools before it: its restart, its orders, its own link to Postgres, its slots and settings.

Everything here is about strategies that have a PgBouncer, so each scenario names those that it runs with. In
transaction mode a client holds a server connection for a transaction at a time; in session mode for as long as it
stays, so an order that waits for connections to be free is felt there only by whoever connects anew. Each scenario says
which question of the post it answers, why it is here, and what it must catch. Two run in the default size, the rest in
the full one. The pooler is the cell's own process, which only the local environment gives.
"""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.scenario import Bounds, Scenario
from harness.core.verdict import Guarantee
from harness.faults.pooler_black_hole import PoolerBlackHole
from harness.faults.pooler_exhausted import PoolerExhausted
from harness.faults.pooler_halted import PoolerHalted
from harness.faults.pooler_reconnect import PoolerReconnect
from harness.faults.pooler_restart import PoolerRestart
from harness.faults.restart import Restart
from harness.faults.terminate_backends import TerminateBackends
from harness.workloads.closed_loop import ClosedLoop

LOAD = ClosedLoop()
BOTH = ("pgbouncer_session", "pgbouncer_transaction")
TRANSACTION = ("pgbouncer_transaction",)
#: The class-level pool that is re-created, behind a pooler: it leaks in every outage that its health check sees.
NAIVE = ("naive_behind_pooler",)
LEAKS = (("naive_behind_pooler", Guarantee.NO_POOL_CLOSED),)

RESTART = Scenario(
    name="pooler/restart",
    title="The pooler is restarted, and is away for 2 s",
    why=(
        "An update of PgBouncer: Postgres never noticed, and every connection of every service is gone at once. A "
        "pool that is re-created for it leaks PoolClosed as it does without a pooler."
    ),
    question=2,
    load=LOAD,
    plan=(Window(PoolerRestart(), 0.0, 2.0),),
    strategies=(*BOTH, *NAIVE),
    must_catch=(*LEAKS, ("naive_behind_pooler", Guarantee.RECOVERS)),
)

PAUSE = Scenario(
    name="pooler/pause",
    title="PAUSE for 4 s, and then RESUME",
    why=(
        "How a database behind PgBouncer is switched without an error: whoever wants a connection waits and is served. "
        "What takes the wait for an outage makes one of it."
    ),
    question=4,
    load=LOAD,
    plan=(Window(PoolerHalted(order="pause"), 0.0, 4.0),),
    strategies=TRANSACTION,
    full_only=True,
)

PAUSE_AND_SWITCH = Scenario(
    name="pooler/pause_and_switch",
    title="PAUSE for 4 s, and the server ends every session meanwhile",
    why=(
        "The same switch when sessions are in the way, as in session mode they always are: they are ended, and the new "
        "ones that everybody wants at once wait for RESUME, each login for as long."
    ),
    question=2,
    load=LOAD,
    plan=(
        Window(PoolerHalted(order="pause"), 0.0, 4.0),
        Window(TerminateBackends(which="all", period_ms=500), 0.5, 2.0),
    ),
    strategies=("pgbouncer_session", *NAIVE),
    must_catch=LEAKS,
    full_only=True,
)

KILL = Scenario(
    name="pooler/kill",
    title="KILL, and RESUME 3 s later",
    why='A database that is stuck is emptied: "database removed" for who is there, silence for who comes anew.',
    question=2,
    load=LOAD,
    plan=(Window(PoolerHalted(order="kill"), 0.0, 3.0),),
    strategies=(*BOTH, *NAIVE),
    must_catch=LEAKS,
    full_only=True,
)

RECONNECT = Scenario(
    name="pooler/reconnect",
    title="RECONNECT every half second",
    why=(
        "Server connections are replaced under living clients, as after a failover. Whoever meets an order that falls "
        "into a login is refused, and must be answered soon afterwards."
    ),
    question=2,
    load=LOAD,
    plan=(Window(PoolerReconnect(period_ms=500), 0.0, 3.0),),
    strategies=TRANSACTION,
    full_only=True,
)

LINK_BLACK_HOLE = Scenario(
    name="pooler/link_black_hole",
    title="The pooler's own link swallows every answer for 8 s",
    why=(
        "The pooler answers and the database behind it does not: a login is no proof that anything works, and no "
        "keepalive of the client sees it. Only a deadline on the call itself ends the wait."
    ),
    question=4,
    load=LOAD,
    plan=(Window(PoolerBlackHole(stream="downstream"), 0.0, 8.0),),
    bounds=Bounds(deadline_s=4.0),
    strategies=(*BOTH, *NAIVE),
    must_catch=LEAKS,
)

LINK_BLACK_HOLE_UP = Scenario(
    name="pooler/link_black_hole_up",
    title="Whatever the pooler asks is swallowed for 8 s",
    why="The same on the way there: nothing was carried out, and nobody can know.",
    question=4,
    load=LOAD,
    plan=(Window(PoolerBlackHole(stream="upstream"), 0.0, 8.0),),
    bounds=Bounds(deadline_s=4.0),
    strategies=(*BOTH, *NAIVE),
    must_catch=LEAKS,
    full_only=True,
)

EXHAUSTED = Scenario(
    name="pooler/exhausted",
    title="Another service holds every server connection of the pooler for 4 s",
    why="A pool of PgBouncer's that is too small, and transactions left open elsewhere: nobody is refused or served.",
    question=1,
    load=LOAD,
    plan=(Window(PoolerExhausted(), 0.0, 4.0),),
    strategies=TRANSACTION,
    full_only=True,
)

EXHAUSTED_SESSIONS = Scenario(
    name="pooler/exhausted_sessions",
    title="Another service takes every session of the pooler, and then sessions end",
    why="In session mode who has a session keeps it; who loses it finds his place taken.",
    question=1,
    load=LOAD,
    plan=(
        Window(PoolerExhausted(), 0.0, 4.0),
        Window(TerminateBackends(which="idle", period_ms=500), 0.5, 2.0),
    ),
    strategies=("pgbouncer_session", *NAIVE),
    must_catch=LEAKS,
    full_only=True,
)

LOGIN_RETRY = Scenario(
    name="pooler/login_retry",
    title="The server behind the pooler is restarted, and is away for 2 s",
    why=(
        "PgBouncer refuses everybody for server_login_retry after a login that failed: by default 15 s, whatever the "
        "outage. With 1 s, or the 0.2 s of the candidates, it is an outage like any other."
    ),
    question=2,
    load=LOAD,
    plan=(Window(Restart(), 0.0, 2.0),),
    strategies=(*BOTH, "pgbouncer_retry_1s", "pooler_defaults"),
    must_catch=(("pooler_defaults", Guarantee.RECOVERS),),
    full_only=True,
)

PREPARED_STATEMENTS = Scenario(
    name="pooler/prepared_statements",
    title="Prepared statements in transaction mode",
    why=(
        "A statement that was prepared on one server connection is asked for on another. Off (None) works with every "
        "PgBouncer; with 0, which LangGraph's examples have, or with psycopg's default of 5, only one that keeps them "
        "itself does (max_prepared_statements, from 1.21 on)."
    ),
    question=1,
    load=LOAD,
    baseline=True,
    strategies=(  # PgBouncer keeps none, or 100; psycopg prepares never, at once, or at the fifth time
        *("pgbouncer_transaction", "prepared_at_once", "prepared_by_default"),
        *("pgbouncer_prepared_never", "pgbouncer_prepared", "pgbouncer_prepared_late"),
    ),
    must_catch=(("prepared_at_once", Guarantee.AVAILABLE), ("prepared_by_default", Guarantee.AVAILABLE)),
    full_only=True,
)
