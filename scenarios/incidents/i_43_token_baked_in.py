"""The token in the conninfo expires: connections that stand go on, and none can be made any more."""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.incident import LOG, Incident
from harness.core.scenario import Scenario
from harness.faults.password_rotated import PasswordRotated

from .load import BACK, ONE_EACH

SCENARIO = Scenario(
    name="incidents/i_43_token_baked_in",
    title="password authentication failed, for new connections only",
    why="A token of the platform is good for 15 minutes to an hour, and was put into the conninfo when it all began.",
    question=2,
    load=ONE_EACH,
    plan=(Window(PasswordRotated(), 0.0, 6.0),),
    bounds=BACK,
    full_only=True,
    durabilities=("async",),
    incident=Incident(
        number=43,
        repo="databricks/databricks-ai-bridge",
        issue=212,
        symptom=r"password authentication failed for user",
        seen_by=(LOG,),
        red="pool_without_check",
        green="token_asked_anew",
        correction=(
            "Callers of a pool read PoolTimeout; the words of the report stand in the pool's log alone, as a WARNING."
        ),
    ),
)
