"""Mutation testing of what decides a verdict: ``nox -s mutants``, or ``python -m tests.mutants --sample 300 --seed 1``.

Every mutant is a small wrong change of one function of ``harness/checkers``; the fast tests of the checkers must notice
it. mutmut makes the mutants and runs them, in a copy of the sources. What is only said is left out: sentences and the
expressions inside them, for those change no verdict. Survivors must be listed in ``docs/mutants.md`` with the reason
why they change no verdict; the run fails below 95 % killed, and for a survivor that is not listed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "docs" / "mutants.md"
#: At least this share must be killed.
BAR = 0.95
#: What shows, counts or explains, and decides nothing.
NO_VERDICT = ("__init__", "timeline", "measures", "hits", "checkpoint_tree", "symptom")
#: Longest that all of it may take, in seconds.
LIMIT_S = 4 * 3600.0
#: Fast tests alone: what generates histories takes seconds a mutant.
LEFT_OUT = ("test_checkers_on_generated.py",)
OPTIONS = ("no:cacheprovider", "no:harness.pytest_plugin", "no:asyncio")
#: Local names that hold words for a reader.
WORDS = frozenset(
    {"words", "told", "kept", "why", "where", "by", "how", "after", "advice", "reason", "left", "shown", "best"}
)
#: Module-level names that hold words.
_SAID = frozenset({"_ADVICE", "_SEE_LOGS"})
_CONFIG = """
[tool.mutmut]
source_paths = ["harness"]
only_mutate = {mutated}
also_copy = ["tests"]
pytest_add_cli_args = {options}
pytest_add_cli_args_test_selection = {tests}
use_git_change_detection = false
track_dependencies = false

[tool.pytest.ini_options]
addopts = ["--strict-markers"]
filterwarnings = ["error"]
markers = ["slow: slow", "proof: slower"]
"""
#: A survivor in the list: ``| `name` | `change` | reason |``.
_LISTED = re.compile(r"^\| `(?P<name>[^`]+)` \| `(?P<change>.+)` \| (?P<reason>.+) \|$")


def main() -> int:
    """Exit status 0 if the bar is met and every survivor is listed, else 1."""
    given = _arguments()
    if given.inside:
        _inside(given.names, given.children)
        return 0
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="poolproof-mutants-") as scratch:
        place = Path(given.keep or scratch)
        _lay_out(place)
        _run(place, "none", given.children)
        names = sorted(_results(place))
        chosen = names if given.all else sorted(random.Random(given.seed).sample(names, min(given.sample, len(names))))
        if given.only:
            chosen = [name for name in names if re.search(given.only, name)]
        (place / "chosen.json").write_text(json.dumps(chosen))
        _run(place, "chosen.json", given.children)
        results = _results(place)
        survived = _changes(place, [name for name in chosen if results[name] in ("survived", "no tests")])
    return _report(chosen, results, survived, len(names), time.monotonic() - began_s)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--all", action="store_true", help="every mutant")
    parser.add_argument("--sample", type=int, default=600, help="how many mutants, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="mutants whose name matches this pattern")
    parser.add_argument("--children", type=int, default=os.cpu_count() or 2, help="mutants tested side by side")
    parser.add_argument("--keep", default="", help="an empty folder to work in, and to leave as it is")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--names", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def _lay_out(place: Path) -> None:
    """Copy what the checkers' tests need."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "harness", place / "harness", ignore=ignore)
    for folder in ("checkers", "vacuity"):
        shutil.copytree(ROOT / "tests" / folder, place / "tests" / folder, ignore=ignore)
    mutated = [
        f"harness/checkers/{path.name}"
        for path in sorted((ROOT / "harness" / "checkers").glob("*.py"))
        if path.stem not in NO_VERDICT
    ]
    tests = sorted(
        f"tests/checkers/{path.name}"
        for path in (place / "tests" / "checkers").glob("test_*.py")
        if path.name not in LEFT_OUT
    )
    tests.append("tests/vacuity/test_vacuity_of_histories.py")
    options = [word for plugin in OPTIONS for word in ("-p", plugin)] + ["-q", "-m", "not slow"]
    values = {"mutated": mutated, "tests": tests, "options": options}
    text = _CONFIG.format(**{name: json.dumps(value) for name, value in values.items()})
    (place / "pyproject.toml").write_text(text)


