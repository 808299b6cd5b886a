"""How many cells run abreast is decided by what was measured, and a moment's disturbance decides nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.campaign import slots_to_keep


@pytest.mark.parametrize(
    ("measured", "asked", "kept"),
    [
        ([800], [3], 3),  # exactly at the limit
        ([1500, 700], [3, 3], 3),  # somebody else took a core for a moment
        ([900, 801, 600], [3, 3, 2], 2),
        ([900, 900, 900, 900], [3, 3, 2, 2], 1),
        ([0], [3], 3),  # nothing could be measured, as after Ctrl-C
    ],
)
def test_the_most_slots_that_stay_far_from_the_deadline(measured: Sequence[float], asked: list[int], kept: int) -> None:
    values = iter(measured)
    seen: list[int] = []
    said: list[str] = []

    def p95_ms(n: int) -> float:
        seen.append(n)
        return next(values)

    assert slots_to_keep(3, 800.0, p95_ms, said.append) == kept
    assert seen == asked
    assert len(said) == sum(value > 0 for value in measured)
    assert all("allowed 800 ms" in words for words in said)
