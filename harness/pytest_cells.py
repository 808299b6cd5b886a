"""Runs the cells of one pytest session: the slot, the folder, and what a test may expect of a cell.

Imported by the plug-in with the first cell, so that a pytest run without one pays nothing.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import pytest

from harness.campaign import gather_provenance
from harness.core.cell import CellSpec
from harness.core.errors import ComponentError, MissingComponent, PoolproofError, UsageError
from harness.core.record import CellResult, ScenarioInfo
from harness.core.verdict import Guarantee, Json, Verdict
from harness.lint.warning import warnings
from harness.plugins import load_file
from harness.registry import SCENARIOS, Registry, default_registry, is_own, scenarios_in
from harness.rendering import render_all
from harness.selection import Wish, ci_requires_all, select
from harness.slot import Slot
from harness.store import Run, RunRecord, write_reports
from harness.summary import summarize_record

#: How each verdict of a candidate that is not PASS reads in a test's failure.
_MEANING = {
    Verdict.FAIL: "a guarantee is broken",
    Verdict.SLOW: "a bound of time was missed",
    Verdict.INVALID: "error: this cell proved nothing, so it is neither kept nor broken",
    Verdict.ERROR: "error: a component, not the strategy",
    Verdict.SKIP: "a component is missing here, and CI requires all",
}


@dataclass(frozen=True, slots=True)
class CellOutcome:
    """A cell that ran: what came out, and what a test may demand of it. ``folder`` holds its records."""

    result: CellResult
    folder: Path

    @property
    def verdict(self) -> Verdict:
        """The cell's verdict."""
        return self.result.verdict

    @property
    def replay(self) -> str:
        """The command that runs this cell again."""
        return f"poolproof replay {shlex.quote(_shown(self.folder))}"

    def expect_pass(self) -> None:
        """Raise AssertionError unless every guarantee was kept; skip the test if a component is missing."""
        __tracebackhide__ = True
        self._skip_if_missing()
        if self.verdict is not Verdict.PASS:
            raise AssertionError(self._text(_MEANING[self.verdict]))

    def expect_fail(self, guarantee: Guarantee | str) -> None:
        """Raise AssertionError unless ``guarantee`` was broken; skip the test if a component is missing."""
        __tracebackhide__ = True
        try:
            wanted = Guarantee(guarantee)
        except ValueError:
            raise UsageError(f"guarantee is {guarantee!r}; allowed: {', '.join(Guarantee)}") from None
        self._skip_if_missing()
        if wanted not in self._broken():
            raise AssertionError(self._text(f"expected {wanted} to be broken"))

    def expect_as_it_should_be(self) -> None:
        """A candidate must keep everything; a control must be caught wherever it has to be."""
        __tracebackhide__ = True
        if self.result.role != "control":
            self.expect_pass()
            return
        self._skip_if_missing()
        if not self.result.as_it_should_be:
            missed = ", ".join(sorted(set(self.result.expected) - set(self.result.caught)))
            raise AssertionError(self._text(f"this control was not caught breaking {missed or 'anything'}"))

    def _broken(self) -> set[Guarantee]:
        return {finding.guarantee for finding in self.result.findings if finding.verdict is Verdict.FAIL}

    def _skip_if_missing(self) -> None:
        if self.verdict is Verdict.SKIP and not ci_requires_all():
            pytest.skip(self.result.reason)

    def _text(self, heading: str) -> str:
        result = self.result
        rows = [
            f"  {finding.guarantee}: {finding.verdict}, {finding.summary}"
            for finding in result.findings
            if finding.verdict not in (Verdict.PASS, Verdict.SKIP)
        ]
        return "\n".join(
            [
                f"{result.strategy} in {result.scenario} is {result.verdict}: {heading}",
                *([f"  {result.reason}"] if result.reason else []),
                *rows,
                f"  records {_shown(self.folder)}",
                f"  again   {self.replay}",
            ]
        )


