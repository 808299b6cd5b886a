"""The server ends an idle session during a long model call; over TLS the next save says so in its own words."""

from __future__ import annotations

from harness.core.environment import Capability
from harness.core.fault import Window
from harness.core.incident import Incident
from harness.core.scenario import Scenario
from harness.faults.idle_session_timeout import IdleSessionTimeout

from .load import BACK, ONE_EACH

SCENARIO = Scenario(
    name="incidents/i_05_tls_closed_while_idle",
    title="SSL connection has been closed unexpectedly, after a long model call",
    why="A hosted Postgres ends sessions that idle for the length of a model call; the pool hands out what is dead.",
    question=4,
    load=ONE_EACH,
    plan=(Window(IdleSessionTimeout(timeout_ms=150), 0.0, 3.0),),
    bounds=BACK,
    needs=frozenset({Capability.POSTGRES_TLS}),
    full_only=True,
    incident=Incident(
        number=5,
        repo="langchain-ai/langgraph",
        issue=5675,
        symptom=r"SSL connection has been closed unexpectedly",
        red="pool_without_check",
        green="self_healing_retry",
    ),
)
