"""Cells as tests: ``pytest scenarios -k "reset and per_agent"``, and the fixture ``poolproof_run`` for tests of yours.

Loaded into every pytest run where Poolproof is installed, so it imports nothing heavy, and of a project's files it
reads only those that lie in a folder named ``scenarios`` and import ``harness``. One slot (Postgres, Toxiproxy) serves
the whole session; it starts with the first cell and ends with the session.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness.core.cell import CellSpec
    from harness.pytest_cells import Cells, PoolproofRun

_FOLDER = "scenarios"
_HEADING = "poolproof"
_CELLS = pytest.StashKey["Cells"]()
_IMPORTS_HARNESS = re.compile(r"^\s*(from|import)\s+harness\b", re.MULTILINE)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The same choices as on Poolproof's own command line."""
    group = parser.getgroup(_HEADING, "pool strategies under real faults (poolproof)")
    group.addoption("--poolproof-environment", choices=("auto", "local", "containers"), default="auto")
    group.addoption("--poolproof-seed", type=int, default=0, metavar="N", help="default: 0")
    group.addoption("--poolproof-durability", choices=("async", "sync", "exit"), default="async")
    group.addoption(
        "--poolproof-strategy", action="append", default=[], metavar="NAME|file.py:Class", help="may be repeated"
    )
    group.addoption("--poolproof-out", default=None, metavar="DIR", help="default: a new folder under reports/")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Installed from a checkout, our scenarios lie beside a conftest.py of ours: --pyargs allows for that."""
    named = early_config.known_args_namespace
    if any(_installed(arg, early_config.invocation_params.dir) != arg for arg in named.file_or_dir):
        named.pyargs = True


def pytest_configure(config: pytest.Config) -> None:
    """Let ``pytest scenarios`` mean the installed ones where the project has no such folder."""
    config.addinivalue_line("markers", "poolproof: a cell of a chaos scenario, collected from a scenarios folder")
    config.args[:] = [_installed(arg, config.invocation_params.dir) for arg in config.args]


def _installed(arg: str, here: Path) -> str:
    first, *_ = re.split(r"[/:]", arg, maxsplit=1)
    if first != _FOLDER or (here / first).exists():
        return arg
    return str(Path(__file__).resolve().parent.parent / arg)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A file of scenarios; anything else is left alone, and is not imported."""
    if file_path.suffix != ".py" or not _in_scenarios(file_path, parent.config.rootpath):
        return None
    try:
        text = file_path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    if "Scenario" not in text or not _IMPORTS_HARNESS.search(text):
        return None
    collector: pytest.Collector = ScenarioFile.from_parent(parent, path=file_path)
    return collector


def _in_scenarios(path: Path, root: Path) -> bool:
    own = Path(__file__).resolve().parent.parent
    base = root if path.is_relative_to(root) else own
    return path.is_relative_to(base) and _FOLDER in path.relative_to(base).parts[:-1]


class ScenarioFile(pytest.File):
    """A file with module-level Scenario values: one test per scenario and strategy, named by the cell's id."""

    def collect(self) -> Iterable[pytest.Item]:
        """The cells that the options select."""
        from harness.core.errors import UsageError
        from harness.pytest_cells import specs_of

        try:
            for spec in specs_of(self.path, self.config, named=self._is_named()):
                yield CellItem.from_parent(self, name=spec.id, spec=spec)
        except UsageError as error:
            raise self.CollectError(str(error)) from None

    def _is_named(self) -> bool:
        """True if the user named this file, or the folder of its family below ``scenarios``."""
        folder = self.path.parent
        return self.session.isinitpath(self.path) or (folder.name != "scenarios" and self.session.isinitpath(folder))


class CellItem(pytest.Item):
    """One cell as a test."""

    def __init__(self, *, spec: CellSpec, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec = spec
        self.add_marker(pytest.mark.poolproof)

    def runtest(self) -> None:
        """Run the cell; fail, skip or pass by its verdict."""
        outcome = _cells(self.config).run(self.spec)
        self.user_properties.append(("seed", self.spec.seed))
        self.user_properties.append(("replay", outcome.replay))
        outcome.expect_as_it_should_be()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any, **kwargs: Any) -> Any:
        """What the cell did, not where in the plug-in that was noticed."""
        from harness.core.errors import PoolproofError

        if isinstance(excinfo.value, AssertionError | PoolproofError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, *args, **kwargs)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where the scenario stands, and the cell's id."""
        return self.path, None, f"cell {self.name}"


@pytest.fixture
def poolproof_run(request: pytest.FixtureRequest) -> PoolproofRun:
    """Run one cell: ``poolproof_run("network/reset_mid_turn", strategy=MyPool).expect_pass()``.

    ``strategy`` and ``agents`` take a name, ``file.py:Name``, or a class that stands at the top level of a file. The
    outcome has ``result``, ``verdict``, ``expect_pass()`` and ``expect_fail(guarantee)``.
    """
    from harness.pytest_cells import PoolproofRun

    return PoolproofRun(_cells(request.config), request.config)


def _cells(config: pytest.Config) -> Cells:
    from harness.pytest_cells import Cells

    return config.stash.setdefault(_CELLS, Cells(config))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the slot, and write the reports of what ran."""
    cells = session.config.stash.get(_CELLS, None)
    if cells is not None:
        cells.close()


def pytest_unconfigure(config: pytest.Config) -> None:
    """The slot ends even if the session never finished properly."""
    cells = config.stash.get(_CELLS, None)
    if cells is not None:
        cells.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Where the report is, and how to run again what failed."""
    cells = config.stash.get(_CELLS, None)
    lines: Iterator[str] = iter(()) if cells is None else cells.last_words()
    for number, line in enumerate(lines):
        if number == 0:
            terminalreporter.section(_HEADING)
        terminalreporter.write_line(line)
