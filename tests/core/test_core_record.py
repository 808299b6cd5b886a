"""Which cells may run once more: those that nothing but a machine that stood still kept from a verdict."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.checkers.flaws import Flaw, decide
from harness.core.record import CellResult
from harness.core.verdict import Finding, Guarantee, Verdict

_HANG, _LEAK, _BACK = Guarantee.NO_HANG, Guarantee.NO_POOL_CLOSED, Guarantee.RECOVERS
STOOD = decide(_HANG, [Flaw(Verdict.INVALID, "the machine stood still", host=True)], "kept")
STOOD_TOO = decide(_BACK, [Flaw(Verdict.INVALID, "the machine stood still", host=True)], "kept")
EMPTY = decide(_HANG, [Flaw(Verdict.INVALID, "nobody called")], "kept")
MIXED = decide(_HANG, [Flaw(Verdict.INVALID, "stood still", host=True), Flaw(Verdict.INVALID, "nobody called")], "kept")
KEPT = decide(_LEAK, [], "kept")
BROKEN = decide(_LEAK, [Flaw(Verdict.FAIL, "leaked")], "kept")
LATE = decide(_BACK, [Flaw(Verdict.SLOW, "late")], "kept")


def _cell(findings: Sequence[Finding], role: str = "candidate", expected: Sequence[str] = ()) -> CellResult:
    failed = {finding.guarantee.value for finding in findings if finding.verdict is Verdict.FAIL}
    return CellResult(
        id="c",
        scenario="network/steady",
        strategy="s",
        agents=("A",),
        durability="async",
        seed=0,
        role=role,
        verdict=Verdict.worst(finding.verdict for finding in findings) if findings else Verdict.INVALID,
        findings=tuple(findings),
        expected=tuple(expected),
        caught=tuple(failed & set(expected)),
    )


@pytest.mark.parametrize(
    ("findings", "starved"),
    [
        ([STOOD, KEPT], True),
        ([STOOD, STOOD_TOO], True),
        ([KEPT], False),
        ([STOOD, BROKEN], False),  # what is broken stays broken
        ([STOOD, LATE], False),
        ([EMPTY, KEPT], False),  # it proved nothing, and not because of the machine
        ([EMPTY, STOOD_TOO], False),
        ([MIXED], False),
        ([], False),  # it was never judged
    ],
)
def test_a_candidate(findings: list[Finding], starved: bool) -> None:
    assert _cell(findings).starved is starved


@pytest.mark.parametrize(
    ("findings", "expected", "starved"),
    [
        ([STOOD, KEPT], ["no_hang"], True),
        ([STOOD, BROKEN], ["no_hang"], True),  # something else was caught, and not what had to be
        ([STOOD, BROKEN], ["no_pool_closed"], False),
        ([STOOD, KEPT], ["no_hang", "no_pool_closed"], False),  # a quiet machine would not show the leak
        ([STOOD], [], False),  # nothing is demanded
        ([STOOD], ["no_hang", "symptom"], False),
        ([EMPTY], ["no_hang"], False),
    ],
)
def test_a_control(findings: list[Finding], expected: list[str], starved: bool) -> None:
    assert _cell(findings, "control", expected).starved is starved
