"""The command line: arguments, exit codes, what goes to which stream.

What runs cells is replaced here at its boundary, for arguments and exit codes only; that real runs are right is tested
on real components.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import harness.campaign
from harness.campaign import Plan
from harness.cli import main
from harness.core.errors import ComponentError, MissingComponent
from harness.core.record import CellResult, RunSummary
from harness.core.verdict import Finding, Guarantee, Verdict
from harness.registry import default_registry, is_compared

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Ran:
    """What the command line handed to the campaign, and what the campaign is to answer."""

    plan: Plan | None = None
    error: BaseException | None = None
    exit: int = 0
    verdicts: Sequence[Verdict] = (Verdict.PASS,)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ran:
    """Stand in for the campaign: remember the plan, answer as told."""
    ran = Ran()

    def run_campaign(plan: Plan, *, note: object = None, live: bool = False) -> RunSummary:
        ran.plan = plan
        if ran.error is not None:
            raise ran.error
        cells = tuple(
            result_of(spec.id, spec.scenario, spec.strategy, ran.verdicts[n % len(ran.verdicts)])
            for n, spec in enumerate(plan.cells)
        )
        return summary_of(ran.exit, cells)

    monkeypatch.setattr(harness.campaign, "run_campaign", run_campaign)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.chdir(tmp_path)
    return ran


def result_of(cell: str, scenario: str, strategy: str, verdict: Verdict) -> CellResult:
    finding = Finding(guarantee=Guarantee.NO_HANG, verdict=verdict, summary="as told")
    return CellResult(
        id=cell,
        scenario=scenario,
        strategy=strategy,
        agents=("SupervisorAgent",),
        durability="async",
        seed=0,
        role="candidate",
        verdict=verdict,
        findings=(finding,),
    )


def summary_of(status: int, cells: tuple[CellResult, ...]) -> RunSummary:
    return RunSummary(
        exit=status,
        exit_reason="as told",
        decision="Nothing is decided.",
        started="2026-01-01T00:00:00+00:00",
        wall_s=1.0,
        planned=len(cells),
        cells=cells,
        scenarios=(),
    )


ONE = ("run", "network/recreate_no_fault", "--strategy", "naive_recreate")


class TestRun:
    """``poolproof run``."""

    def test_all_options_reach_the_plan(self, ran: Ran) -> None:
        options = "--durability sync --environment local --seed 7 --repeat 2 --jobs 3 --require-all --out here"
        assert main([*ONE, "--agent", "SupervisorAgent", *options.split()]) == 0
        plan = ran.plan
        assert plan is not None
        assert [(c.scenario, c.strategy, c.agents, c.durability, c.seed, c.environment) for c in plan.cells] == [
            ("network/recreate_no_fault", "naive_recreate", ("SupervisorAgent",), "sync", seed, "local")
            for seed in (7, 8)
        ]
        assert (plan.jobs, plan.require_all, plan.out, plan.environment) == (3, True, Path("here"), "local")
        assert plan.command == f"poolproof {' '.join(ONE)} --agent SupervisorAgent {options}"
        assert plan.must_catch

    def test_the_default_is_the_whole_matrix(self, ran: Ran) -> None:
        main(["run"])
        assert ran.plan is not None
        registry = default_registry()
        compared = sum(is_compared(strategy) for strategy in registry.strategies.values())
        usual = [s for s in registry.scenarios.values() if not s.on_request and not s.full_only]
        assert len(ran.plan.cells) == sum(len(scenario.strategies) or compared for scenario in usual)
        assert (ran.plan.jobs, ran.plan.require_all, ran.plan.out) == (None, False, None)

    def test_ci_requires_all(self, ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CI", "true")
        main(list(ONE))
        assert ran.plan is not None
        assert ran.plan.require_all

    @pytest.mark.parametrize("status", [0, 1, 3, 4, 70, 130, 143])
    def test_the_exit_status_is_the_summarys(self, status: int, ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
        ran.exit = status
        assert main(list(ONE)) == status
        assert capsys.readouterr().out.splitlines()[-1] == f"exit {status} as told"

    @pytest.mark.parametrize("status", [0, 1])
    def test_json_stands_alone_and_changes_no_status(
        self, status: int, ran: Ran, capsys: pytest.CaptureFixture[str]
    ) -> None:
        ran.exit = status
        assert main([*ONE, "--json"]) == status
        document = json.loads(capsys.readouterr().out)
        assert document["exit"] == status
        assert [cell["verdict"] for cell in document["cells"]] == ["PASS"]

    def test_nothing_selected(self, ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["run", "network/latency", "--quick"]) == 5
        assert ran.plan is None
        assert capsys.readouterr().out.startswith("exit 5 nothing was selected")

    def test_a_selection_without_a_control_says_what_runs_besides(self, ran: Ran) -> None:
        main(["run", "network/latency", "--strategy", "per_agent_pool"])
        assert ran.plan is not None
        assert len(ran.plan.cells) == 3
        assert "network.recreate_no_fault-naive_recreate-async-0" in ran.plan.notes[0]


class TestBadInput:
    """Exit 2, one clear sentence, nothing started."""

    @pytest.mark.parametrize(
        ("args", "sentence"),
        [
            (["rnu"], "Did you mean 'run'?"),
            (["run", "--strategi", "x"], "Did you mean '--strategy'?"),
            (["run", "network/stedy"], "unknown scenario 'network/stedy': did you mean 'network/steady'?"),
            (["run", "--strategy", "selfhealing"], "did you mean 'self_healing'"),
            (["run", "--agent", "SupervisorAgnt"], "did you mean 'SupervisorAgent'"),
            (["run", "--strategy", "nowhere.py:Mine"], "nowhere.py: no such file"),
            (["run", "--durability", "never"], "'never' is not one of 'async', 'sync', 'exit'"),
            (["run", "--environment", "cloud"], "'cloud' is not one of 'auto', 'local', 'containers'"),
            (["run", "--seed", "-1"], "-1 is not in the range"),
            (["run", "--seed", "x"], "'x' is not a valid integer range"),
            (["run", "--repeat", "0"], "0 is not in the range"),
            (["run", "--jobs", "0"], "0 is not in the range"),
            (["run", "--quick", "--full"], "--quick and --full exclude each other"),
            (["list", "pools"], "'pools' is not one of"),
            (["verify"], "Missing argument 'RUN'"),
            (["verify", "no-such-run"], "run 'no-such-run': no such run"),
            (["report", "no-such-run"], "run 'no-such-run': no such run"),
            (["replay", "no-such-cell"], "cell 'no-such-cell'"),
            (["replay", "x", "--times", "0"], "0 is not in the range"),
            ([], "Usage: poolproof"),
        ],
    )
    def test_it_is_refused(self, args: list[str], sentence: str, ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(args) == 2
        captured = capsys.readouterr()
        assert sentence in captured.err
        assert "Traceback" not in captured.err
        assert captured.out.splitlines()[-1].startswith("exit 2 ")
        assert ran.plan is None

    def test_a_plugin_with_a_fault_is_one_sentence(
        self, ran: Ran, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "mine.py").write_text(
            "from harness import PoolStrategy\n\nclass Mine(PoolStrategy):\n    name = 'm'\n"
        )
        assert main(["run", "--strategy", "mine.py:Mine"]) == 2
        error = capsys.readouterr().err
        assert error == f"error: {tmp_path}/mine.py, line 3: Mine lacks the method checkpointer\n"
        assert ran.plan is None

    def test_json_keeps_stdout_empty(self, ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["run", "network/stedy", "--json"]) == 2
        assert capsys.readouterr().out == ""


class TestWhatIsRaised:
    """Errors from below, and how they end."""

    def test_a_component(self, ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
        ran.error = MissingComponent("no Toxiproxy", "install Go")
        assert main(list(ONE)) == 4
        captured = capsys.readouterr()
        assert captured.err == "error: no Toxiproxy\nfix: install Go\n"
        assert captured.out.startswith("exit 4 ")

    def test_a_password_is_not_shown(self, ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
        ran.error = ComponentError("cannot reach password='se''cret' at postgresql://me:secret@host/db")
        assert main(list(ONE)) == 4
        assert "secret" not in capsys.readouterr().err

    def test_ctrl_c(self, ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
        ran.error = KeyboardInterrupt()
        assert main(list(ONE)) == 130
        assert capsys.readouterr().out == "exit 130 interrupted\n"

    def test_a_bug_of_ours_is_a_sentence_and_a_file(
        self, ran: Ran, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        ran.error = ZeroDivisionError("password=hunter2 leaks")
        assert main(list(ONE)) == 70
        captured = capsys.readouterr()
        assert captured.out == "exit 70 a bug of poolproof's own\n"
        assert "Traceback" not in captured.err
        (file,) = tmp_path.glob("poolproof-bug-*.txt")
        assert str(file) in captured.err
        text = file.read_text()
        assert "ZeroDivisionError" in text
        assert f"command poolproof {' '.join(ONE)}" in text
        assert "hunter2" not in text + captured.err


class TestList:
    """``poolproof list``."""

    @pytest.mark.parametrize("what", ["scenarios", "strategies", "agents", "faults"])
    def test_json_and_text_have_the_same_names(self, what: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["list", what, "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)
        assert main(["list", what]) == 0
        lines = capsys.readouterr().out.splitlines()
        key = "kind" if what == "faults" else "name"
        assert [line.split()[0] for line in lines] == [row[key] for row in rows]
        assert len(rows) == len(getattr(default_registry(), what)) > 0

    def test_everything_says_what_it_is_for(self, capsys: pytest.CaptureFixture[str]) -> None:
        for what in ("strategies", "agents", "faults"):
            main(["list", what, "--json"])
            assert all(row["summary"] for row in json.loads(capsys.readouterr().out))


class TestReplay:
    """``poolproof replay``: k of n, and the status of what came out."""

    @pytest.fixture
    def cell(self, ran: Ran, tmp_path: Path) -> str:
        """A stored cell that was a FAIL."""
        from harness.core.cell import CellSpec
        from harness.store import Run

        spec = CellSpec(
            id="network.steady-self_healing-async-5",
            scenario="network/steady",
            strategy="self_healing",
            seed=5,
            provenance=harness.campaign.gather_provenance(),
        )
        folder = Run.create(root=tmp_path / "reports").cell(spec.id)
        folder.write_spec(spec)
        folder.write_result(result_of(spec.id, spec.scenario, spec.strategy, Verdict.FAIL))
        return spec.id

    def test_the_cell_runs_again_as_it_was(self, cell: str, ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
        ran.verdicts = (Verdict.FAIL, Verdict.PASS, Verdict.FAIL)
        assert main(["replay", cell, "--times", "3"]) == 1
        assert ran.plan is not None
        assert {(c.scenario, c.strategy, c.seed) for c in ran.plan.cells} == {("network/steady", "self_healing", 5)}
        assert len({c.id for c in ran.plan.cells}) == 3
        assert capsys.readouterr().out.splitlines()[-1] == "exit 1 2 of 3 reproduced"

    @pytest.mark.parametrize(
        ("verdict", "status", "same"),
        [
            (Verdict.PASS, 0, 0),
            (Verdict.SLOW, 1, 0),
            (Verdict.INVALID, 3, 0),
            (Verdict.ERROR, 4, 0),
            (Verdict.FAIL, 1, 1),
        ],
    )
    def test_the_status_says_how_it_ended_now(
        self, verdict: Verdict, status: int, same: int, cell: str, ran: Ran, capsys: pytest.CaptureFixture[str]
    ) -> None:
        ran.verdicts = (verdict,)
        assert main(["replay", cell]) == status
        assert f"exit {status} {same} of 1 reproduced" in capsys.readouterr().out

    def test_another_broken_guarantee_is_not_a_reproduction(self) -> None:
        from harness.cli.replaying import same_end

        stored = result_of("c", "network/steady", "x", Verdict.FAIL)
        other = Finding(guarantee=Guarantee.ISOLATION, verdict=Verdict.FAIL, summary="")
        assert same_end(stored, stored)
        assert not same_end(stored, replace(stored, findings=(other,)))
        assert same_end(stored, replace(stored, findings=(other, *stored.findings)))


def _poolproof(*args: str, code: str = "", **options: object) -> subprocess.CompletedProcess[str]:
    start = code or "import sys; from harness.cli import main; sys.exit(main())"
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-c", start, *args],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


@pytest.mark.slow
class TestAsAProcess:
    """What only a process of its own can show."""

    def test_help_imports_nothing_heavy(self) -> None:
        code = (
            "import sys; from harness.cli import main; main(['--help']); main(['run', '--help'])\n"
            "heavy = {'langgraph', 'langchain_core', 'psycopg', 'rich', 'jinja2', 'pytest', 'asyncio', 'requests'}\n"
            "sys.exit(repr(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
        )
        done = _poolproof(code=code)
        assert done.returncode == 0, done.stderr
        assert "--require-all" in done.stdout

    def test_version(self) -> None:
        assert _poolproof("--version").stdout == "poolproof 0.1.0\n"

    @pytest.mark.parametrize(
        ("arguments", "status"), [(("list", "strategies"), 0), (("reproduce", "I-1"), 0), (("verify", "nowhere"), 2)]
    )
    def test_a_reader_that_goes_away_is_no_bug(self, arguments: tuple[str, ...], status: int) -> None:
        """It changes nothing in how the command ends: 1 would say that a candidate broke a guarantee."""
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from harness.cli import main; sys.exit(main())", *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
        os.close(write)
        assert "bug" not in done.stderr
        assert "Traceback" not in done.stderr
        assert done.returncode == status
