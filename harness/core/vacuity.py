"""What makes a run vacuous: it proves nothing, whatever it shows. The codes stand in findings and never change their
meaning.

V1 to V14 are judged of each cell (``exercised`` and ``connection_budget``, the verdict is INVALID), V12 and V15 of the
run as a whole (exit status 3).
"""

from __future__ import annotations

from enum import StrEnum

#: What a turn that is under way may be at when damage meets it: it loads its thread, runs a node, saves a checkpoint,
#: saves a node's writes. A fault that wants no turn in flight meets agents at rest.
TURN_PHASES = ("load", "node", "save", "writes")
REST = "rest"


class Vacuity(StrEnum):
    """One condition that a run must meet to prove anything; its value is the code."""

    V1 = "V1"
    V2 = "V2"
    V3 = "V3"
    V4 = "V4"
    V5 = "V5"
    V6 = "V6"
    V7 = "V7"
    V8 = "V8"
    V9 = "V9"
    V10 = "V10"
    V11 = "V11"
    V12 = "V12"
    V13 = "V13"
    V14 = "V14"
    V15 = "V15"

    @property
    def meaning(self) -> str:
        """What must hold, in one line."""
        return _MEANINGS[self.value]


_MEANINGS = {
    "V1": "every fault was installed, read back from the component, and removed",
    "V2": "every fault met connections or bytes of this cell",
    "V3": "calls were in flight when a fault began, and a request queued when a re-creation was ordered",
    "V4": "every fault that must bite made an operation fail or wait",
    "V5": "what the fault was not aimed at stayed unaffected",
    "V6": "an ordered re-creation really changed the pool's connections",
    "V7": "enough calls were answered: each kind of call, before and under damage, and users still called after it",
    "V8": "the fate of most turns is known",
    "V9": "every thread was read at the end by a fresh agent and by SQL",
    "V10": "every agent of every replica group took part",
    "V11": "the traffic really went through the proxy",
    "V12": "a control that must be caught breaking a guarantee was caught in this run",
    "V13": "the leak detector saw the connections that were certainly there",
    "V14": "every window lasted as long as planned, and the machine ran meanwhile",
    "V15": "every fault that strikes in ten cells or more met every agent, and every phase of a turn on some agent",
}
