"""House rules as tests: what a reader may rely on in every file, with what to write instead in each message."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ("harness", "scenarios", "agents_under_test")

FUNCTION_LINES = 70
FILE_LINES = 600

#: The only places that may write to the user's terminal.
MAY_PRINT = (
    "harness/cli/",
    "harness/rendering/terminal.py",
    "scenarios/incidents/reproducers/",
    "harness/progress.py",
    "harness/slot_start.py",
    "harness/slot_process.py",
    "harness/bench.py",
    "harness/bench_judge.py",
)
#: What belongs on the loop's clock: see ``core/environment.py``.
NO_WALL_CLOCK = ("harness/pools/", "agents_under_test/", "harness/checkers/", "harness/workloads/", "harness/core/")
#: Where a run's date is wanted, and not a duration.
MAY_KNOW_THE_DATE = ("harness/store.py", "harness/campaign.py", "harness/pytest_cells.py")


def files(*tops: str) -> list[Path]:
    """Every Python file under ``tops``."""
    return sorted(path for top in tops for path in (ROOT / top).rglob("*.py"))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def place(path: Path, node: ast.AST | None = None) -> str:
    line = f":{node.lineno}" if node is not None and hasattr(node, "lineno") else ""
    return f"{path.relative_to(ROOT)}{line}"


def is_under(path: Path, places: tuple[str, ...]) -> bool:
    return str(path.relative_to(ROOT)).startswith(places)


def calls(path: Path) -> Iterator[tuple[ast.Call, str]]:
    """Every call with its dotted name: ``time.sleep``, ``print``."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def test_functions_are_short() -> None:
    found = [
        f"{place(path, node)} {node.name} has {length} lines"
        for path in files(*SHIPPED, "tests")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    ]
    assert not found, f"split them, {FUNCTION_LINES} lines are the limit: {found}"