class Cells:
    """The slot and the run's folder of one session. Both come with the first cell."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._slot: Slot | None = None
        self._failed: PoolproofError | None = None
        self._run: Run | None = None
        self._started = ""
        self._outcomes: list[CellOutcome] = []
        self._specs: list[CellSpec] = []
        self._report_problem = ""
        self._closed = False

    def run(self, spec: CellSpec) -> CellOutcome:
        """Run one cell, bounded; a stack that cannot be had is tried once and remembered."""
        run = self._folder()
        ran = sum(before.id == spec.id or before.id.startswith(f"{spec.id}.again") for before in self._specs)
        if ran:
            spec = dataclasses.replace(spec, id=f"{spec.id}.again{ran}")
        spec = dataclasses.replace(spec, provenance=self._provenance)
        folder = run.cell(spec.id)
        slot = self._ready_slot(spec.environment)
        try:
            result = slot.run(spec, folder)
        except BaseException:
            # Ctrl-C or a timeout of the user's: that cell still runs, so the slot is of no more use.
            self._slot = None
            slot.close()
            raise
        folder.write_result(result)
        outcome = CellOutcome(result, folder.path)
        self._specs.append(spec)
        self._outcomes.append(outcome)
        return outcome

    @cached_property
    def _provenance(self) -> dict[str, Json]:
        return gather_provenance()

    @cached_property
    def _warnings(self) -> tuple[str, ...]:
        """At the end, when every strategy is known."""
        return warnings(self._specs)

    def _folder(self) -> Run:
        if self._run is None:
            out = self._config.getoption("--poolproof-out")
            worker = os.environ.get("PYTEST_XDIST_WORKER", "")
            place = Path(out) / worker if out and worker else Path(out) if out else None
            self._run = Run.create(out=place)
            self._started = datetime.now(UTC).isoformat(timespec="seconds")
        return self._run

    def _ready_slot(self, environment: str) -> Slot:
        if self._failed is not None:
            raise self._failed
        if self._slot is not None and self._slot.dead:
            self._slot.close()
            self._slot = None
        if self._slot is None:
            try:
                self._slot = Slot.start(environment, note=self._say)
            except MissingComponent as error:
                if not ci_requires_all():
                    pytest.skip(f"{error}; {error.fix}")
                self._failed = ComponentError(f"{error}; {error.fix}")
                raise self._failed from error
            except ComponentError as error:
                self._failed = error
                raise
        return self._slot

    def _say(self, text: str) -> None:
        """What a slot says while it comes up: the first one of a machine may have to build Toxiproxy."""
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        capture = self._config.pluginmanager.getplugin("capturemanager")
        if reporter is not None and capture is not None:
            with capture.global_and_fixture_disabled():
                reporter.ensure_newline()
                reporter.write_line(f"poolproof: {text}")

    def close(self) -> None:
        """End the slot and write the run's reports; once closed, closing again does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._slot is not None:
            self._slot.close()
        if self._outcomes:
            try:
                self._write_reports()
            except PoolproofError as error:
                self._report_problem = str(error)

    def _write_reports(self) -> None:
        registry = default_registry()
        names = dict.fromkeys(spec.scenario for spec in self._specs)
        scenarios = [registry.scenario(name) for name in names]
        record = RunRecord(
            started=self._started,
            planned=len(self._outcomes),
            command=shlex.join(["pytest", *map(str, self._config.invocation_params.args)]),
            scenarios=tuple(
                ScenarioInfo(name=s.name, title=s.heading, why=s.why, question=s.question) for s in scenarios
            ),
            notes=self._warnings,
            components=self._slot.components if self._slot is not None else (),
            provenance=self._provenance,
            wall_s=round(sum(outcome.result.wall_s for outcome in self._outcomes), 3),
        )
        run = self._folder()
        run.release_reserve()
        run.write_record(record)
        results = [outcome.result for outcome in self._outcomes]
        write_reports(run.folder, render_all(summarize_record(record, results)))

    def last_words(self) -> Iterator[str]:
        """For the end of pytest's output: what is misconfigured, what failed, and where the report is."""
        yield from self._warnings
        for outcome in self._outcomes:
            if not outcome.result.as_it_should_be and outcome.verdict is not Verdict.SKIP:
                yield f"{outcome.verdict} {outcome.result.id}: {outcome.replay}"
        if self._report_problem:
            yield f"no report: {self._report_problem}"
        elif self._outcomes:
            yield f"report {_shown(self._folder().folder / 'report.html')}"


