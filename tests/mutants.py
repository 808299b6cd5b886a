"""Mutation testing of what decides a verdict: ``nox -s mutants``, or ``python -m tests.mutants --files isolation``.

Every mutant is a small wrong change of one function of ``harness/checkers``; the fast tests of the checkers must notice
it. mutmut makes the mutants, in a copy of the sources (:mod:`tests.mutants_inside`). What is only said is left out:
sentences and the expressions inside them, for those change no verdict. Survivors must be listed in ``docs/mutants.md``
with the reason why they change no verdict. The run fails below 95 % killed, for a survivor that is not listed, and for
a row of the list whose mutant is noticed after all or does not exist.

What noticed each mutant is remembered (``HINTS``) and asked first the next time: a hint about the order and no more, so
every mutant is tested in every run, and a second run takes minutes.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
CHECKERS = ROOT / "harness" / "checkers"
LIST = ROOT / "docs" / "mutants.md"
#: Which test noticed each mutant in the last run on this machine.
HINTS = ROOT / ".mutants.json"
#: At least this share must be killed.
BAR = 0.95
#: What shows, counts or explains, and decides nothing.
NO_VERDICT = ("__init__", "timeline", "measures", "checkpoint_tree", "waste", "recovery_parts")
#: Longest that all of it may take, in seconds.
LIMIT_S = 2 * 3600.0
#: Fast tests alone: what generates histories takes seconds a mutant.
LEFT_OUT = ("test_checkers_on_generated.py",)
OPTIONS = ("no:cacheprovider", "no:harness.pytest_plugin", "no:asyncio")
_CONFIG = """
[tool.mutmut]
source_paths = ["harness"]
only_mutate = {mutated}
also_copy = ["tests"]
use_git_change_detection = false
track_dependencies = false

[tool.pytest.ini_options]
addopts = ["--strict-markers"]
filterwarnings = ["error"]
markers = ["slow: slow", "proof: slower"]
"""
#: A survivor in the list: ``| `name` | `change` | reason |``.
_LISTED = re.compile(r"^\| `(?P<name>[^`]+)` \| `(?P<change>.+)` \| (?P<reason>.+) \|$")
_SURVIVED = ("survived", "no tests")


class Mutant(NamedTuple):
    """What a mutant is called in the list: the function, and the lines that it changes. No number, so that an edit
    elsewhere in the function leaves the name as it is.
    """

    function: str
    change: str

    @property
    def file(self) -> str:
        """Without its ending."""
        return self.function.partition(".")[0]

    def __str__(self) -> str:
        return f"| `{self.function}` | `{self.change}` |"


def main() -> int:
    """Exit status 0 if the bar is met and the list is right, else 1."""
    given = _arguments()
    began_s = time.monotonic()
    every: set[Mutant] = set()
    results: list[tuple[Mutant, str]] = []
    with tempfile.TemporaryDirectory(prefix="poolproof-mutants-") as scratch:
        for stem in given.files:
            place = Path(given.keep or scratch, stem)
            place.mkdir(parents=True)
            mutants, found = _of_file(place, stem, given.only, given.children)
            print(f"{stem}: {dict(Counter(status for _, status in found))}", flush=True)
            every |= mutants
            results += found
    print(f"\n{len(results)} mutants in {(time.monotonic() - began_s) / 60:.1f} min")
    return _report(results, every, given.files, whole=given.files == _files() and not given.only)


def _of_file(place: Path, stem: str, only: str, children: int) -> tuple[set[Mutant], list[tuple[Mutant, str]]]:
    """Every mutant of one file, and how those fared that were asked for."""
    _lay_out(place, stem)
    _run(place, "make", children)
    mutants = _mutants(place)
    known = json.loads(HINTS.read_text()) if HINTS.is_file() else {}
    chosen = [name for name in json.loads((place / "mutants.json").read_text()) if re.search(only, _function(name))]
    (place / "chosen.json").write_text(json.dumps({name: known.get(str(mutants[name]), "") for name in chosen}))
    _run(place, "ask", children)
    rows = [json.loads(line) for path in place.glob("results.*.jsonl") for line in path.read_text().splitlines()]
    known |= {str(mutants[row["name"]]): row["by"] for row in rows}
    HINTS.write_text(json.dumps(dict(sorted(known.items())), indent=0))
    return set(mutants.values()), [(mutants[row["name"]], str(row["status"])) for row in rows]


def _arguments() -> argparse.Namespace:
    files = _files()
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--files", nargs="*", default=files, choices=files, help="checkers to mutate; all of them")
    parser.add_argument("--only", default="", help="functions (isolation._order) that match this pattern")
    parser.add_argument("--children", type=int, default=os.cpu_count() or 2, help="mutants tested side by side")
    parser.add_argument("--keep", default="", help="a folder to work in, and to leave as it is")
    return parser.parse_args()


def _files() -> list[str]:
    """The checkers that decide verdicts."""
    return sorted(path.stem for path in CHECKERS.glob("*.py") if path.stem not in NO_VERDICT)


def _lay_out(place: Path, stem: str) -> None:
    """Copy what the checkers' tests need; nothing is ever changed in the checkout itself."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "harness", place / "harness", ignore=ignore)
    for folder in ("checkers", "vacuity"):
        shutil.copytree(ROOT / "tests" / folder, place / "tests" / folder, ignore=ignore)
    tests = sorted(
        f"tests/checkers/{path.name}"
        for path in (place / "tests" / "checkers").glob("test_*.py")
        if path.name not in LEFT_OUT
    )
    tests.append("tests/vacuity/test_vacuity_of_histories.py")
    options = [word for plugin in OPTIONS for word in ("-p", plugin)]
    options += ["-q", "--tb=no", "--assert=plain", "-m", "not slow", *tests]
    (place / "options.json").write_text(json.dumps(options))
    (place / "pyproject.toml").write_text(_CONFIG.format(mutated=json.dumps([f"harness/checkers/{stem}.py"])))


