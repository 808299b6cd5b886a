"""How many cells run abreast is decided by what was measured, and a moment's disturbance decides nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.campaign import place_of_next, slots_to_keep
from harness.core.cell import CellSpec, cell_id


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


def _cell(strategy: str) -> CellSpec:
    return CellSpec(
        id=cell_id("network/steady", strategy, "async", 0),
        scenario="network/steady",
        strategy=strategy,
        environment="local",
    )


@pytest.mark.parametrize(
    ("waiting", "running", "longest", "taken"),
    [
        (["shared_swap", "null_pool", "blind_retry"], [], True, "shared_swap"),
        (["shared_swap", "null_pool", "blind_retry"], ["fail_fast"], False, "blind_retry"),
        (["shared_swap", "null_pool", "blind_retry", "two_writers"], ["recreate_storm"], False, "null_pool"),
        (["blind_retry", "shared_swap", "null_pool"], ["fail_fast", "recreate_storm"], True, "shared_swap"),
        (["two_writers", "blind_retry"], ["recreate_storm"], False, None),
        (["two_writers", "blind_retry"], ["fail_fast"], True, "two_writers"),
    ],
)
def test_planted_mistakes_do_not_take_the_cores_from_each_other(
    waiting: list[str], running: list[str], longest: bool, taken: str | None
) -> None:
    queue = [_cell(strategy) for strategy in waiting]
    busy = [_cell(strategy) for strategy in running]
    place = place_of_next(queue, busy, longest=longest)
    assert (None if place is None else waiting[place]) == taken
