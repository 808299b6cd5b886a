"""What a run met, over all of its cells: which fault met which agent, and in which phase of a turn (V15).

A single cell meets what it meets; a rare moment that no cell ever met is a question that the run did not ask. A run of
the whole matrix promises of every fault that strikes in ten cells or more that it met each agent, and that it met each
phase of a turn on some agent. Which agent was in which phase is shown, and not promised: by chance one may be missed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.core.record import CellResult
from harness.core.vacuity import REST, TURN_PHASES, Vacuity
from harness.core.verdict import Guarantee, Json, Verdict

#: With durability ``exit`` LangGraph saves once, at the end, and keeps no writes of single nodes.
_NOT_SAVED_AT_EXIT = "writes"
#: Fewer cells than this, of one fault under one durability, may miss an agent by chance.
PROMISING_CELLS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """Over all cells of a run in which one kind of fault was to meet one agent: how many those are, the phases of a
    turn in which it did, and those in which it never did.
    """

    fault: str
    durability: str
    agent: str
    cells: int
    phases: tuple[str, ...]
    missed: tuple[str, ...]


def coverage(cells: Sequence[CellResult]) -> tuple[Met, ...]:
    """A row for each fault, durability and agent of the cells that were run, by those names.

    Cells that test the judge are left out: what they meet, they meet with a strategy that is wrong on purpose.
    """
    met: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
    counts: Counter[tuple[str, str, str]] = Counter()
    for cell in cells:
        if cell.verdict is Verdict.SKIP or cell.planted:
            continue
        hits = _hits(cell)
        kinds = {_kind(window) for window in cell.plan} | hits.keys()
        agents = {name for name in cell.agents if ":" not in name} | {name for found in hits.values() for name in found}
        for kind in kinds - {""}:
            for agent in agents:
                met[kind, cell.durability, agent].update(hits.get(kind, {}).get(agent, ()))
                counts[kind, cell.durability, agent] += 1
    ever: defaultdict[str, set[str]] = defaultdict(set)
    for (kind, _, _), phases in met.items():
        ever[kind] |= phases
    return tuple(_row(*key, counts[key], phases, ever[key[0]] == {REST}) for key, phases in sorted(met.items()))


def _row(fault: str, durability: str, agent: str, cells: int, phases: set[str], at_rest: bool) -> Met:
    due = (REST,) if at_rest else tuple(p for p in TURN_PHASES if durability != "exit" or p != _NOT_SAVED_AT_EXIT)
    missed = tuple(phase for phase in due if phase not in phases)
    shown = tuple(sorted(phases))
    return Met(fault=fault, durability=durability, agent=agent, cells=cells, phases=shown, missed=missed)


def holes(rows: Sequence[Met]) -> tuple[str, ...]:
    """What a run of the whole matrix promises and did not meet, in words."""
    missed: defaultdict[tuple[str, str], list[Met]] = defaultdict(list)
    for row in rows:
        if row.cells >= PROMISING_CELLS:
            missed[row.fault, row.durability].append(row)
    found = []
    for (fault, durability), agents in missed.items():
        found += [f"{fault} never met {row.agent} ({durability})" for row in agents if not row.phases]
        never = set.intersection(*(set(row.missed) for row in agents))
        if any(row.phases for row in agents):
            found += [f"{fault} never met a turn in phase {phase!r} ({durability})" for phase in sorted(never)]
    return tuple(f"{Vacuity.V15}: {words}" for words in found)


def _hits(cell: CellResult) -> Mapping[str, Mapping[str, Sequence[str]]]:
    """What the cell's ``exercised`` finding says; nothing where it is not there, or not in this form."""
    details = next((f.details for f in cell.findings if f.guarantee is Guarantee.EXERCISED), {})
    hits = details.get("hits")
    if not isinstance(hits, dict):
        return {}
    return {
        kind: {agent: [str(phase) for phase in phases] for agent, phases in agents.items() if isinstance(phases, list)}
        for kind, agents in hits.items()
        if isinstance(agents, dict)
    }


def _kind(window: Json) -> str:
    fault = window.get("fault") if isinstance(window, dict) else None
    kind = fault.get("kind") if isinstance(fault, dict) else None
    return kind if isinstance(kind, str) else ""
