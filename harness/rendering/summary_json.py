"""``summary.json``: the run for machines, described by ``docs/summary.schema.json``. Everything but the timelines.

The text is pure ASCII, so that no reader stumbles over odd line ends or lone surrogates, and it holds no number that
JSON does not have: one that is not finite becomes null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from harness.core.record import CellResult, RunSummary
from harness.core.verdict import Finding, Json
from harness.coverage import coverage
from harness.rendering.words import replay
from harness.summary import trials

SCHEMA = 1


def render(summary: RunSummary) -> str:
    """The document as text, ending in a line feed."""
    return json.dumps(to_json(summary), indent=1, allow_nan=False) + "\n"


def to_json(summary: RunSummary) -> dict[str, Json]:
    """The document as plain objects."""
    return {
        "schema": SCHEMA,
        "exit": summary.exit,
        "exit_reason": summary.exit_reason,
        "decision": summary.decision,
        "started": summary.started,
        "wall_s": _finite(summary.wall_s),
        "planned": summary.planned,
        "interrupted": summary.interrupted,
        "selection": summary.selection,
        "command": summary.command,
        "cells": [_cell(cell) for cell in summary.cells],
        "scenarios": [
            {"name": s.name, "title": s.title, "why": s.why, "question": s.question} for s in summary.scenarios
        ],
        "components": [_mapping(component) for component in summary.components],
        "provenance": _mapping(summary.provenance),
        "notes": list(summary.notes),
        "judge": _judge(summary),
        "coverage": [
            {
                "fault": row.fault,
                "durability": row.durability,
                "agent": row.agent,
                "cells": row.cells,
                "phases": list(row.phases),
                "missed": list(row.missed),
            }
            for row in coverage(summary.cells)
        ],
    }


def _judge(summary: RunSummary) -> Json:
    """How the judge itself was tested: the planted mistakes, and which were caught in every cell."""
    found = trials(summary.cells)
    return {
        "planted": len(found),
        "caught": sum(trial.caught == trial.cells for trial in found),
        "mistakes": [
            {
                "strategy": trial.strategy,
                "mistake": trial.mistake,
                "scenario": trial.scenario,
                "expected": list(trial.expected),
                "codes": list(trial.codes),
                "cells": trial.cells,
                "caught": trial.caught,
            }
            for trial in found
        ],
    }


def _cell(cell: CellResult) -> Json:
    return {
        "id": cell.id,
        "scenario": cell.scenario,
        "strategy": cell.strategy,
        "agents": list(cell.agents),
        "durability": cell.durability,
        "seed": cell.seed,
        "role": cell.role,
        "verdict": cell.verdict.value,
        "as_it_should_be": cell.as_it_should_be,
        "reason": cell.reason,
        "findings": [_finding(finding) for finding in cell.findings],
        "measures": _mapping(cell.measures),
        "expected": list(cell.expected),
        "caught": list(cell.caught),
        "plan": [_finite(window) for window in cell.plan],
        "folder": cell.folder,
        "replay": replay(cell),
        "wall_s": _finite(cell.wall_s),
        "scheduled_s": _finite(cell.scheduled_s),
        "mistake": cell.mistake,
    }


def _finding(finding: Finding) -> Json:
    return {
        "guarantee": finding.guarantee.value,
        "verdict": finding.verdict.value,
        "summary": finding.summary,
        "evidence": list(finding.evidence),
        "codes": list(finding.codes),
        "details": _mapping(finding.details),
    }


def _mapping(data: Mapping[str, Json]) -> dict[str, Json]:
    return {key: _finite(value) for key, value in data.items()}


def _finite(value: Json) -> Json:
    """The value with null for NaN and the infinities, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return _mapping(value) if isinstance(value, dict) else value
