"""How many cells run abreast is decided by what was measured, and a moment's disturbance decides nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.campaign import P95_RATIO, slots_to_keep


@pytest.mark.parametrize(
    ("measured", "asked", "kept"),
    [
        ([200, 400], [1, 3], 3),  # exactly at the limit
        ([200, 900, 390], [1, 3, 3], 3),  # somebody else took a core for a moment
        ([200, 900, 500, 300], [1, 3, 3, 2], 2),
        ([200, 900, 500, 700, 600], [1, 3, 3, 2, 2], 1),
        ([0], [1], 3),  # nothing could be measured, as after Ctrl-C
        ([200, 0], [1, 3], 3),
    ],
)
def test_the_most_slots_that_leave_each_other_alone(measured: Sequence[float], asked: list[int], kept: int) -> None:
    values = iter(measured)
    seen: list[int] = []
    said: list[str] = []

    def p95_ms(n: int) -> float:
        seen.append(n)
        return next(values)

    assert P95_RATIO == 2.0
    assert slots_to_keep(3, p95_ms, said.append) == kept
    assert seen == asked
    assert len(said) == sum(value > 0 for value in measured[1:])
