"""Each of the fifteen conditions has its test, and those about the stack are made vacuous on the real one as well."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from harness.core.vacuity import Vacuity

FOLDER = Path(__file__).resolve().parent
REAL = "test_vacuity_of_real_cells.py"
#: What only real components can show.
SHOWN_ON_THE_STACK = {Vacuity.V1, Vacuity.V2, Vacuity.V3, Vacuity.V11, Vacuity.V14}


def _tested(pattern: str) -> set[str]:
    """The codes in the names of the tests of these files: ``test_v07_...`` is V7's."""
    names = [
        node.name
        for path in FOLDER.glob(pattern)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return {f"V{int(found.group(1))}" for name in names if (found := re.match(r"test_v(\d\d)_\w+", name))}


def test_all_fifteen_have_a_test() -> None:
    assert len(Vacuity) == 15
    assert _tested("test_*.py") == {code.value for code in Vacuity}


def test_those_about_the_stack_are_shown_on_it() -> None:
    assert _tested(REAL) >= {code.value for code in SHOWN_ON_THE_STACK}


def test_each_says_what_must_hold() -> None:
    meanings = [code.meaning for code in Vacuity]
    assert len(set(meanings)) == len(meanings)


def test_the_page_for_sceptics_names_each() -> None:
    page = (FOLDER.parents[1] / "docs" / "trust.md").read_text(encoding="utf-8")
    missing = [code.value for code in Vacuity if not re.search(rf"\b{code.value}\b", page)]
    assert not missing, f"docs/trust.md does not mention {missing}"
