"""In which phase of a turn each window met each agent: what the table of the whole run is made of.

A call that is under way loads its thread, saves a checkpoint, saves the writes of a node, or runs a node meanwhile. A
fault that wants no call in flight meets agents at rest.
"""

from __future__ import annotations

from collections import defaultdict

from harness.checkers.reading import SaverCall, Spans
from harness.checkers.vacuity import Evidence
from harness.core.vacuity import REST, TURN_PHASES
from harness.core.verdict import Json

LOAD, NODE, SAVE, WRITES = TURN_PHASES
_PHASE = {"aget_tuple": LOAD, "alist": LOAD, "aput": SAVE, "aput_writes": WRITES}
#: A node ran if so much of the call's time in the window was spent in no saver call, in seconds.
_NODE_S = 0.001


def hits(evidence: Evidence) -> dict[str, Json]:
    """``{kind of fault: {agent: [phases]}}``, of windows that were installed."""
    damages = [damage for damage in evidence.reading.damages if damage.installed]
    if not damages:
        return {}
    savers = _by_call(evidence)
    found: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    agents = sorted({call.agent for call in evidence.reading.calls})
    for damage in damages:
        met = found[damage.kind]
        if not damage.needs_in_flight:
            stood = evidence.installed_at[damage.row]  # it waits until nobody calls
            busy = {call.agent for call in evidence.in_flight(damage, stood.index)}
            met.update({agent: {REST} for agent in agents if agent not in busy})
            continue
        for call in evidence.met[damage.row]:
            ended_s = evidence.reading.end_s if call.ended_s is None else call.ended_s
            since_s, until_s = max(call.began_s, damage.began_s), min(ended_s, damage.ended_s)
            spans = []
            for saver in savers.get(call.invoke.call, ()):
                saver_end_s = ended_s if saver.ended_s is None else saver.ended_s
                spans.append((saver.began_s, saver_end_s))
                if saver.began_s <= until_s and saver_end_s >= since_s and saver.f in _PHASE:
                    met[call.agent].add(_PHASE[saver.f])
            if until_s - since_s - Spans(spans).covered_s(since_s, until_s) > _NODE_S:
                met[call.agent].add(NODE)
    return {kind: {agent: [*sorted(phases)] for agent, phases in met.items()} for kind, met in found.items()}


def _by_call(evidence: Evidence) -> dict[int | None, list[SaverCall]]:
    found: defaultdict[int | None, list[SaverCall]] = defaultdict(list)
    for saver in evidence.reading.saver_calls:
        found[saver.parent].append(saver)
    return found