def _run(place: Path, names: str, children: int) -> None:
    """Run :func:`_inside` in the copy; raises SystemExit with the end of mutmut's output if it fails."""
    command = [sys.executable, __file__, "--inside", "--children", str(children), "--names", names]
    environment = {**os.environ, "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
    log = place / "mutmut.log"
    with log.open("wb") as sink:
        done = subprocess.run(
            command, cwd=place, env=environment, check=False, stdout=sink, stderr=sink, timeout=LIMIT_S
        )
    if done.returncode != 0:
        raise SystemExit(f"mutmut ended with {done.returncode}:\n{log.read_text(errors='replace')[-4000:]}")


# -- inside the copy ----------------------------------------------------------------------------------------------


def _inside(names: str, children: int) -> None:
    """Make the mutants, or test those in the file ``names``, or (without children) write down what they change."""
    mutmut: Any = importlib.import_module("mutmut.__main__")
    _leave_out_what_is_only_said()
    if names == "none":
        importlib.import_module("mutmut.mutation.trampoline").set_mutant_under_test("mutant_generation")
        Path("mutants").mkdir(exist_ok=True)
        mutmut.copy_src_dir()
        mutmut.copy_also_copy_files()
        mutmut.setup_source_paths()
        mutmut.create_mutants(children)
    elif children:
        mutmut._run(json.loads(Path(names).read_text()), children)
    else:
        show = importlib.import_module("mutmut.mutation.diff_apply").get_diff_for_mutant
        diffs = {name: show(name) for name in json.loads(Path(names).read_text())}
        Path("changes.json").write_text(json.dumps(diffs))


def _leave_out_what_is_only_said() -> None:
    """No mutants in sentences (strings with a space, f-strings and what stands in them, names that hold words), nor in
    how a number is rounded.
    """
    cst: Any = importlib.import_module("libcst")
    mutators: Any = importlib.import_module("mutmut.mutation.mutators")
    visitor: Any = importlib.import_module("mutmut.mutation.file_mutation").MutationVisitor

    def said(node: Any) -> bool:
        if isinstance(node, cst.SimpleString):
            return " " in node.value
        if isinstance(node, cst.IfExp):
            return said(node.body) or said(node.orelse)
        if isinstance(node, cst.BinaryOperation):
            return said(node.left) or said(node.right)
        if isinstance(node, cst.Name):
            return node.value in WORDS or node.value in _SAID
        if isinstance(node, cst.Subscript):
            return said(node.value)
        return isinstance(node, cst.FormattedString | cst.ConcatenatedString)

    def wordless(operator: Any) -> Any:
        def filtered(node: Any) -> Iterator[Any]:
            if said(node) or (isinstance(node, cst.Assign | cst.AnnAssign | cst.AugAssign) and said(node.value)):
                return
            for mutant in operator(node):
                if isinstance(node, cst.Call) and _lost_words(node, mutant, said):
                    continue
                yield mutant

        return filtered

    mutators.mutation_operators[:] = [(kind, wordless(operator)) for kind, operator in mutators.mutation_operators]
    skip = visitor._skip_node_and_children

    def skip_words(self: Any, node: Any) -> bool:
        rounded = isinstance(node, cst.Call) and isinstance(node.func, cst.Name) and node.func.value == "round"
        return rounded or isinstance(node, cst.FormattedString | cst.ConcatenatedString) or skip(self, node)

    visitor._skip_node_and_children = skip_words


def _lost_words(call: Any, mutant: Any, said: Any) -> bool:
    """True if what the mutated call lacks, or has replaced, is an argument that is only said."""
    kept = {id(argument) for argument in mutant.args}
    gone = [argument for argument in call.args if id(argument) not in kept]
    return len(gone) == 1 and said(gone[0].value)


# -- results ------------------------------------------------------------------------------------------------------


def _results(place: Path) -> dict[str, str]:
    """Each mutant's status, as mutmut calls it."""
    status_by_exit_code = importlib.import_module("mutmut.stats").status_by_exit_code
    found: dict[str, str] = {}
    for path in (place / "mutants" / "harness" / "checkers").glob("*.py.meta"):
        for name, code in json.loads(path.read_text())["exit_code_by_key"].items():
            found[name] = status_by_exit_code[code]
    return found


def _changes(place: Path, names: list[str]) -> dict[str, str]:
    """The lines that each mutant changes: ``old -> new``."""
    (place / "survived.json").write_text(json.dumps(names))
    _run(place, "survived.json", 0)
    found = {}
    for name, diff in json.loads((place / "changes.json").read_text()).items():
        lines = [line for line in diff.splitlines() if re.match(r"[-+](?![-+]{2})", line)]
        old = " ".join(line[1:].strip() for line in lines if line[0] == "-")
        new = " ".join(line[1:].strip() for line in lines if line[0] == "+")
        found[name] = f"{old} -> {new}".replace("|", "¦").replace("`", "'")
    return found


def _report(chosen: list[str], results: dict[str, str], survived: dict[str, str], every: int, took_s: float) -> int:
    counts = Counter(results[name] for name in chosen)
    odd = sum(counts.values()) - counts["killed"] - counts["timeout"] - len(survived)
    share = (counts["killed"] + counts["timeout"]) / len(chosen) if chosen else 0.0
    listed = _listed()
    unlisted = {name: change for name, change in survived.items() if change not in listed.get(_function(name), {})}
    print(f"\n{len(chosen)} of {every} mutants in {took_s / 60:.1f} min: {dict(counts)}; {share:.1%} killed")
    for name, change in sorted(unlisted.items()):
        print(f"| `{_function(name)}` | `{change}` |  |")
    if unlisted:
        print(f"{len(unlisted)} survivors are not listed in {LIST.relative_to(ROOT)}: kill them, or give the reason")
    if odd:
        print(f"{odd} mutants could not be judged")
    if share < BAR:
        print(f"below the bar of {BAR:.0%}")
    return 1 if unlisted or odd or share < BAR else 0


def _function(name: str) -> str:
    """``isolation._order`` of ``harness.checkers.isolation.x__order__mutmut_3``; classes stay in front of methods."""
    module, _, function = name.removeprefix("harness.checkers.").partition(".")
    plain = function.rpartition("__mutmut_")[0].removeprefix("x").lstrip("_" if "ǁ" not in function else "")
    return f"{module}.{plain.strip('ǁ').replace('ǁ', '.')}"


def _listed() -> dict[str, dict[str, str]]:
    """The list: reasons by function and change."""
    found: dict[str, dict[str, str]] = {}
    for line in LIST.read_text(encoding="utf-8").splitlines() if LIST.exists() else ():
        row = _LISTED.match(line)
        if row is not None and row["reason"].strip():
            found.setdefault(row["name"], {})[row["change"]] = row["reason"]
    return found


if __name__ == "__main__":
    sys.exit(main())
