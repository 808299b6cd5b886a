"""A proxy between services and database that was to share sessions, and every session is kept for one client."""

from __future__ import annotations

from harness.core.incident import Incident
from harness.core.scenario import Bounds, Scenario
from harness.core.verdict import Guarantee

from .load import ONE_EACH

SCENARIO = Scenario(
    name="incidents/i_33_pinned",
    title="No multiplexing: as many sessions at the database as clients at the proxy",
    why="A proxy is paid for so that large pools cost few sessions; a SET on each connection takes that away.",
    question=1,
    load=ONE_EACH,
    baseline=True,
    bounds=Bounds(budget=8),
    must_catch=(("pinned_sessions", Guarantee.CONNECTION_BUDGET),),
    full_only=True,
    durabilities=("async",),
    incident=Incident(
        number=33,
        repo="sqlalchemy/sqlalchemy",
        issue=13148,
        red="pinned_sessions",
        green="few_slots",
        correction=(
            "RDS Proxy does not run outside AWS. PgBouncer in session mode stands in for its pinned sessions, and in "
            "transaction mode for those that are not: what a pinned session costs is shown, what pins it is not."
        ),
    ),
)
