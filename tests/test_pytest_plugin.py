"""The pytest plug-in: what it collects, how verdicts become outcomes, and that it leaves other people's tests alone.

The slot is replaced here, except in the last test: what is tested is what pytest makes of a verdict.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness import pytest_cells
from harness.core.cell import CellSpec
from harness.core.errors import ComponentError, MissingComponent
from harness.core.record import CellResult
from harness.core.verdict import Finding, Guarantee, Json, Verdict
from harness.environments.cache import cache_root
from harness.registry import default_registry
from harness.rendering import html, junit, markdown, summary_json
from harness.store import CellFolder

pytest_plugins = ("pytester",)

CACHE = cache_root()
ROOT = Path(__file__).resolve().parent.parent

#: Ours, and none that would be imported anew for each session under test.
PLUGINS = ("-p", "harness.pytest_plugin", "-p", "no:hypothesispytest", "-p", "no:langsmith_plugin", "-p", "no:anyio")

SCENARIO = """
from harness import Scenario
from harness.workloads.closed_loop import ClosedLoop

CALM = Scenario(name="mine/calm", title="Calm", why="To see.", question=1, load=ClosedLoop(), baseline=True)
STORM = Scenario(name="mine/storm", title="Storm", why="To see.", question=1, load=ClosedLoop(), baseline=True)
"""

POOL = """
from harness.pools.per_agent_pool import PerAgentPool

class MyPool(PerAgentPool):
    name = "my_pool"
