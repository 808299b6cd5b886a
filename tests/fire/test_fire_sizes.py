"""Records and reports out of all proportion, and records made under other versions."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from harness import verdicts
from harness.campaign import gather_provenance
from harness.cli.versions import changed_versions
from harness.core.cell import CellSpec
from harness.core.history import History, OpType
from harness.core.record import CellResult, RunSummary, ScenarioInfo
from harness.core.scenario import Bounds
from harness.core.verdict import Verdict
from harness.judge import judge
from harness.rendering import html, render_all
from harness.store import CellFolder, read_json, write_json
from harness.summary import BUG, UNPROVED, Outcome, summarize
from harness.verdicts import Judging
from tests.checkers.made_histories import MadeCell
from tests.fire.ground import POOLPROOF, ROOT, SHORT

pytestmark = [pytest.mark.slow, pytest.mark.proof]

ROWS_N = 2_000_000


@pytest.fixture(scope="module")
def huge_cell(tmp_path_factory: pytest.TempPathFactory) -> CellFolder:
    """A cell whose history has two million rows."""
    folder = CellFolder(tmp_path_factory.mktemp("huge"))
    folder.write_spec(CellSpec(id="huge", scenario=f"{SHORT}:STILL", strategy=f"{SHORT}:PlainPool"))
    row = '{"index": 0, "time_s": 1.0, "type": "%s", "f": "ensure_healthy", "process": "g0", "call": 1, "value": {}}\n'
    rows = row % "invoke" + row % "ok"
    with folder.history.open("w") as file:
        file.write('{"schema": 1, "cell": "huge", "seed": 0, "groups": ["g0"], "agents": []}\n')
        for _ in range(ROWS_N // 2000):
            file.write(rows * 1000)
    return folder


@pytest.mark.parametrize(
    ("limit_s", "limit_bytes", "why"),
    [
        (1.0, 8 << 30, "the judge had not ended after 1 s"),
        (60.0, 64 << 20, "the judge needs more than 64 MiB"),
    ],
)
def test_row_21_a_history_that_is_too_big_to_be_judged_is_said_to_be(
    limit_s: float, limit_bytes: int, why: str, huge_cell: CellFolder
) -> None:
    began_s = time.monotonic()
    ours_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = Judging(huge_cell, limit_s=limit_s, limit_bytes=limit_bytes).result()
    assert time.monotonic() - began_s < limit_s + 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - ours_before < 50_000, "kB: we did not read it ourselves"
    assert result.verdict is Verdict.INVALID
    size = huge_cell.history.stat().st_size
    assert result.reason == f"could not be judged: {why}; its history has {size:,} bytes"
    assert Outcome.of([result], planned=1).exit == UNPROVED
    assert size > 100 << 20, "its records stay"


def test_row_21_a_cell_that_died_stays_an_error(huge_cell: CellFolder) -> None:
    result = Judging(huge_cell, death="the cell's process ended with status 7", limit_s=0.0).result()
    assert result.verdict is Verdict.ERROR
    assert result.reason.startswith("the cell's process ended with status 7; and it could not be judged")


def test_row_21_a_judge_that_is_ended_from_outside_or_fails_gives_no_verdict_of_its_own(
    sound_cell: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = judge

    def killed(*args: Any, history: History, **more: Any) -> CellResult:
        if len(history):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, history=history, **more)

    def wrong(*args: Any, history: History, **more: Any) -> CellResult:
        if len(history):
            raise ZeroDivisionError("nothing")
        return real(*args, history=history, **more)

    folder = CellFolder(sound_cell)
    assert Judging(folder).result().verdict is Verdict.PASS
    monkeypatch.setattr(verdicts, "judge", killed)
    ended = Judging(folder).result()
    assert ended.verdict is Verdict.INVALID
    assert "the judge ended with signal SIGKILL" in ended.reason
    monkeypatch.setattr(verdicts, "judge", wrong)
    failed = Judging(folder).result()
    assert failed.verdict is Verdict.ERROR
    assert failed.reason.startswith("our own bug: judging raised ZeroDivisionError: nothing (test_fire_sizes.py:")
    assert Outcome.of([failed], planned=1).exit == BUG


def made(calls_n: int) -> MadeCell:
    """A sound cell, after whose gate so many calls are made by ten users, one in a thousand refused."""
    cell = MadeCell()
    cell.phase("provision")
    cell.gate()
    for n in range(calls_n):
        number = cell.begin("turn", f"t{n}", thread=f"SupervisorAgent.u{n % 10}.{n // 120}")
        cell.now_s += 0.001 + (n % 97) / 1e5
        if n % 1000 == 999:
            cell.complete(number, OpType.INFO, {"refused": True, "code": "busy", "retry_after_s": 1.0})
        else:
            cell.complete(number, value={"turns": [], "text": "fine", "waiting": []})
    cell.phase("healed")
    cell.end()
    return cell


def summary_of(calls_n: int) -> RunSummary:
    spec = CellSpec(id="fire.many-plain-async-0", scenario="fire/many", strategy="plain", agents=("SupervisorAgent",))
    cell = made(calls_n) if calls_n else MadeCell()
    result = judge(
        spec,
        role="candidate",
        breaks=frozenset(),
        expected=(),
        bounds=Bounds(),
        history=cell.history,
        facts=cell.facts(),
    )
    info = ScenarioInfo(name="fire/many", title="Many calls", why="W", question=1)
    return summarize([result], planned=1, scenarios=(info,), started="2026-01-01T00:00:00+00:00", wall_s=1.0)


@pytest.mark.parametrize("calls_n", [0, 1, 200_000])
def test_row_35_a_report_of_no_one_and_many_calls(calls_n: int) -> None:
    summary = summary_of(calls_n)
    files = render_all(summary)
    page = files["report.html"]
    assert page.rstrip().endswith("</html>")
    assert len(page.encode()) <= html.CAP_BYTES
    assert "<svg" in page
    said = f"of {calls_n + 2:,} calls, those without an answer first"  # two more in the gate
    assert (said in page) is (calls_n == 200_000), "what is left out is said"
    assert json.loads(files["summary.json"])["cells"][0]["id"] == "fire.many-plain-async-0"
    assert all(len(text) <= html.CAP_BYTES for text in files.values())


def test_row_32_a_replay_under_other_versions_runs_and_claims_nothing(sound_cell: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(sound_cell, old)
    spec = read_json(old / "cell.json")
    provenance = gather_provenance()
    packages = provenance["packages"]
    assert isinstance(packages, dict)
    spec["provenance"] = {**provenance, "packages": {**packages, "psycopg": "3.3.8"}}
    write_json(old / "cell.json", spec)
    done = subprocess.run(
        [*POOLPROOF, "replay", str(old)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CI": ""},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sentence = f"versions differ, so this is no replay: psycopg was 3.3.8 and is {packages['psycopg']}"
    assert sentence in done.stdout
    assert done.stdout.splitlines()[-1] == "exit 0 1 of 1 ended the same way, but versions differ"
    (summary,) = tmp_path.glob("reports/2*/summary.json")
    assert sentence in " ".join(json.loads(summary.read_text())["notes"])
    assert "this is no replay" in (summary.parent / "report.html").read_text()


def test_row_32_the_same_versions_are_a_replay() -> None:
    now = gather_provenance()
    assert changed_versions(now, now) == ""
    assert "so this is no replay: python was 3.11.0" in changed_versions({**now, "python": "3.11.0"}, now)
    assert "does not say" in changed_versions({}, now)
