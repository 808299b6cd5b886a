"""What an agent does to the process that it runs in: told or contained, and the next cell on the slot knows nothing."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.core.cell import CellSpec, cell_id
from harness.core.history import History
from harness.core.record import CellResult
from harness.core.verdict import Guarantee, Verdict
from harness.slot import Slot
from harness.store import CellFolder, open_cell
from tests.fire.ground import SHORT, descendants

pytestmark = [pytest.mark.slow, pytest.mark.proof]
AGENTS = SHORT.parent / "fire_agents.py"


@dataclass(frozen=True)
class Cell:
    """One cell as it ended: judged, its history, what it printed, and the slot's processes afterwards."""

    result: CellResult
    history: History
    output: str
    took_s: float
    left: set[int]


def run(slot: Slot, folder: Path, agent: str, strategy: str = "PlainPool") -> Cell:
    """One short cell of ``agent``; ``left`` are processes under the slot that were not there before."""
    before = descendants(slot.pid)
    spec = CellSpec(
        id=cell_id("fire", agent, "async", 0),
        scenario=f"{SHORT}:STILL",
        strategy=f"{SHORT}:{strategy}",
        agents=(f"{AGENTS}:{agent}",),
    )
    place = CellFolder(folder)
    place.logs.mkdir(parents=True)
    began_s = time.monotonic()
    result = slot.run(spec, place)
    took_s = time.monotonic() - began_s
    output = place.output.read_text(errors="replace")
    return Cell(result, open_cell(folder)[1], output, took_s, descendants(slot.pid) - before)


def assert_untouched(slot: Slot, folder: Path) -> None:
    """The next cell on the slot is as good as the first."""
    cell = run(slot, folder, "Echo")
    assert cell.result.verdict is Verdict.PASS, cell.result.reason
    assert cell.left == set()


def test_row_22_a_replica_that_ends_its_process(slot: Slot, tmp_path: Path) -> None:
    cell = run(slot, tmp_path / "hit", "Exits")
    assert cell.result.verdict is Verdict.ERROR
    assert cell.result.reason == "the cell's process ended with status 7"
    assert cell.took_s < 60
    assert len(cell.history) > 100
    assert cell.left == set()
    assert_untouched(slot, tmp_path / "next")


def test_row_23_a_replica_that_blocks_the_event_loop_for_good(slot: Slot, tmp_path: Path) -> None:
    cell = run(slot, tmp_path, "Deadlocks")
    assert cell.result.verdict is Verdict.FAIL, cell.result.reason
    (told,) = (finding for finding in cell.result.findings if finding.guarantee is Guarantee.AVAILABLE)
    assert "the event loop has not turned for" in told.summary
    assert "wait_for_a_lock_that_nobody_gives_back" in told.summary, "the stack says where it stands"
    assert cell.took_s < 60
    assert cell.left == set()


def test_row_24_an_agent_that_prints_100_mib(slot: Slot, tmp_path: Path) -> None:
    cell = run(slot, tmp_path, "Prints")
    assert cell.result.verdict not in (Verdict.ERROR, Verdict.INVALID), cell.result.reason
    assert cell.history.phase("end") is not None
    assert len(cell.output) < 4 << 20
    assert cell.output.startswith("the first line\n")
    assert cell.output.rstrip().endswith("the last line")
    assert "[poolproof left out " in cell.output


def test_row_25_an_agent_that_leaks_files_threads_processes_and_a_strategy_that_leaks_connections(
    slot: Slot, tmp_path: Path
) -> None:
    cell = run(slot, tmp_path / "hit", "Leaks", strategy="LeaksABackend")
    assert cell.result.verdict is Verdict.FAIL, cell.result.reason
    assert Guarantee.CONNECTION_BUDGET in {f.guarantee for f in cell.result.findings if f.verdict is Verdict.FAIL}
    assert cell.history.phase("end") is not None
    assert cell.left == set(), "what the agent started is gone with its cell"
    assert_untouched(slot, tmp_path / "next")


def test_row_28_a_wall_clock_that_jumps_by_hours_moves_no_interval(slot: Slot, tmp_path: Path) -> None:
    cell = run(slot, tmp_path, "ShiftsTheClock")
    assert cell.result.verdict is Verdict.PASS, cell.result.reason
    times = [op.time_s for op in cell.history]
    # Threads take the time before they take their turn at writing: neighbours may differ by a moment, not by hours.
    assert all(later_s - earlier_s > -0.1 for earlier_s, later_s in itertools.pairwise(times))
    assert 1.0 < times[-1] < cell.took_s
    assert cell.result.wall_s <= cell.took_s
    assert cell.result.timeline is not None
    assert max(latency_ms for _, latency_ms, _ in cell.result.timeline.latencies) < 60_000
