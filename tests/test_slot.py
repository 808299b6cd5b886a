"""One slot on the real stack: cells in, judged results out, whatever the strategy does; and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core.cell import CellSpec, cell_id
from harness.core.record import CellResult
from harness.core.verdict import Guarantee, Verdict
from harness.slot import Slot
from harness.store import CellFolder, open_cell
from harness.verdicts import judge_folder

pytestmark = pytest.mark.slow
PLUGINS = Path(__file__).parent / "plugins" / "short.py"


@pytest.fixture(scope="module")
def slot() -> Iterator[Slot]:
    found = Slot.start("local")
    yield found
    found.close()


def run(slot: Slot, folder: Path, strategy: str, scenario: str = "STILL") -> CellResult:
    """One short cell under a strategy of the plug-in file (or a name)."""
    reference = f"{PLUGINS}:{strategy}" if strategy[0].isupper() else strategy
    scenario_reference = f"{PLUGINS}:{scenario}"
    spec = CellSpec(id=cell_id(scenario.lower(), strategy, "async", 0), scenario=scenario_reference, strategy=reference)
    place = CellFolder(folder)
    place.logs.mkdir(parents=True, exist_ok=True)
    return slot.run(spec, place)


def broken(result: CellResult) -> set[Guarantee]:
    return {finding.guarantee for finding in result.findings if finding.verdict is Verdict.FAIL}


def test_a_sound_cell_passes_and_can_be_judged_again_from_its_folder(slot: Slot, tmp_path: Path) -> None:
    result = run(slot, tmp_path, "PlainPool")
    assert result.verdict is Verdict.PASS, result.reason
    assert len(result.findings) == 12
    again = judge_folder(CellFolder(tmp_path), wall_s=result.wall_s)
    assert again.findings == result.findings
    spec, history, facts = open_cell(tmp_path)
    assert spec.strategy.endswith("short.py:PlainPool")
    assert history.phase("end") is not None
    assert facts.complete
    assert set(facts.leftover_backends.values()) == {0}


@pytest.mark.parametrize(
    ("strategy", "guarantee", "reason"),
    [
        ("RaisesInOpen", Guarantee.AVAILABLE, "there is no such host"),
        ("GivesNoSaver", Guarantee.AVAILABLE, "None"),
        ("HangsInServe", Guarantee.NO_HANG, ""),
        ("LeaksABackend", Guarantee.CONNECTION_BUDGET, ""),
        ("SwallowsAndAcknowledges", Guarantee.NO_LOST_TURN, ""),
        ("BlocksTheLoop", Guarantee.CLEAN_BACKGROUND, ""),
    ],
)
def test_a_strategy_that_misbehaves_fails_its_cell_with_the_reason(
    strategy: str, guarantee: Guarantee, reason: str, slot: Slot, tmp_path: Path
) -> None:
    result = run(slot, tmp_path, strategy)
    assert result.verdict is Verdict.FAIL, result.reason
    assert guarantee in broken(result), result.reason
    assert reason in result.reason


def test_a_process_that_ends_is_an_error_and_the_slot_goes_on(slot: Slot, tmp_path: Path) -> None:
    result = run(slot, tmp_path / "dead", "EndsTheProcess")
    assert result.verdict is Verdict.ERROR
    assert "status 3" in result.reason
    assert run(slot, tmp_path / "alive", "PlainPool").verdict is Verdict.PASS


def descendants(pid: int) -> set[int]:
    """The process and everything below it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, queue = {pid}, [pid]
    while queue:
        for child in parents.get(queue.pop(), []):
            if child not in found:
                found.add(child)
                queue.append(child)
    return found


def alive(pids: set[int]) -> set[int]:
    living = set()
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                living.add(pid)
        except OSError:
            continue
    return living


def campaign(tmp_path: Path) -> subprocess.Popen[bytes]:
    """``poolproof run`` on a scenario that takes a minute, two cells abreast."""
    command = [
        sys.executable,
        "-c",
        "import sys; from harness.cli import main; sys.exit(main())",
        "run",
        f"{PLUGINS}:LONG",
        "--jobs",
        "2",
    ]
    command += ["--strategy", "self_healing", "--strategy", "naive_recreate", "--out", str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(PLUGINS.parent.parent.parent), "CI": ""}
    with (tmp_path / "log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)


def wait_until_under_load(process: subprocess.Popen[bytes], out: Path) -> None:
    """Until two cells have written rows for a moment, so that everything that can live is alive."""
    stop_s = time.monotonic() + 90
    while time.monotonic() < stop_s and process.poll() is None:
        histories = list(out.glob("cells/*/history.jsonl"))
        if len(histories) == 2 and all('"drive"' in path.read_text() for path in histories):
            time.sleep(0.5)
            return
        time.sleep(0.2)
    raise AssertionError(f"no load: {(out.parent / 'log').read_text()[-2000:]}")


def test_when_the_harness_is_killed_nothing_of_it_is_alive_five_seconds_later(tmp_path: Path) -> None:
    process = campaign(tmp_path)
    wait_until_under_load(process, tmp_path / "out")
    family = descendants(process.pid)
    assert len(family) > 20, "two stacks and two cells with their backends"
    process.kill()
    process.wait(5)
    stop_s = time.monotonic() + 5
    while alive(family) and time.monotonic() < stop_s:
        time.sleep(0.1)
    assert alive(family) == set()


def test_an_interrupted_run_leaves_a_partial_report_and_nothing_running(tmp_path: Path) -> None:
    process = campaign(tmp_path)
    wait_until_under_load(process, tmp_path / "out")
    family = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert alive(family) == set()
    assert "INCOMPLETE" in (tmp_path / "out" / "report.html").read_text()
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log
