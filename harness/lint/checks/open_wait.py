"""``open(wait=True)``, or ``wait()``, in a recovery path: a wait that runs out closes the pool, and for good."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from harness.lint.finding import LintFinding, NotChecked
from harness.lint.source import Function, calls_in, keyword_of, last_name
from harness.lint.subject import Subject


def open_wait(subject: Subject) -> Iterator[LintFinding | NotChecked]:
    """In what a recovery reaches, and in every ``except`` block."""
    if subject.source is None:
        return
    recovering = [(function, function.node) for function in subject.source.reached(subject.recovery)]
    handling: list[tuple[Function, ast.AST]] = [
        (function, node)
        for function in subject.source.all_functions()
        for node in ast.walk(function.node)
        if isinstance(node, ast.ExceptHandler)
    ]
    for function, node in (*recovering, *handling):
        for call, dotted in calls_in(node):
            if _waits(call, dotted):
                yield LintFinding(
                    check="open_wait",
                    what=f"{function.name} waits for a pool to fill while something is wrong: when the wait runs out, "
                    "psycopg_pool closes the pool, and a closed pool cannot be opened again",
                    where=function.place(call),
                    value=ast.unparse(call),
                    allowed="open() without wait, and a bounded wait at each checkout",
                    fix="open the pool without waiting: it connects by itself as soon as it can",
                    incidents=("I-1", "I-3"),
                    scenarios=("incidents/i_01_pool_recreated", "network/post_incident"),
                )


def _waits(call: ast.Call, dotted: str) -> bool:
    wait = keyword_of(call, "wait")
    if last_name(dotted) == "open":
        first = call.args[0] if call.args else wait
        return isinstance(first, ast.Constant) and first.value is True
    return last_name(dotted) == "wait" and "pool" in dotted.rpartition(".")[0].lower()
