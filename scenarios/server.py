"""What the database server does to a pool: sessions that it ends, restarts, failovers, limits, locks and full disks.

In most of these the network is well and the port is open, so a check that asks for a connection, or for ``SELECT 1``,
finds nothing. Each scenario says which question of the post it answers, why it is here, and what it must catch. All run
in the full size; those that prove most run in the default one too. Most need a Postgres of the cell's own, which only
the local environment gives.
"""

from __future__ import annotations

from harness.core.environment import Capability
from harness.core.fault import Window
from harness.core.scenario import Bounds, Scenario
from harness.core.verdict import Guarantee
from harness.faults.connection_limit import ConnectionLimit
from harness.faults.crash import Crash
from harness.faults.disk_full import DiskFull
from harness.faults.failover import Failover
from harness.faults.idle_session_timeout import IdleSessionTimeout
from harness.faults.lock_held import LockHeld
from harness.faults.password_rotated import PasswordRotated
from harness.faults.pause import Pause
from harness.faults.read_only import ReadOnly
from harness.faults.restart import Restart
from harness.faults.statement_timeout import StatementTimeout
from harness.faults.terminate_backends import TerminateBackends
from harness.faults.too_many_connections import TooManyConnections
from harness.workloads.closed_loop import ClosedLoop

LOAD = ClosedLoop()

#: What closes a pool that others hold leaks in every outage that its health check sees.
NAIVE_LEAKS = (("naive_recreate", Guarantee.NO_POOL_CLOSED),)

BACKENDS_TERMINATED = Scenario(
    name="server/backends_terminated",
    title="The server ends every session, again and again",
    why="A reboot or an operator: sessions end, the next connection is served at once, and the pool holds dead ones.",
    question=2,
    load=LOAD,
    plan=(Window(TerminateBackends(which="all", period_ms=700), 0.0, 3.0),),
    full_only=True,
)

IDLE_TERMINATED = Scenario(
    name="server/idle_terminated",
    title="The server ends idle sessions, and only those",
    why="A tool that kills old sessions: nobody in flight notices, the next request gets the dead connection.",
    question=4,
    load=LOAD,
    plan=(Window(TerminateBackends(which="idle", period_ms=300), 0.0, 3.0),),
    full_only=True,
)

BUSY_TERMINATED = Scenario(
    name="server/busy_terminated",
    title="The server ends the sessions that are at work",
    why="A killer of long queries: a save may be committed and its answer lost, and the pool's other connections live.",
    question=4,
    load=LOAD,
    plan=(Window(TerminateBackends(which="busy", period_ms=100), 0.0, 3.0),),
    full_only=True,
)

IDLE_REAPER = Scenario(
    name="server/idle_reaper",
    title="Sessions end when they were idle for 40 ms",
    why="A managed Postgres reaps idle sessions while a model thinks: a connection that rests in a pool is dead.",
    question=4,
    load=LOAD,
    plan=(Window(IdleSessionTimeout(timeout_ms=40), 0.0, 4.0),),
    full_only=True,
)

RESTART = Scenario(
    name="server/restart",
    title="The server is restarted, and is away for 2 s",
    why="The nightly restart after which a chatbot fails every day: nothing reconnects by itself.",
    question=2,
    load=LOAD,
    plan=(Window(Restart(), 0.0, 2.0),),
    must_catch=NAIVE_LEAKS,
    full_only=True,
)

CRASH = Scenario(
    name="server/crash",
    title="The server dies, and recovers for 3 s",
    why="A crash, an out-of-memory kill, a host that dies: what was acknowledged must be there after the recovery.",
    question=2,
    load=LOAD,
    plan=(Window(Crash(how="kill"), 0.0, 3.0),),
    must_catch=(
        ("naive_recreate", Guarantee.NO_POOL_CLOSED),
        ("naive_recreate", Guarantee.RECOVERS),
        ("graceful_degradation", Guarantee.RECOVERS),
    ),
)

IMMEDIATE_SHUTDOWN = Scenario(
    name="server/immediate_shutdown",
    title="The server is stopped at once, and recovers for 3 s",
    why="What a supervisor does to a server that did not stop in time: sessions end without a good-bye.",
    question=2,
    load=LOAD,
    plan=(Window(Crash(how="immediate"), 0.0, 3.0),),
    must_catch=NAIVE_LEAKS,
    full_only=True,
)

PAUSE = Scenario(
    name="server/pause",
    title="The server stands still for 8 s, and then answers everything",
    why=(
        "A frozen virtual machine or a stalled disk. Users have given up and repeated their turns by then, and what "
        "they gave up on is still carried out: who sends a turn anew has it twice."
    ),
    question=4,
    load=LOAD,
    plan=(Window(Pause(what="server"), 0.0, 8.0),),
    bounds=Bounds(deadline_s=4.0),
    must_catch=(
        ("naive_recreate", Guarantee.NO_POOL_CLOSED),
        ("naive_recreate", Guarantee.RECOVERS),
        ("graceful_degradation", Guarantee.RECOVERS),
    ),
)

