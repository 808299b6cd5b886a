"""One saver shared by all agents: its lock lets one call through at a time, and the wait for it has no timeout."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from harness.lint.finding import LintFinding, NotChecked, Place
from harness.lint.source import Function, Source, calls_in, keyword_of, last_name
from harness.lint.subject import Subject


def shared_saver(subject: Subject) -> Iterator[LintFinding | NotChecked]:
    """A strategy whose ``checkpointer`` hands out the same object; graphs of a module that are compiled with one."""
    if subject.source is None:
        return
    if subject.strategy:
        yield from _of_strategy(subject.source)
        return
    found = list(_of_module(subject.source))
    if not found and subject.shared_graphs:
        place = Place(str(subject.source.files[0]))
        found = [_finding(place, f"{subject.shared_graphs} compiled graphs of the module have the same saver")]
    yield from found


def _of_strategy(source: Source) -> Iterator[LintFinding]:
    function = source.functions.get("checkpointer")
    if function is None:
        return
    for node in ast.walk(function.node):
        if isinstance(node, ast.Return) and node.value is not None and _is_kept(function, node.value):
            yield _finding(function.place(node), f"return {ast.unparse(node.value)}")


def _is_kept(function: Function, value: ast.expr) -> bool:
    """True if ``value`` outlives the call: an attribute or a global, which the call does not always set anew."""
    if isinstance(value, ast.Attribute):
        kept = ast.unparse(value.value) in ("self", "cls") or ast.unparse(value.value)[:1].isupper()
        return kept and ast.unparse(value) not in _set_in(function.node.body)
    set_somewhere = {name for node in ast.walk(function.node) for name in _set_by(node)}
    return isinstance(value, ast.Name) and value.id not in set_somewhere


def _set_in(body: list[ast.stmt]) -> set[str]:
    """What statements set in any case, not under a condition."""
    return {name for statement in body for name in _set_by(statement)}


def _set_by(node: ast.AST) -> Iterator[str]:
    """The names that one node itself sets."""
    if isinstance(node, ast.Assign):
        yield from (ast.unparse(target) for target in node.targets)
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr):
        yield ast.unparse(node.target)
    elif isinstance(node, ast.AsyncWith | ast.With):
        yield from (ast.unparse(item.optional_vars) for item in node.items if item.optional_vars is not None)


def _of_module(source: Source) -> Iterator[LintFinding]:
    for path, tree in source.trees.items():
        scopes = [(tree.body, str(path)), *((function.node.body, function.file) for function in source.all_functions())]
        for body, file in scopes:
            used: dict[str, list[ast.Call]] = {}
            for statement in body:
                if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    continue  # a scope of its own
                for call, dotted in calls_in(statement):
                    saver = keyword_of(call, "checkpointer")
                    if last_name(dotted) in ("compile", "create_react_agent", "create_agent") and isinstance(
                        saver, ast.Name | ast.Attribute
                    ):
                        used.setdefault(ast.unparse(saver), []).append(call)
            for name, calls in used.items():
                if len(calls) > 1:
                    yield _finding(Place(file, calls[1].lineno), f"checkpointer={name} in {len(calls)} graphs")


def _finding(where: Place, value: str) -> LintFinding:
    return LintFinding(
        check="shared_saver",
        what="agents share one saver, whose lock lets one call through at a time: waits for a connection add up, "
        "and throughput stays flat whatever the pool's size",
        where=where,
        value=value,
        allowed="a saver for each agent, all over one pool",
        fix="make a saver where an agent starts: AsyncPostgresSaver(pool) costs nothing",
        incidents=("I-13", "I-14"),
        scenarios=("incidents/i_13_one_saver_serialises", "incidents/i_14_waits_add_up", "network/shared_saver"),
    )
