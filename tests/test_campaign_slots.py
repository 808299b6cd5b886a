"""How many cells run abreast is decided by what was measured, and a moment's disturbance decides nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign import Plan, calibration_cells, length_s, most_abreast, place_of_next, run_campaign
from harness.core.cell import CellSpec, cell_id
from harness.core.verdict import Verdict
from harness.registry import default_registry
from harness.slot import Slot
from harness.store import CellFolder, open_cell, read_result

SHORT = Path(__file__).parent / "plugins" / "short.py"


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

    assert most_abreast(3, 800.0, p95_ms, said.append) == kept
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
        (["shared_swap", "null_pool", "blind_retry", "two_writers"], ["recreate_storm"], False, "shared_swap"),
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


def test_the_shortest_cells_are_kept_for_the_end_and_planted_mistakes_are_not() -> None:
    names = ["shared_swap", "self_healing", "per_agent_pool", "fail_fast", "null_pool", "instance_tracking"]
    begun = []
    queue = [_cell(name) for name in [*names, "blind_retry", "two_writers"]]
    while queue:
        place = place_of_next(queue, [], longest=False)
        assert place is not None
        begun.append(queue.pop(place).strategy)
    assert begun == ["two_writers", "blind_retry", "self_healing", "shared_swap", *names[2:]]


def test_a_control_that_must_never_recover_takes_three_bounds_longer() -> None:
    scenario = default_registry().scenario("network/post_incident")
    assert scenario.must_not_recover("naive_recreate")
    assert not scenario.must_not_recover("shared_swap")
    cells = {name: replace(_cell(name), scenario=scenario.name) for name in ("naive_recreate", "shared_swap")}
    assert length_s(cells["shared_swap"]) == scenario.scheduled_s
    assert length_s(cells["naive_recreate"]) == scenario.scheduled_s + 3 * scenario.bounds.recover_s


def test_cells_of_the_run_are_measured_where_it_has_enough_and_then_they_count() -> None:
    names = ["naive_recreate", "pgbouncer_session", "shared_swap", "null_pool", "self_healing"]
    plan = Plan(cells=tuple(_cell(name) for name in names))
    cells, own = calibration_cells(plan, 3)
    assert own
    assert [cell.strategy for cell in cells] == ["shared_swap", "null_pool", "self_healing"]
    others, own = calibration_cells(plan, 4)
    assert not own
    assert [cell.strategy for cell in others] == ["shared_swap"] * 4


@pytest.mark.slow
def test_measured_cells_run_once_and_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []
    begin = Slot.begin

    def begin_and_count(slot: Slot, spec: CellSpec, folder: CellFolder) -> None:
        begun.append(spec.strategy)
        begin(slot, spec, folder)

    monkeypatch.setattr(Slot, "begin", begin_and_count)
    strategies = ["shared_swap", "self_healing", "per_agent_pool"][: (os.cpu_count() or 1) + 1]
    out = tmp_path / "run"
    summary = run_campaign(Plan(cells=tuple(_cell(name) for name in strategies), out=out))
    measurements = [note for note in summary.notes if "abreast" in note]
    assert f"{len(strategies)} abreast: " in measurements[0]
    if len(measurements) == 1:  # else something took a core, and what was measured then does not count
        assert sorted(begun) == sorted(strategies)
    assert {cell.strategy: cell.verdict for cell in summary.cells} == dict.fromkeys(strategies, Verdict.PASS)
    for cell in summary.cells:
        folder = out / cell.folder
        assert read_result(folder) == cell
        assert open_cell(folder)[0].provenance["packages"]
        assert (folder / "logs" / "postgres.log").exists()


@pytest.mark.slow
def test_no_more_cells_than_jobs_are_under_load_and_one_more_is_torn_down_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots: dict[int, Slot] = {}
    beside: list[tuple[int, int]] = []
    begin = Slot.begin

    def begin_and_look(slot: Slot, spec: CellSpec, folder: CellFolder) -> None:
        others = [other for other in slots.values() if other is not slot]
        beside.append((sum(o.loaded is not None for o in others), sum(o.running is not None for o in others)))
        slots[slot.pid] = slot
        begin(slot, spec, folder)

    monkeypatch.setattr(Slot, "begin", begin_and_look)
    cells = tuple(
        CellSpec(
            id=cell_id("short/still", "my_plain_pool", "async", seed),
            scenario=f"{SHORT}:STILL",
            strategy=f"{SHORT}:PlainPool",
            environment="local",
            seed=seed,
        )
        for seed in range(5)
    )
    summary = run_campaign(Plan(cells=cells, jobs=2, out=tmp_path / "run"))
    assert [cell.verdict for cell in summary.cells] == [Verdict.PASS] * 5, [cell.reason for cell in summary.cells]
    assert beside[:2] == [(0, 0), (1, 1)]
    assert len(slots) == 3
    assert max(loaded for loaded, _ in beside) == 1
    assert max(running for _, running in beside) == 2, "one is torn down, or both are, and a third begins"