SESSIONS_PAUSED = Scenario(
    name="server/sessions_paused",
    title="The sessions stand still for 8 s, and new ones are served",
    why="Half of a failover, or a stuck disk for some: a check on a new connection finds a healthy database.",
    question=2,
    load=LOAD,
    plan=(Window(Pause(what="sessions"), 0.0, 8.0),),
    bounds=Bounds(deadline_s=4.0),
    must_catch=NAIVE_LEAKS,
    full_only=True,
)

TOO_MANY_CONNECTIONS = Scenario(
    name="server/too_many_connections",
    title="Others have taken every connection for 3 s",
    why="After a restart the other services are back first: whoever closes a living connection gets none for it.",
    question=1,
    load=LOAD,
    plan=(Window(TooManyConnections(), 0.0, 3.0),),
    must_catch=NAIVE_LEAKS,
    full_only=True,
)

CONNECTION_LIMIT = Scenario(
    name="server/connection_limit",
    title="Ten connections for both groups together, for 4 s",
    why="Two shared pools fit, ten pools of one agent each do not: this is what pools of their own cost.",
    question=1,
    load=LOAD,
    plan=(Window(ConnectionLimit(limit=10), 0.0, 4.0),),
    full_only=True,
)

READ_ONLY = Scenario(
    name="server/read_only",
    title="The database takes no writes for 3 s",
    why="SELECT 1 passes and every save fails, with an error that is no OperationalError.",
    question=4,
    load=LOAD,
    plan=(Window(ReadOnly(), 0.0, 3.0),),
    must_catch=(("naive_recreate", Guarantee.DECLARED_ERRORS),),
    full_only=True,
)

FAILOVER = Scenario(
    name="server/failover",
    title="A standby takes over, and the old primary lives on, read-only",
    why=(
        "Connections from before the failover work, pass every check that asks SELECT 1, and can never write again; "
        "one team had them for three days. Whoever replaces them is served at once."
    ),
    question=2,
    load=LOAD,
    plan=(Window(Failover(rerouted="at_once"), 0.0, 2.0),),
    must_catch=(
        ("naive_recreate", Guarantee.RECOVERS),
        ("graceful_degradation", Guarantee.RECOVERS),
    ),
)

FAILOVER_STALE_NAME = Scenario(
    name="server/failover_stale_name",
    title="A standby takes over, and for 3 s new connections still reach the old primary",
    why="A resolver that caches: whoever re-creates the pool too early has it on the read-only server again.",
    question=2,
    load=LOAD,
    plan=(Window(Failover(rerouted="at_the_end"), 0.0, 3.0),),
    must_catch=(("naive_recreate", Guarantee.RECOVERS),),
    full_only=True,
)

STATEMENT_TIMEOUT = Scenario(
    name="server/statement_timeout",
    title="Saves wait for a lock, and are cancelled after 250 ms",
    why="A statement that was cancelled leaves a good connection behind: there is nothing to re-create.",
    question=4,
    load=LOAD,
    plan=(
        Window(StatementTimeout(timeout_ms=250), 0.0, 4.0),
        Window(LockHeld(mode="exclusive"), 0.5, 3.5),
    ),
    full_only=True,
)

LOCK_HELD = Scenario(
    name="server/lock_held",
    title="A migration holds the lock on checkpoints for 8 s",
    why=(
        "Connections are well and every statement of a saver waits: whoever gives up must end it on the server, or "
        "the queue there grows with each attempt."
    ),
    question=4,
    load=LOAD,
    plan=(Window(LockHeld(), 0.0, 8.0),),
    bounds=Bounds(deadline_s=4.0),
    must_catch=(
        ("naive_recreate", Guarantee.NO_POOL_CLOSED),
        ("naive_recreate", Guarantee.RECOVERS),
        ("graceful_degradation", Guarantee.RECOVERS),
    ),
)

PASSWORD_ROTATED = Scenario(
    name="server/password_rotated",
    title="The password of the conninfo is worth nothing for 3 s",
    why="A token that expires: re-creating the pool with the same conninfo cannot help, and must do no harm.",
    question=2,
    load=LOAD,
    plan=(Window(PasswordRotated(), 0.0, 3.0),),
    must_catch=NAIVE_LEAKS,
    full_only=True,
)

DISK_FULL = Scenario(
    name="server/disk_full",
    title="The disk of the data folder is full for 3 s",
    why="Reads work and saves fail: part of a turn is stored and part is not, connection by connection.",
    question=4,
    load=LOAD,
    plan=(Window(DiskFull(), 0.0, 3.0),),
    full_only=True,
)

TLS_TERMINATED = Scenario(
    name="server/tls_terminated",
    title="The server ends every session, over TLS",
    why='Over TLS the same damage reads "SSL connection has been closed unexpectedly", the text that users report.',
    question=4,
    load=LOAD,
    plan=(Window(TerminateBackends(which="all", period_ms=700), 0.0, 3.0),),
    needs=frozenset({Capability.POSTGRES_TLS}),
    full_only=True,
)