def _run(place: Path, task: str, children: int) -> None:
    """Run ``mutants_inside`` in the copy; raises SystemExit with the end of its output if it fails."""
    command = [sys.executable, "-P", str(ROOT / "tests" / "mutants_inside.py"), task, str(children)]
    environment = {**os.environ, "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
    log = place / f"{task}.log"
    with log.open("wb") as sink:
        done = subprocess.run(
            command, cwd=place, env=environment, check=False, stdout=sink, stderr=sink, timeout=LIMIT_S
        )
    if done.returncode != 0:
        raise SystemExit(f"{task} ended with {done.returncode}:\n{log.read_text(errors='replace')[-4000:]}")


# -- what a mutant changes ----------------------------------------------------------------------------------------


def _mutants(place: Path) -> dict[str, Mutant]:
    """Every mutant by mutmut's name."""
    found: dict[str, Mutant] = {}
    for path in sorted((place / "mutants" / "harness" / "checkers").glob("*.py")):
        source = path.read_text(encoding="utf-8")
        if "__mutmut_" not in source:
            continue
        lines = source.splitlines()
        texts = {
            node.name: [line.replace(node.name, "") for line in lines[node.lineno - 1 : node.end_lineno]]
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.FunctionDef) and "__mutmut_" in node.name
        }
        for mangled, text in texts.items():
            function, _, number = mangled.rpartition("__mutmut_")
            if number != "orig":
                name = f"harness.checkers.{path.stem}.{mangled}"
                found[name] = Mutant(_function(name), _change(texts[f"{function}__mutmut_orig"], text))
    return found


def _change(old: list[str], new: list[str]) -> str:
    """``old -> new``, the lines that differ."""
    gone, come = [], []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            gone += [line.strip() for line in old[i1:i2]]
            come += [line.strip() for line in new[j1:j2]]
    return f"{' '.join(gone)} -> {' '.join(come)}".replace("|", "¦").replace("`", "'")


def _function(name: str) -> str:
    """``isolation._order`` of ``harness.checkers.isolation.x__order__mutmut_3``; classes stay in front of methods."""
    module, _, function = name.removeprefix("harness.checkers.").partition(".")
    plain = function.rpartition("__mutmut_")[0]
    plain = plain.removeprefix("xǁ").replace("ǁ", ".") if plain.startswith("xǁ") else plain.removeprefix("x_")
    return f"{module}.{plain}"


# -- the list -----------------------------------------------------------------------------------------------------


def _report(results: Sequence[tuple[Mutant, str]], every: set[Mutant], files: Sequence[str], *, whole: bool) -> int:
    """Say what is wrong with the tests or the list (as far as it is about ``files``); 1 if anything is. The bar is for
    the ``whole``: in a small file a few that change nothing are more than a twentieth.
    """
    counts = Counter(status for _, status in results)
    share = (counts["killed"] + counts["timeout"]) / len(results) if results else 0.0
    print(f"{share:.2%} killed; {BAR:.0%} are due")
    statuses: dict[Mutant, set[str]] = defaultdict(set)
    for mutant, status in results:
        statuses[mutant].add(status)
    listed = {mutant for mutant in _listed() if mutant.file in files or not (CHECKERS / f"{mutant.file}.py").is_file()}
    survivors = {mutant for mutant, found in statuses.items() if not found.isdisjoint(_SURVIVED)}
    troubles = {
        "survived and are not listed: let a test notice them, or give the reason": survivors - listed,
        "are listed, and a test notices them: take them off the list": (listed & statuses.keys()) - survivors,
        "are listed, and there is no such mutant: take them off the list": listed - every,
        "could not be judged": {mutant for mutant, found in statuses.items() if "odd" in found},
    }
    for words, mutants in troubles.items():
        for mutant in sorted(mutants):
            print(mutant)
        if mutants:
            print(f"{len(mutants)} mutants {words} ({LIST.relative_to(ROOT)})\n")
    return 1 if (share < BAR and whole) or any(troubles.values()) else 0


def _listed() -> set[Mutant]:
    """The list's mutants; a row without a reason is none."""
    rows = [_LISTED.match(line) for line in LIST.read_text(encoding="utf-8").splitlines()]
    return {Mutant(row["name"], row["change"]) for row in rows if row is not None and row["reason"].strip()}


if __name__ == "__main__":
    sys.exit(main())
