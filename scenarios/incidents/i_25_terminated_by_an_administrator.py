"""A reboot of the database: the pool hands out connections that the server has ended."""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.incident import Incident
from harness.core.scenario import Scenario
from harness.faults.terminate_backends import TerminateBackends

from .load import BACK, ONE_EACH

SCENARIO = Scenario(
    name="incidents/i_25_terminated_by_an_administrator",
    title="terminating connection due to administrator command, after a reboot",
    why="RDS restarts: sessions end, the pool notices nothing, and callers get one dead connection after the other.",
    question=2,
    load=ONE_EACH,
    plan=(Window(TerminateBackends(which="all", period_ms=400), 0.0, 2.0),),
    bounds=BACK,
    full_only=True,
    incident=Incident(
        number=25,
        repo="psycopg/psycopg",
        issue=701,
        symptom=r"AdminShutdown: terminating connection due to administrator command",
        red="pool_without_check",
        green="self_healing_retry",
    ),
)