def test_files_are_short() -> None:
    lengths = {place(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files(*SHIPPED, "tests")}
    found = {name: length for name, length in lengths.items() if length > FILE_LINES}
    assert not found, f"split them, {FILE_LINES} lines are the limit: {found}"


def test_every_file_says_what_it_is_for() -> None:
    found = [
        place(path)
        for path in files(*SHIPPED, "tests")
        if path.read_text(encoding="utf-8").strip() and not ast.get_docstring(tree_of(path))
    ]
    assert not found, f"begin with a docstring whose first paragraph says what the file is for: {found}"


def test_nothing_under_test_reads_the_wall_clock() -> None:
    found = [
        f"{place(path, node)} {name}"
        for path in files(*SHIPPED)
        if is_under(path, NO_WALL_CLOCK)
        for node, name in calls(path)
        if name.startswith("time.")
    ]
    assert not found, f"use asyncio.sleep and the loop's clock: {found}"


def test_only_a_few_places_print() -> None:
    found = [
        place(path, node)
        for path in files(*SHIPPED)
        if not is_under(path, MAY_PRINT)
        for node, name in calls(path)
        if name in ("print", "sys.stdout.write", "sys.stderr.write", "click.echo")
        if not any(node in ast.walk(main) for main in _mains(path))
    ]
    assert not found, f"return the text, or hand it to the note callback: {found}"


def _mains(path: Path) -> list[ast.FunctionDef]:
    """``main`` of a module that is run with ``python -m``."""
    return [node for node in tree_of(path).body if isinstance(node, ast.FunctionDef) and node.name == "main"]


def test_every_random_choice_comes_from_the_seed() -> None:
    found = [
        f"{place(path, node)} {name}"
        for path in files(*SHIPPED)
        for node, name in calls(path)
        if name.startswith("random.") and not name.startswith("random.Random(")
        if name != "random.Random" or not (node.args or node.keywords)
    ]
    assert not found, f"draw from a random.Random(seed) that was handed in: {found}"


def test_the_date_is_asked_for_in_few_places() -> None:
    found = [
        place(path, node)
        for path in files(*SHIPPED)
        if not is_under(path, MAY_KNOW_THE_DATE)
        for node, name in calls(path)
        if name.endswith(("datetime.now", "datetime.utcnow", "date.today", "datetime.today"))
    ]
    assert not found, f"use the cell's clock: {found}"


def test_no_error_is_swallowed() -> None:
    found = [
        place(path, node)
        for path in files(*SHIPPED, "tests")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException"))
        and all(isinstance(statement, ast.Pass | ast.Continue) for statement in node.body)
    ]
    assert not found, f"name the exceptions, and say why they do not matter: {found}"


def test_no_test_is_retried_until_it_is_green() -> None:
    found = [
        place(path)
        for path in files("tests")
        for word in ("flaky", "rerunfailures")
        if f"mark.{word}" in path.read_text()
    ]
    assert not found


def test_no_test_is_without_an_assertion() -> None:
    functions = [
        (path, node)
        for path in files("tests")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    asserting = set(_ASSERTING)
    while True:  # a helper that asserts makes what calls it assert
        more = {node.name for _, node in functions if _asserts(node, asserting)} - asserting
        if not more:
            break
        asserting |= more
    tests = [(path, node) for path, node in functions if node.name.startswith("test_")]
    found = [f"{place(path, node)} {node.name}" for path, node in tests if node.name not in asserting | _MUST_NOT_RAISE]
    assert tests
    assert not found, f"a test that cannot fail is no test: {found}"


#: Calls that fail a test by themselves.
_ASSERTING = ("raises", "fail", "fnmatch_lines", "no_fnmatch_line", "assert_outcomes", "assert_never", "validate")
#: Tests of things whose whole promise is to raise nothing.
_MUST_NOT_RAISE = {"test_a_hard_timeout_begins_when_it_is_told_to_and_forgets_its_timer"}


def _asserts(function: ast.AST, asserting: set[str]) -> bool:
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in asserting:
            return True
    return False


def test_no_file_names_a_place_on_one_machine() -> None:
    own = str(Path.home()) if str(Path.home()) != "/" else "/root"
    words = (f"{own}/", str(ROOT) + "/")
    texts = [
        *files(*SHIPPED, "tests"),
        *ROOT.glob("*.md"),
        *ROOT.glob("*.py"),
        *(ROOT / "docs").rglob("*"),
        ROOT / ".ci" / "run",
    ]
    found = [f"{place(p)}: {w}" for p in texts if p.is_file() for w in words if w in p.read_text(encoding="utf-8")]
    assert not found, f"no path of one machine belongs into the repository: {found}"


def test_scenarios_and_agents_import_their_neighbours_relatively() -> None:
    """So that they load even where a user's project has a folder of the same name."""
    found = [
        place(path, node)
        for path in files("scenarios")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "scenarios"
    ]
    assert not found, f"write from .neighbour import name: {found}"


def test_what_a_team_copies_stands_alone() -> None:
    """These files of ``pools/`` go into other people's services, side by side: they import each other relatively."""
    copied = {"deadline", "finish_turn", "nothing_lost", "uncancelled", "writable"}
    allowed = {*sys.stdlib_module_names, "psycopg", "psycopg_pool", "langgraph", "langchain_core", "__future__"}
    for name in copied:
        path = ROOT / "harness" / "pools" / f"{name}.py"
        tops = {top.split(".")[0] for top in _imports(path)}
        assert tops <= allowed, f"{place(path)} imports {sorted(tops - allowed)}"
        beside = {node.module for node in ast.walk(tree_of(path)) if isinstance(node, ast.ImportFrom) and node.level}
        assert beside <= copied, f"{place(path)} imports {sorted(map(str, beside - copied))}"


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


@pytest.mark.slow
def test_arrows_of_import_go_down_only() -> None:
    linter = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    assert linter is not None, "import-linter is not installed: pip install -e .[dev]"
    done = subprocess.run(
        [linter, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