@dataclass(frozen=True, slots=True)
class PoolproofRun:
    """The fixture ``poolproof_run``."""

    cells: Cells
    config: pytest.Config

    def __call__(
        self,
        scenario: str,
        *,
        strategy: str | type,
        agents: str | type | Callable[..., object] | Sequence[str | type] = (),
        seed: int | None = None,
        durability: str | None = None,
    ) -> CellOutcome:
        """Run one cell. Raises UsageError, before anything starts, for what cannot be found or used."""
        __tracebackhide__ = True
        try:
            spec = self._spec(scenario, strategy, agents, seed, durability)
        except UsageError as error:
            raise UsageError(str(error)) from None  # the user's line and the sentence, not our search
        return self.cells.run(spec)

    def _spec(
        self,
        scenario: str,
        strategy: str | type,
        agents: str | type | Callable[..., object] | Sequence[str | type],
        seed: int | None,
        durability: str | None,
    ) -> CellSpec:
        registry = default_registry()
        several = agents if isinstance(agents, Sequence) and not isinstance(agents, str) else (agents,)
        found = registry.scenario_references(scenario)
        if len(found) != 1:
            raise UsageError(f"scenario {scenario!r} stands for {len(found)} scenarios; name one of {', '.join(found)}")
        wish = Wish(
            scenarios=found,
            strategies=(reference_of(strategy, registry.strategies),),
            agents=tuple(reference_of(agent, registry.agents) for agent in several),
            durability=durability or self.config.getoption("--poolproof-durability"),
            seed=self.config.getoption("--poolproof-seed") if seed is None else seed,
            environment=self.config.getoption("--poolproof-environment"),
        )
        (spec,) = select(registry, wish, sentinels=False).cells
        return spec


def specs_of(path: Path, config: pytest.Config, *, named: bool) -> tuple[CellSpec, ...]:
    """The cells of one file of scenarios under the strategies that the options name, or else the scenarios' own.

    Those that run on request are left out unless the file was ``named``. May raise UsageError.
    """
    registry = default_registry()
    references = _references(registry, path.resolve())
    if not references:
        return ()
    wish = Wish(
        scenarios=references,
        strategies=config.getoption("--poolproof-strategy"),
        durability=config.getoption("--poolproof-durability"),
        seed=config.getoption("--poolproof-seed"),
        environment=config.getoption("--poolproof-environment"),
        picked=named,
    )
    return select(registry, wish, sentinels=False).cells


def _references(registry: Registry, path: Path) -> tuple[str, ...]:
    known = registry.scenarios  # first, so that a file of our own is loaded under its own name
    found = scenarios_in(load_file(path))
    if is_own(path, SCENARIOS):
        return tuple(scenario.name for _, scenario in found if known.get(scenario.name) is scenario)
    return tuple(f"{path}:{attribute}" for attribute, _ in found)


def reference_of(value: object, known: object) -> str:
    """What another process finds ``value`` by: a name stays a name, a class or function becomes ``file.py:Name``."""
    if isinstance(value, str):
        return value
    name, module = getattr(value, "__qualname__", None), getattr(value, "__module__", None)
    if name is None or module is None:
        raise UsageError(f"{value!r} has no name; write path/to/file.py:Name for it")
    shipped = getattr(value, "name", None)
    if isinstance(known, dict) and isinstance(shipped, str) and known.get(shipped) is value:
        return shipped
    if "." in name or getattr(sys.modules.get(module), name, None) is not value:
        raise UsageError(
            f"{name} is not at the top level of its file, so that another process cannot find it; "
            f"move it to the top level of {sys.modules[module].__file__ if module in sys.modules else module}"
        )
    file = inspect.getsourcefile(value)  # type: ignore[arg-type]
    if file is None:
        raise UsageError(f"{name} stands in no file, so that another process cannot find it")
    return f"{Path(file).resolve()}:{name}"


def _shown(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