"""


class FakeSlot:
    """Answers each cell with what the test wants; counts what was started and closed."""

    def __init__(self) -> None:
        self.specs: list[CellSpec] = []
        self.started = self.closed = 0
        self.verdict = Verdict.PASS
        self.role = "candidate"
        self.expected: tuple[str, ...] = ()
        self.caught: tuple[str, ...] = ()
        self.start_error: Exception | None = None
        self.run_error: BaseException | None = None
        self.dead = False
        self.components: tuple[Mapping[str, Json], ...] = ()

    def start(self, environment: str, *, note: Callable[[str], None]) -> FakeSlot:
        self.started += 1
        if self.start_error is not None:
            raise self.start_error
        note("a stack is coming up")
        return self

    def run(self, spec: CellSpec, folder: CellFolder) -> CellResult:
        folder.write_spec(spec)
        self.specs.append(spec)
        if self.run_error is not None:
            raise self.run_error
        finding = Finding(guarantee=Guarantee.NO_POOL_CLOSED, verdict=self.verdict, summary="it was so")
        return CellResult(
            id=spec.id,
            scenario=spec.scenario,
            strategy=spec.strategy,
            agents=spec.agents,
            durability=spec.durability,
            seed=spec.seed,
            role=self.role,
            verdict=self.verdict,
            findings=(finding,),
            reason="because of the reason",
            expected=self.expected,
            caught=self.caught,
        )

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    """Import once what the sessions under test use: pytester forgets what was first imported inside one."""
    registry = default_registry()
    assert all((html, junit, markdown, summary_json))
    assert all((registry.strategies, registry.agents, registry.scenarios))


@pytest.fixture
def slot(monkeypatch: pytest.MonkeyPatch) -> FakeSlot:
    """The slot that the session under test gets."""
    slot = FakeSlot()
    monkeypatch.setattr(pytest_cells, "Slot", SimpleNamespace(start=slot.start))
    monkeypatch.delenv("CI", raising=False)
    return slot


@pytest.fixture
def run(pytester: pytest.Pytester) -> Callable[..., pytest.RunResult]:
    """Run pytest in this process, with the plug-in."""
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")

    def runner(*args: str) -> pytest.RunResult:
        return pytester.runpytest_inprocess(*PLUGINS, *args)

    return runner


def scenario_file(pytester: pytest.Pytester) -> Path:
    folder = pytester.mkdir("scenarios")
    path = folder / "mine.py"
    path.write_text(SCENARIO)
    return path


class TestCollection:
    """Cells as items."""

    def test_shipped_scenarios_are_collected_where_there_is_no_such_folder(
        self, run: Callable[..., pytest.RunResult], slot: FakeSlot
    ) -> None:
        result = run("scenarios", "-k", "reset_mid and per_agent", "-v")
        result.assert_outcomes(passed=1, deselected=result.parseoutcomes()["deselected"])
        result.stdout.fnmatch_lines(["*::network.reset_mid_turn-per_agent_pool-async-0 PASSED*"])

    def test_one_cell_by_its_node_id(self, run: Callable[..., pytest.RunResult], slot: FakeSlot) -> None:
        run("scenarios/network.py::network.steady-per_agent_pool-async-0").assert_outcomes(passed=1)
        assert [spec.scenario for spec in slot.specs] == ["network/steady"]

    def test_a_projects_own_scenarios_are_collected(
        self, pytester: pytest.Pytester, run: Callable[..., pytest.RunResult], slot: FakeSlot
    ) -> None:
        path = scenario_file(pytester)
        run("scenarios", "--poolproof-strategy", "per_agent_pool").assert_outcomes(passed=2)
        assert [spec.scenario for spec in slot.specs] == [f"{path}:CALM", f"{path}:STORM"]

    def test_options_reach_the_cells(
        self, pytester: pytest.Pytester, run: Callable[..., pytest.RunResult], slot: FakeSlot
    ) -> None:
        pytester.makepyfile(pool=POOL)
        scenario_file(pytester)
        options = "--poolproof-seed 7 --poolproof-durability sync --poolproof-environment local --poolproof-out here"
        strategies = ("--poolproof-strategy", "pool.py:MyPool", "--poolproof-strategy", "naive_recreate")
        run("scenarios", "-k", "calm", *options.split(), *strategies).assert_outcomes(passed=2, deselected=2)
        assert {(s.seed, s.durability, s.environment) for s in slot.specs} == {(7, "sync", "local")}
        assert {s.strategy for s in slot.specs} == {f"{pytester.path}/pool.py:MyPool", "naive_recreate"}
        assert (pytester.path / "here" / "report.html").is_file()

    def test_an_unknown_strategy_is_one_sentence(
        self, pytester: pytest.Pytester, run: Callable[..., pytest.RunResult], slot: FakeSlot
    ) -> None:
        scenario_file(pytester)
        result = run("scenarios", "--poolproof-strategy", "per_agent")
        result.stdout.fnmatch_lines(["unknown strategy 'per_agent': did you mean 'per_agent_pool'*"])
        result.stdout.no_fnmatch_line("*Traceback*")
        assert result.ret == pytest.ExitCode.INTERRUPTED
        assert slot.started == 0


class TestOtherPeoplesTests:
    """Installed beside a project that never heard of Poolproof."""

    def test_files_in_a_scenarios_folder_are_not_imported(
        self, pytester: pytest.Pytester, run: Callable[..., pytest.RunResult]
    ) -> None:
        folder = pytester.mkdir("scenarios")
        (folder / "theirs.py").write_text("raise SystemExit('imported')  # class Scenario\n")
        (folder / "harnessed.py").write_text("import harness_of_theirs  # Scenario\n")
        (folder / "latin.py").write_bytes(b"# Scenario \xe4\nimport harness\n")
        pytester.makepyfile("def test_theirs(): pass")
        run().assert_outcomes(passed=1)

    def test_scenarios_outside_such_a_folder_are_left_alone(
        self, pytester: pytest.Pytester, run: Callable[..., pytest.RunResult]
    ) -> None:
        pytester.makepyfile(mine=SCENARIO, test_theirs="def test_theirs(): pass")
        run().assert_outcomes(passed=1)

    def test_a_checkout_that_lies_below_a_folder_of_that_name_is_left_alone(
        self, pytester: pytest.Pytester, run: Callable[..., pytest.RunResult], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        project = pytester.mkdir("scenarios") / "project"
        project.mkdir()
        (project / "mine.py").write_text(SCENARIO)
        (project / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
        monkeypatch.chdir(project)
        assert run().ret == pytest.ExitCode.NO_TESTS_COLLECTED

    def test_nothing_is_started_or_printed_without_a_cell(
        self, pytester: pytest.Pytester, run: Callable[..., pytest.RunResult], slot: FakeSlot
    ) -> None:
        pytester.makepyfile("def test_theirs(): pass")
        run().stdout.no_fnmatch_line("*poolproof*report*")
        assert slot.started == 0
        assert not (pytester.path / "reports").exists()

    @pytest.mark.slow
    def test_the_plugin_imports_nothing_heavy(self) -> None:
        code = (
            "import sys, pytest; before = set(sys.modules); import harness.pytest_plugin\n"
            "new = sorted(name for name in set(sys.modules) - before if '.' not in name)\n"
            "sys.exit(repr(new) if new != ['harness'] else 0)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr


class TestOutcomes:
    """Verdict to outcome."""

    ARGS = ("scenarios/network.py::network.steady-per_agent_pool-async-0", "-rs")

    def test_pass(self, run: Callable[..., pytest.RunResult], slot: FakeSlot) -> None:
        run(*self.ARGS).assert_outcomes(passed=1)

    @pytest.mark.parametrize(
        ("verdict", "text"),
        [
            (Verdict.FAIL, "a guarantee is broken"),
            (Verdict.SLOW, "a bound of time was missed"),
            (Verdict.INVALID, "error: this cell proved nothing, so it is neither kept nor broken"),
            (Verdict.ERROR, "error: a component, not the strategy"),
        ],
    )
    def test_failed(self, verdict: Verdict, text: str, run: Callable[..., pytest.RunResult], slot: FakeSlot) -> None:
        slot.verdict = verdict
        result = run(*self.ARGS)
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            [
                f"per_agent_pool in network/steady is {verdict}: {text}",
                "  because of the reason",
                f"  no_pool_closed: {verdict}, it was so",
                "  again   poolproof replay reports/*/cells/network.steady-per_agent_pool-async-0",
                f"{verdict} network.steady-per_agent_pool-async-0: poolproof replay reports/*",
                "report reports/*/report.html",
            ]
        )

    def test_skip_shows_the_reason(self, run: Callable[..., pytest.RunResult], slot: FakeSlot) -> None:
        slot.verdict = Verdict.SKIP
        result = run(*self.ARGS)
        result.assert_outcomes(skipped=1)
        result.stdout.fnmatch_lines(["SKIPPED*because of the reason"])

    def test_in_ci_a_skip_is_a_failure(
        self, run: Callable[..., pytest.RunResult], slot: FakeSlot, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CI", "true")
        slot.verdict = Verdict.SKIP
        run(*self.ARGS).assert_outcomes(failed=1)

    @pytest.mark.parametrize(
        ("expected", "caught", "verdict", "outcome"),
        [
            (("no_pool_closed",), ("no_pool_closed",), Verdict.FAIL, "passed"),
            (("no_pool_closed",), (), Verdict.PASS, "failed"),
            (("no_pool_closed", "recovers"), ("no_pool_closed",), Verdict.FAIL, "failed"),
            ((), (), Verdict.FAIL, "passed"),
            ((), (), Verdict.ERROR, "failed"),
        ],
    )
    def test_a_control_passes_when_it_is_caught(
        self,
        expected: tuple[str, ...],
        caught: tuple[str, ...],
        verdict: Verdict,
        outcome: str,
        run: Callable[..., pytest.RunResult],
        slot: FakeSlot,
    ) -> None:
        slot.role, slot.expected, slot.caught, slot.verdict = "control", expected, caught, verdict
        result = run(*self.ARGS)
        assert result.parseoutcomes() == {outcome: 1}
        if outcome == "failed":
            result.stdout.fnmatch_lines(["*this control was not caught breaking *"])


class TestTheSlot:
    """One for the session, whatever happens."""

    def test_it_starts_once_and_ends(
        self, pytester: pytest.Pytester, run: Callable[..., pytest.RunResult], slot: FakeSlot
    ) -> None:
        scenario_file(pytester)
        result = run("scenarios", "--poolproof-strategy", "per_agent_pool")
        result.assert_outcomes(passed=2)
        result.stdout.fnmatch_lines(["poolproof: a stack is coming up"])
        assert (slot.started, slot.closed) == (1, 1)

    def test_it_ends_when_the_user_interrupts(
        self, pytester: pytest.Pytester, run: Callable[..., pytest.RunResult], slot: FakeSlot
    ) -> None:
        scenario_file(pytester)
        slot.run_error = KeyboardInterrupt()
        args = ("scenarios", "--poolproof-strategy", "per_agent_pool")
        assert pytester.inline_run(*PLUGINS, *args, no_reraise_ctrlc=True).ret == pytest.ExitCode.INTERRUPTED
        assert (slot.started, slot.closed) == (1, 1)

    def test_a_dead_one_is_replaced(
        self, pytester: pytest.Pytester, run: Callable[..., pytest.RunResult], slot: FakeSlot
    ) -> None:
        scenario_file(pytester)
        slot.dead = True
        run("scenarios", "--poolproof-strategy", "per_agent_pool").assert_outcomes(passed=2)
        assert (slot.started, slot.closed) == (2, 2)

    def test_one_that_will_not_start_is_tried_once(
        self, pytester: pytest.Pytester, run: Callable[..., pytest.RunResult], slot: FakeSlot
    ) -> None:
        scenario_file(pytester)
        slot.start_error = ComponentError("Postgres would not start")
        result = run("scenarios", "--poolproof-strategy", "per_agent_pool")
        result.assert_outcomes(failed=2)
        result.stdout.fnmatch_lines(["Postgres would not start"])
        assert slot.started == 1

    def test_a_missing_component_skips(
        self, pytester: pytest.Pytester, run: Callable[..., pytest.RunResult], slot: FakeSlot
    ) -> None:
        scenario_file(pytester)
        slot.start_error = MissingComponent("no Toxiproxy", "install Go")
        result = run("scenarios", "-rs", "--poolproof-strategy", "per_agent_pool")
        result.assert_outcomes(skipped=2)
        result.stdout.fnmatch_lines(["SKIPPED*no Toxiproxy; install Go"])


class TestTheFixture:
    """``poolproof_run``."""

    def test_a_class_of_the_test_file_becomes_a_reference(
        self, pytester: pytest.Pytester, run: Callable[..., pytest.RunResult], slot: FakeSlot
    ) -> None:
        path = pytester.makepyfile(
            POOL + "\ndef test_mine(poolproof_run):\n"
            "    outcome = poolproof_run('network/steady', strategy=MyPool, seed=3, durability='exit')\n"
            "    outcome.expect_pass()\n"
            "    assert outcome.verdict == 'PASS'\n"
            "    assert outcome.result.seed == 3\n"
        )
        run().assert_outcomes(passed=1)
        (spec,) = slot.specs
        assert (spec.strategy, spec.seed, spec.durability) == (f"{path}:MyPool", 3, "exit")

    def test_names_and_agents_are_taken_too(
        self, pytester: pytest.Pytester, run: Callable[..., pytest.RunResult], slot: FakeSlot
    ) -> None:
        pytester.makepyfile(
            "from harness.pools.self_healing import SelfHealing\n"
            "def test_mine(poolproof_run):\n"
            "    poolproof_run('network/steady', strategy=SelfHealing, agents='SupervisorAgent').expect_pass()\n"
            "    poolproof_run('network/steady', strategy='per_agent_pool').expect_pass()\n"
            "    poolproof_run('network/steady', strategy='per_agent_pool').expect_pass()\n"
        )
        run().assert_outcomes(passed=1)
        assert [spec.strategy for spec in slot.specs] == ["self_healing", "per_agent_pool", "per_agent_pool"]
        assert slot.specs[0].agents == ("SupervisorAgent",)
        assert len({spec.id for spec in slot.specs}) == 3

    def test_what_is_misconfigured_is_told_at_the_end(
        self, pytester: pytest.Pytester, run: Callable[..., pytest.RunResult], slot: FakeSlot
    ) -> None:
        pytester.makepyfile(
            POOL + "\n    async def checkpointer(self, agent):\n        return self.shared\n"
            "\n    async def open(self):\n        self.shared = make_saver()\n"
            "\ndef test_mine(poolproof_run):\n    poolproof_run('network/steady', strategy=MyPool).expect_pass()\n"
        )
        result = run()
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["lint *return self.shared: agents share one saver*(I-13, I-14); poolproof lint *"])

    @pytest.mark.parametrize(
        ("verdict", "call", "outcome", "text"),
        [
            (Verdict.FAIL, "expect_fail('no_pool_closed')", "passed", None),
            (Verdict.PASS, "expect_fail('no_pool_closed')", "failed", "*expected no_pool_closed to be broken*"),
            (Verdict.INVALID, "expect_fail('no_pool_closed')", "failed", "*expected no_pool_closed to be broken*"),
            (Verdict.FAIL, "expect_fail('isolation')", "failed", "*expected isolation to be broken*"),
            (Verdict.FAIL, "expect_fail('speed')", "failed", "*guarantee is 'speed'; allowed: no_pool_closed, *"),
            (Verdict.FAIL, "expect_pass()", "failed", "*again   poolproof replay reports/*"),
            (Verdict.SKIP, "expect_pass()", "skipped", None),
            (Verdict.SKIP, "expect_fail('isolation')", "skipped", None),
        ],
    )
    def test_expectations(
        self,
        verdict: Verdict,
        call: str,
        outcome: str,
        text: str | None,
        pytester: pytest.Pytester,
        run: Callable[..., pytest.RunResult],
        slot: FakeSlot,
    ) -> None:
        slot.verdict = verdict
        pytester.makepyfile(
            f"def test_it(poolproof_run):\n    poolproof_run('network/steady', strategy='per_agent_pool').{call}\n"
        )
        result = run()
        assert result.parseoutcomes() == {outcome: 1}
        if text is not None:
            result.stdout.fnmatch_lines([text])

    @pytest.mark.parametrize(
        ("call", "sentence"),
        [
            ("strategy=Local", "*Local is not at the top level of its file, so that another process cannot find it;*"),
            ("strategy=object()", "*has no name; write path/to/file.py:Name for it*"),
            ("strategy='per_agent'", "*did you mean 'per_agent_pool'*"),
            ("strategy='per_agent_pool', durability='never'", "*durability is 'never'; allowed: async, sync, exit*"),
        ],
    )
    def test_what_cannot_be_run_is_one_sentence(
        self, call: str, sentence: str, pytester: pytest.Pytester, run: Callable[..., pytest.RunResult], slot: FakeSlot
    ) -> None:
        pytester.makepyfile(
            f"def test_it(poolproof_run):\n    class Local: pass\n    poolproof_run('network/steady', {call})\n"
        )
        result = run()
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines([sentence])
        result.stdout.no_fnmatch_line("*def _spec*")
        assert slot.started == 0


@pytest.mark.slow
def test_a_users_own_strategy_on_real_components(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile(
        POOL + "\ndef test_mine(poolproof_run):\n    poolproof_run('network/steady', strategy=MyPool).expect_pass()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("POOLPROOF_CACHE", str(CACHE))  # pytester's HOME is empty: it would build Toxiproxy anew
    result = pytester.runpytest_subprocess("-p", "harness.pytest_plugin", timeout=300)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["report reports/*/report.html"])
