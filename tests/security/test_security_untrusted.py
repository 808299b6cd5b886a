"""Stored bytes build no objects: no pickle anywhere, strict msgpack in every process that we start; nothing is
truncated anywhere.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.core.cell import CellSpec
from harness.core.verdict import Verdict
from harness.slot import Slot
from harness.store import CellFolder

ROOT = Path(__file__).resolve().parent.parent.parent
SHIPPED = ("harness", "scenarios", "agents_under_test")
#: Modules whose loaders run what the bytes name, or that send such bytes by themselves.
_UNSAFE = frozenset(
    {
        *("pickle", "_pickle", "cPickle", "pickletools", "dill", "cloudpickle", "joblib", "shelve", "marshal"),
        *("jsonpickle", "yaml", "multiprocessing"),
    }
)
_UNSAFE_CALLS = ("eval", "exec", "compile", "os.system", "os.popen", "yaml.load", "numpy.load", "pandas.read_pickle")
_UNSAFE_ARGUMENTS = ("pickle_fallback", "allow_pickle", "shell")


def trees() -> list[tuple[Path, ast.Module]]:
    paths = sorted(path for top in SHIPPED for path in (ROOT / top).rglob("*.py"))
    assert len(paths) > 100
    return [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in paths]


def unsafe_in(tree: ast.Module) -> list[str]:
    """What of a file could run what stored bytes name: imports, calls, arguments; as ``what:line``."""
    found = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.split(".")[0] in _UNSAFE]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] in _UNSAFE:
            names = [str(node.module)]
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            names = [called] if called in _UNSAFE_CALLS else []
            if (
                called in ("__import__", "importlib.import_module")
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                names += [str(node.args[0].value)] if str(node.args[0].value).split(".")[0] in _UNSAFE else []
            names += [
                f"{keyword.arg}={ast.unparse(keyword.value)}"
                for keyword in node.keywords
                if keyword.arg in _UNSAFE_ARGUMENTS and ast.unparse(keyword.value) != "False"
            ]
        found += [f"{name}:{getattr(node, 'lineno', 0)}" for name in names]
    return found


@pytest.mark.parametrize(
    "text",
    [
        "import pickle", "from pickle import loads", "import dill as d", "import shelve, json", "yaml.load(text)",
        "from multiprocessing import Pool", "eval(text)", "JsonPlusSerializer(pickle_fallback=True)",
        "__import__('pickle')", "importlib.import_module('marshal')", "subprocess.run(text, shell=True)",
    ],
)  # fmt: skip
def test_what_is_looked_for_is_found(text: str) -> None:
    assert unsafe_in(ast.parse(text))


def test_nothing_unpickles() -> None:
    found = {str(path.relative_to(ROOT)): unsafe for path, tree in trees() if (unsafe := unsafe_in(tree))}
    assert not found, f"records are JSON, and checkpoints strict msgpack: {found}"


#: Not run by the harness, so no guard looks at the ``--dsn`` that it takes: docs/security.md says so.
_STANDS_ALONE = "scenarios/incidents/reproducers/i_12_setup_races.py"
#: Makes the cell's own database, which nobody else has, look like one that an older saver left.
_OF_THE_CELL = "harness/faults/setup_herd.py"


def test_nothing_is_truncated_and_no_schema_is_dropped() -> None:
    """Databases are made and dropped as a whole, by the one who made them. Strategies are what is tested, and get the
    cell's own database only; but not even they truncate.
    """
    words = ("TRUNCATE", "DROP TABLE", "DROP SCHEMA", "DELETE FROM CHECKPOINT")
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} {word}"
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for word in words
        if word in " ".join(node.value.upper().split()) and not _is_docstring(tree, node)
        if word == "TRUNCATE"
        or ("pools" not in path.parts and str(path.relative_to(ROOT)) not in (_STANDS_ALONE, _OF_THE_CELL))
    ]
    assert not found


def _is_docstring(tree: ast.Module, node: ast.Constant) -> bool:
    return any(
        isinstance(owner, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and owner.body
        and isinstance(owner.body[0], ast.Expr)
        and owner.body[0].value is node
        for owner in ast.walk(tree)
    )


_TELLS = """
import json
import os
from langgraph.checkpoint.serde import _msgpack
from tests.plugins.secretive import QUIET, QuietPool

class Tells(QuietPool):
    name = "tells"

    async def serve(self, agent, request):
        print("strict", _msgpack.STRICT_MSGPACK_ENABLED, os.environ.get("LANGGRAPH_STRICT_MSGPACK"), flush=True)
        return await request()
"""


@pytest.mark.slow
@pytest.mark.parametrize("users", ["", *(pytest.param(value, marks=pytest.mark.proof) for value in (None, "true"))])
def test_cells_read_strictly(users: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slot and each cell that it forks, whatever the process that started it was told."""
    monkeypatch.delenv("LANGGRAPH_STRICT_MSGPACK", raising=False)
    if users is not None:
        monkeypatch.setenv("LANGGRAPH_STRICT_MSGPACK", users)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    plugin = tmp_path / "tells.py"
    plugin.write_text(_TELLS)
    place = CellFolder(tmp_path / "cell")
    place.logs.mkdir(parents=True)
    slot = Slot.start("local")
    try:
        quiet = f"{ROOT}/tests/plugins/secretive.py:QUIET"
        spec = CellSpec(id="tells", scenario=quiet, strategy=f"{plugin}:Tells", agents=("SupervisorAgent",))
        assert slot.run(spec, place).verdict is Verdict.PASS
    finally:
        slot.close()
    said = {line for line in place.output.read_text().splitlines() if line.startswith("strict")}
    assert said == {"strict True true"}


@pytest.mark.slow
def test_the_processes_of_the_user_load_no_checkpoint_code() -> None:
    """The plug-in is loaded into every pytest run; the command line and it leave checkpoints to the slots."""
    code = "import sys, json, harness.pytest_plugin, harness.cli.app; print(json.dumps([m for m in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    loaded = set(json.loads(done.stdout))
    assert not [name for name in loaded if name.startswith(("langgraph", "psycopg"))]
