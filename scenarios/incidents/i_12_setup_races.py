"""Every agent calls ``setup()`` when it starts, on an empty database: the migrations race."""

from __future__ import annotations

from harness.core.incident import Incident
from harness.core.scenario import Scenario
from harness.workloads.closed_loop import ClosedLoop

SCENARIO = Scenario(
    name="incidents/i_12_setup_races",
    title="UniqueViolation at the first start: every agent calls setup()",
    why="A first deployment, or a new environment: setup() takes no lock, and five agents run it side by side.",
    question=1,
    load=ClosedLoop(),
    baseline=True,
    gate_s=0.5,
    full_only=True,
    incident=Incident(
        number=12,
        repo="BerriAI/litellm",
        issue=39384,
        symptom=(
            r"UniqueViolation: duplicate key value violates unique constraint "
            r'"(checkpoint_migrations_pkey|pg_type_typname_nsp_index|pg_class_relname_nsp_index)"|'
            r'Duplicate(Table: relation|Object: type) "checkpoint_migrations" already exists'
        ),
        seen_by=("open",),
        red="setup_by_every_agent",
        green="setup_under_lock",
        correction=(
            "No report against LangGraph itself was found; this one has the same shape elsewhere, and "
            "AsyncPostgresSaver.setup has no lock in 3.2.0 either. Where the second agent is a moment later, Postgres "
            "says of the same race that the relation or its type already exists, in spite of IF NOT EXISTS."
        ),
    ),
)
