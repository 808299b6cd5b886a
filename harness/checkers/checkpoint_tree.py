"""A thread's checkpoints as a small tree: who descends from whom, where it forks, which one is the tip.

Long straight runs are left out and counted; what is odd (roots, forks, missing parents) and the turn in question stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from harness.core.facts import TREE_LIMIT, Checkpoint
from harness.core.verdict import Json

#: Checkpoints that are shown at most.
SHOWN = 16
#: Characters of an id that are shown, at least.
ID_LENGTH = 8


def tree(checkpoints: Sequence[Checkpoint], turn: str) -> dict[str, Json]:
    """The tree around ``turn``. ``checkpoints`` stand oldest first; the last one is the tip, which everybody reads.

    Each node has its ``id`` and ``parent`` (shortened, unique in the tree), ``source``, ``step``, the newest ``turn``
    that it holds, and says whether it is the ``tip``, ``forks`` (has several children), is ``dangling`` (its parent is
    missing), and how many straight descendants of its parent were ``skipped`` before it.
    """
    ids = {checkpoint.id for checkpoint in checkpoints}
    if len(checkpoints) >= TREE_LIMIT:
        ids.add(checkpoints[0].parent or "")  # older ones were not kept
    children = Counter(node.parent for node in checkpoints if node.parent is not None and node.parent in ids)
    short = _shortened([checkpoint.id for checkpoint in checkpoints])
    kept = _kept(checkpoints, children, turn)
    nodes: list[Json] = []
    hidden = {node.id: node.parent for place, node in enumerate(checkpoints) if place not in kept}
    for place, node in enumerate(checkpoints):
        if place not in kept:
            continue
        parent, skipped = node.parent, 0
        while parent in hidden and skipped < len(hidden):  # up to the nearest that is shown; in a circle there is none
            parent, skipped = hidden[parent], skipped + 1
        nodes.append(
            {
                "id": short[node.id],
                "parent": None if parent is None else short.get(parent, parent[-ID_LENGTH:]),
                "source": node.source,
                "step": node.step,
                "turn": node.turn,
                "tip": place == len(checkpoints) - 1,
                "forks": children[node.id] > 1,
                "dangling": node.parent is not None and node.parent not in ids,
                "skipped": skipped,
            }
        )
    return {
        "checkpoints": len(checkpoints),
        "forks": sum(count > 1 for count in children.values()),
        "nodes": nodes,
    }


def _kept(checkpoints: Sequence[Checkpoint], children: Counter[str], turn: str) -> set[int]:
    """The places of the nodes worth showing, the most telling first: the tip, the turn's own, where its branch left the
    tip's and where both went from there, roots and missing parents, the newest forks and ends of branches, the newest.
    """
    if len(checkpoints) <= SHOWN:
        return set(range(len(checkpoints)))
    last = len(checkpoints) - 1
    at = {node.id: place for place, node in enumerate(checkpoints)}
    own = [place for place, node in enumerate(checkpoints) if turn and node.turn == turn]
    roots = [place for place, node in enumerate(checkpoints) if node.parent not in at]
    forks = [place for place, node in enumerate(checkpoints) if children[node.id] > 1]
    ends = [place for place, node in enumerate(checkpoints) if not children[node.id]]
    parting = _parting(checkpoints, at, own[-1], last) if own else ()
    kept: dict[int, None] = {}
    for place in (last, *own[-1:], *own[:1], *parting, *roots, *sorted((*forks, *ends), reverse=True)):
        kept[place] = None
    for place in range(last, -1, -1):
        kept[place] = None
    return set(list(kept)[:SHOWN])


def _parting(checkpoints: Sequence[Checkpoint], at: Mapping[str, int], own: int, tip: int) -> tuple[int, ...]:
    """Where the branch of ``own`` left that of ``tip``: the fork and its children, of which there is one where the tip
    is the fork itself, as with a clock that was ahead; empty if it never did.
    """

    def path(place: int) -> list[int]:
        found: dict[int, None] = {}
        while place not in found:
            found[place] = None
            place = at.get(checkpoints[place].parent or "", place)
        return list(found)

    above_tip, above_own = path(tip), path(own)
    common = set(above_tip).intersection(above_own)
    if own in common or not common:
        return ()
    aside = [place for place in above_own if place not in common]
    ahead = [place for place in above_tip if place not in common]
    return (above_own[len(aside)], *aside[-1:], *ahead[-1:])


def _shortened(ids: Sequence[str]) -> dict[str, str]:
    """Each id without what all of them begin with, as long as it takes to tell them apart."""
    common = 0
    for letters in zip(*ids, strict=False):
        if len(set(letters)) > 1:
            break
        common += 1
    common = min(common, max(0, min(map(len, ids), default=0) - ID_LENGTH))
    length = ID_LENGTH
    longest = max(map(len, ids), default=0)
    while length < longest and len({name[common : common + length] for name in ids}) < len(set(ids)):
        length += 4
    return {name: name[common : common + length] for name in ids}
