"""Anomalies with what proves them: the smallest history that shows it, the checkpoint tree, the windows around.

A checker lists :class:`Case` objects; :func:`flaws` words them for the verdict, :func:`evidence` for the reader.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from harness.checkers.checkpoint_tree import tree
from harness.checkers.flaws import Flaw
from harness.checkers.reading import Call, Damage, Reading, strings
from harness.core.facts import Facts
from harness.core.verdict import Anomaly, Json, Verdict

#: Cases shown in full, of each code and of one finding: the first ones. All of them are counted.
SHOWN_OF_A_CODE = 3
SHOWN = 12
#: Windows shown around a case, and how near they must be, in seconds.
WINDOWS_SHOWN = 6
AROUND_S = 10.0
#: Turns of a reply that are shown, the last ones.
TURNS_SHOWN = 8


class Case(NamedTuple):
    """One place where an anomaly was seen. ``rows``: one row of each call that it takes to see it, no other."""

    code: Anomaly
    thread: str
    turn: str
    words: str
    rows: tuple[int, ...] = ()


def flaws(cases: Sequence[Case], reading: Reading) -> list[Flaw]:
    """What speaks against the guarantee; each text begins with its code, the evidence holds the calls' rows."""
    return [
        Flaw(
            Verdict.FAIL,
            f"{case.code.value}: {case.words}",
            [row for call in _calls(case, reading) for row in call.rows],
            case.code.value,
        )
        for case in cases
    ]


def evidence(cases: Sequence[Case], reading: Reading, facts: Facts) -> dict[str, Json]:
    """``{"anomalies": [...]}``, the first few of each code as plain JSON; nothing where there is no case."""
    taken: Counter[Anomaly] = Counter()
    shown: list[Json] = []
    for case in cases:
        taken[case.code] += 1
        if taken[case.code] <= SHOWN_OF_A_CODE and len(shown) < SHOWN:
            shown.append(_shown(case, reading, facts))
    return {"anomalies": shown} if shown else {}


def _calls(case: Case, reading: Reading) -> list[Call]:
    """The calls that the rows belong to, in the order in which they began."""
    found = {reading.call_at[row].invoke.index: reading.call_at[row] for row in case.rows if row in reading.call_at}
    return [found[row] for row in sorted(found)]


def _shown(case: Case, reading: Reading, facts: Facts) -> dict[str, Json]:
    calls = _calls(case, reading)
    thread = facts.threads.get(case.thread)
    return {
        "code": case.code.value,
        "meaning": case.code.meaning,
        "thread": case.thread,
        "turn": case.turn,
        "text": case.words,
        "operations": [operation for call in calls for operation in _operations(call)],
        "tree": None if thread is None or not thread.tree else tree(thread.tree, case.turn),
        "windows": _windows(calls, reading),
    }


def _operations(call: Call) -> list[dict[str, Json]]:
    """The rows of one call, in short."""
    begun = f"{call.kind} {call.turn} on {call.group}/{call.agent}"
    target = call.invoke.value.get("target")
    rows = [(call.invoke, begun + (f", target {target}" if target else ""))]
    if call.end is not None:
        rows.append((call.end, _ended(call)))
    return [
        {
            "index": op.index,
            "time_s": round(op.time_s, 6),
            "type": op.type.value,
            "f": op.f,
            "process": op.process,
            "text": words,
        }
        for op, words in rows
    ]


def _ended(call: Call) -> str:
    """How it ended: what the reply showed, each turn by the part of its id after the thread, or the error."""
    if call.end is None or call.status != "ok":
        return call.outcome
    shown = [turn.removeprefix(f"{call.thread}/") for turn in strings(call.end.value, "turns")]
    waiting = strings(call.end.value, "waiting")
    more = len(shown) - TURNS_SHOWN
    listed = (f"{more} more, " if more > 0 else "") + ", ".join(shown[-TURNS_SHOWN:])
    words = f"answered; shows {listed}" if shown else "answered"
    return words + (f"; waits for {', '.join(waiting[:TURNS_SHOWN])}" if waiting else "")


def _windows(calls: Sequence[Call], reading: Reading) -> list[Json]:
    """The windows that touch the calls' time or are near it; all of them, where no call tells the time."""
    since = min((call.began_s for call in calls), default=0.0)
    until = max((call.began_s if call.ended_s is None else call.ended_s for call in calls), default=reading.end_s)
    near = [damage for damage in reading.damages if _gap_s(damage, since, until) <= AROUND_S]
    near.sort(key=lambda damage: (_gap_s(damage, since, until), damage.began_s))
    return [
        {
            "window": damage.number,
            "kind": damage.kind,
            "began_s": round(damage.began_s, 3),
            "ended_s": round(damage.ended_s, 3),
            "when": _when(damage, since, until),
        }
        for damage in sorted(near[:WINDOWS_SHOWN], key=lambda damage: damage.began_s)
    ]


def _gap_s(damage: Damage, since: float, until: float) -> float:
    return max(0.0, damage.began_s - until, since - damage.ended_s)


def _when(damage: Damage, since: float, until: float) -> str:
    gap_s = _gap_s(damage, since, until)
    if not gap_s:
        return "during it"
    return f"{gap_s:.2f} s before it" if damage.ended_s < since else f"{gap_s:.2f} s after it"
