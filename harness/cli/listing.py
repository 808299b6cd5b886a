"""``poolproof list``: what there is to run, as a table for people or as JSON for scripts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from harness.cli.ending import Ending
from harness.core.incident import Incident
from harness.core.verdict import Json
from harness.registry import Registry, default_registry, is_planted, is_reported, role_of, summary_of


def show(what: str, *, as_json: bool) -> Ending:
    """Print all scenarios, strategies, agents or faults."""
    rows = _ROWS[what](default_registry())
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    else:
        click.echo(_table(rows, _COLUMNS[what]), nl=False)
    return Ending(0, "", line=False)


def _scenarios(registry: Registry) -> list[dict[str, Json]]:
    return [
        {
            "name": scenario.name,
            "title": scenario.title,
            "heading": scenario.heading,
            "why": scenario.why,
            "question": scenario.question,
            "quick": scenario.quick,
            "scheduled_s": scenario.scheduled_s,
            "must_catch": [[control, str(guarantee)] for control, guarantee in scenario.must_catch],
            "needs": _texts(scenario.needs),
            "incident": _incident(scenario.incident),
        }
        for scenario in registry.scenarios.values()
    ]


def _incident(incident: Incident | None) -> dict[str, Json] | None:
    return None if incident is None else {"source": incident.source, **_plain(dataclasses.asdict(incident))}


def _plain(row: Mapping[str, Any]) -> dict[str, Json]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in row.items()}


def _strategies(registry: Registry) -> list[dict[str, Json]]:
    return [
        {
            "name": name,
            "role": "planted" if is_planted(strategy) else "incident" if is_reported(strategy) else role_of(strategy),
            "summary": summary_of(strategy),
            "needs": _texts(strategy.needs),
            "breaks": _texts(strategy.breaks),
        }
        for name, strategy in registry.strategies.items()
    ]


def _agents(registry: Registry) -> list[dict[str, Json]]:
    return [{"name": name, "summary": summary_of(agent)} for name, agent in registry.agents.items()]


def _faults(registry: Registry) -> list[dict[str, Json]]:
    return [
        {
            "kind": kind,
            "summary": summary_of(fault),
            "fields": _fields(fault),
            "usable": fault.usable,
            "effect": str(fault.effect),
            "needs": _texts(fault.needs),
        }
        for kind, fault in registry.faults.items()
    ]


_ROWS = {"scenarios": _scenarios, "strategies": _strategies, "agents": _agents, "faults": _faults}
_COLUMNS = {
    "scenarios": ("name", "heading"),
    "strategies": ("name", "role", "summary"),
    "agents": ("name", "summary"),
    "faults": ("kind", "summary"),
}


def _fields(fault: Any) -> dict[str, Json]:
    missing = dataclasses.MISSING
    return {item.name: None if item.default is missing else item.default for item in dataclasses.fields(fault)}


def _texts(members: frozenset[Any]) -> list[Json]:
    return sorted(str(member) for member in members)  # type: ignore[return-value]


def _table(rows: Sequence[Mapping[str, Json]], columns: Sequence[str]) -> str:
    widths = [max((len(str(row[column])) for row in rows), default=0) for column in columns[:-1]]
    lines = []
    for row in rows:
        cells = [str(row[column]).ljust(width) for column, width in zip(columns, widths, strict=False)]
        lines.append("  ".join([*cells, str(row[columns[-1]])]).rstrip())
    return "".join(f"{line}\n" for line in lines)
