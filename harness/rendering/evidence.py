"""What proves an anomaly, ready to be shown: the operations, the checkpoint tree, the windows around.

Findings carry it as plain JSON in their details (see ``docs/summary.schema.json``). Old verdicts and checkers of other
people may carry anything there, so what is not as it should be is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.core.record import CellResult
from harness.core.verdict import Finding, Json, Verdict
from harness.rendering import words

#: Branches below one another that are told apart by their place.
DEEPEST = 6


@dataclass(frozen=True, slots=True)
class Node:
    """One checkpoint: ``depth`` is the number of forks above it, ``words`` everything else."""

    id: str
    depth: int
    words: str


@dataclass(frozen=True, slots=True)
class Proof:
    """One anomaly. ``operations``: (row's index, time, type, words); ``windows``: one sentence each."""

    code: str
    title: str
    operations: tuple[tuple[int, float, str, str], ...]
    checkpoints: str
    nodes: tuple[Node, ...]
    windows: tuple[str, ...]


def proofs(cell: CellResult, most: int) -> list[Proof]:
    """The first ``most`` anomalies of the findings that are broken."""
    broken = [finding for finding in words.findings_worst_first(cell) if finding.verdict is Verdict.FAIL]
    return [proof for finding in broken for proof in _of(finding)][:most]


def _of(finding: Finding) -> list[Proof]:
    listed = finding.details.get("anomalies")
    return [_proof(case) for case in listed if isinstance(case, dict)] if isinstance(listed, list) else []


def _proof(case: Mapping[str, Json]) -> Proof:
    code, tree = _text(case, "code"), case.get("tree")
    tree = tree if isinstance(tree, dict) else {}
    nodes = _nodes(tree)
    count, forks = _number(tree, "checkpoints"), _number(tree, "forks")
    shown = "" if len(nodes) >= count else f", {len(nodes)} of them shown"
    return Proof(
        code=code,
        title=f"{code}, {_text(case, 'meaning')}: {_text(case, 'text')}",
        operations=tuple(
            (int(_number(row, "index")), _number(row, "time_s"), _text(row, "type"), _text(row, "text"))
            for row in _rows(case, "operations")
        ),
        checkpoints=f"{count:.0f} checkpoints{shown}, {forks:.0f} {'fork' if forks == 1 else 'forks'}" if nodes else "",
        nodes=nodes,
        windows=tuple(
            f"{_text(row, 'kind')} {_number(row, 'began_s'):.2f} to {_number(row, 'ended_s'):.2f} s "
            f"({_text(row, 'when')})"
            for row in _rows(case, "windows")
        ),
    )


def _nodes(tree: Mapping[str, Json]) -> tuple[Node, ...]:
    depths: dict[str, int] = {}
    forks: set[str] = set()
    found = []
    for row in _rows(tree, "nodes"):
        name, parent = _text(row, "id"), _text(row, "parent")
        depths[name] = min(DEEPEST, depths.get(parent, 0) + (parent in forks))
        if row.get("forks") is True:
            forks.add(name)
        found.append(Node(name, depths[name], _node_words(row, parent)))
    return tuple(found)


def _node_words(row: Mapping[str, Json], parent: str) -> str:
    skipped = _number(row, "skipped")
    after = "root"
    if parent:
        between = f", {skipped:.0f} between" if skipped else ""
        after = f"after {parent}{', which is missing' if row.get('dangling') is True else between}"
    said = [f"step {_number(row, 'step'):.0f}", _text(row, "source"), after]
    turn = _text(row, "turn").rpartition("/")[2]
    said += [f"holds up to {turn}"] if turn else []
    said += ["forks here"] if row.get("forks") is True else []
    said += ["the tip, which is read"] if row.get("tip") is True else []
    return "; ".join(filter(None, said))


def _rows(data: Mapping[str, Json], key: str) -> list[dict[str, Json]]:
    found = data.get(key)
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def _text(data: Mapping[str, Json], key: str) -> str:
    found = data.get(key)
    return found if isinstance(found, str) else ""


def _number(data: Mapping[str, Json], key: str) -> float:
    found = data.get(key)
    return float(found) if isinstance(found, int | float) and -1e15 < found < 1e15 else 0.0
