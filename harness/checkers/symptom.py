"""Finds an incident's symptom in a history, by its text: the red arm of an incident has to show it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from harness.core.history import ErrorInfo, History, Op
from harness.core.incident import LOG, Incident
from harness.core.verdict import Json


@dataclass(frozen=True, slots=True)
class Sightings:
    """How often the symptom was seen; ``text`` and ``index`` (the row) are the first one's."""

    times: int
    text: str
    index: int | None

    def measures(self) -> dict[str, Json]:
        """As they stand beside the guarantees."""
        return {"symptom_times": self.times, "symptom": self.text, "symptom_row": self.index}


def is_shown(found: Sightings, incident: Incident, measures: Mapping[str, Json]) -> bool:
    """True if the words were seen and, where the incident says so, as many nodes ran in vain (``wasted_nodes``)."""
    wasted = measures.get("wasted_nodes", 0)
    return found.times > 0 and isinstance(wasted, int) and wasted >= incident.wasted_nodes


def sightings(history: History, incident: Incident) -> Sightings:
    """Every operation that ended in an error whose graph says what the user saw, where the user saw it, and every line
    of the log that does, if that is where it was seen.
    """
    pattern = re.compile(incident.symptom)
    seen = [(op.index, said) for op in history if op.f in incident.seen_by and (said := _of(op, pattern))]
    return Sightings(len(seen), seen[0][1] if seen else "", seen[0][0] if seen else None)


def _of(op: Op, pattern: re.Pattern[str]) -> str:
    """What the row says that matches; empty if nothing does."""
    if op.error is not None:
        return _said(op.error, pattern)
    line = str(op.value.get("text", "")) if op.f == LOG else ""
    return f"{op.process}: {line}" if pattern.search(line) else ""


def _said(error: ErrorInfo, pattern: re.Pattern[str]) -> str:
    """The first line of the graph that matches; empty if none does."""
    graph = [(error.type, error.message), *((name, message) for _, name, message in error.links)]
    return next((line for name, message in graph if pattern.search(line := f"{name}: {message}")), "")
