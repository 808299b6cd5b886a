"""A pooler in session mode with few sessions: every idle connection keeps one, and the others wait for nothing."""

from __future__ import annotations

from harness.core.incident import Incident
from harness.core.scenario import Scenario
from harness.core.verdict import Guarantee

from .load import ONE_EACH

SCENARIO = Scenario(
    name="incidents/i_32_few_sessions",
    title="The pooler has no session left: max clients, checkout timeout",
    why="In session mode a client that idles keeps a session; pools that are larger than the pooler starve the rest.",
    question=1,
    load=ONE_EACH,
    baseline=True,
    must_catch=(("connection_per_run_in_session_mode", Guarantee.AVAILABLE),),
    full_only=True,
    durabilities=("async",),
    incident=Incident(
        number=32,
        repo="supabase/supabase",
        issue=21166,
        symptom=r"query_wait_timeout",
        red="connection_per_run_in_session_mode",
        green="few_slots",
        correction=(
            "Supavisor does not run here, PgBouncer stands in. What the one calls EMAXCONNSESSION or ECHECKOUTTIMEOUT "
            "the other calls query_wait_timeout; the mechanism, a session for each idle client, is the same."
        ),
    ),
)
