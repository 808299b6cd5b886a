"""A batch of saves runs into a TLS connection that is half closed: sessions are ended at work, under pipelines."""

from __future__ import annotations

from harness.core.environment import Capability
from harness.core.fault import Window
from harness.core.incident import Incident
from harness.core.scenario import Scenario
from harness.faults.terminate_backends import TerminateBackends

from .load import BACK, ONE_EACH

SCENARIO = Scenario(
    name="incidents/i_06_tls_bad_length",
    title="SSL error: bad length, in the middle of a save",
    why="A save is a pipeline of several statements; over TLS a session that ends under it has an error of its own.",
    question=4,
    load=ONE_EACH,
    plan=(Window(TerminateBackends(which="all", period_ms=300), 0.0, 3.0),),
    bounds=BACK,
    needs=frozenset({Capability.POSTGRES_TLS}),
    full_only=True,
    incident=Incident(
        number=6,
        repo="langchain-ai/langgraph",
        issue=3716,
        symptom=r"SSL error: bad length|SSL SYSCALL error|SSL connection has been closed unexpectedly",
        red="pool_without_check",
        green="self_healing_retry",
    ),
)
