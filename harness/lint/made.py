"""Calls in the source that make a pool: ``database.pool(...)``, ``AsyncConnectionPool(...)`` and its like."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from harness.lint.finding import Place
from harness.lint.seen import Made, PoolSeen, Unknown, from_call
from harness.lint.source import Function, Source, calls_in, last_name

_CLASSES = ("AsyncConnectionPool", "ConnectionPool", "AsyncNullConnectionPool", "NullConnectionPool")


def makes_pool(dotted: str) -> bool:
    """True for the name of a call that makes a pool."""
    return last_name(dotted) in _CLASSES or _by_database(dotted)


def _by_database(dotted: str) -> bool:
    return dotted in ("database.pool", "self.database.pool")


def made_by_methods(source: Source | None, known: Sequence[Place]) -> tuple[PoolSeen, ...]:
    """The pools that a strategy's methods make; ``known`` are calls that made a pool when it was constructed."""
    return tuple(_made_by_methods(source, known)) if source is not None else ()


def _made_by_methods(source: Source, known: Sequence[Place]) -> Iterator[PoolSeen]:
    seen: set[int] = set()
    for roots in (("serve",), ("checkpointer",), ("open", "recreate")):
        for function in source.reached(roots):
            if roots == ("serve",) and function.name != "serve":
                continue  # what serve reaches in other ways may be a recovery
            for call, dotted in calls_in(function.node):
                if makes_pool(dotted) and id(call) not in seen and not _is_known(function, call, known):
                    seen.add(id(call))
                    made = _by_request(function, call) if roots == ("serve",) else _MADE[roots[0]]
                    place = function.place(call)
                    yield from_call(_arguments(call), place, dotted, made, by_database=_by_database(dotted))


_MADE = {"checkpointer": Made.BY_AGENT, "open": Made.ONCE}


def _by_request(function: Function, call: ast.Call) -> Made:
    """``if self._pool is None`` makes it once, if a lock stands before it."""
    around = [node for node in ast.walk(function.node) if any(inner is call for inner in ast.walk(node))]
    if not any(isinstance(node, ast.If) for node in around):
        return Made.BY_REQUEST
    blocks = [node for node in around if isinstance(node, ast.AsyncWith | ast.With)]
    locked = any("lock" in ast.unparse(item.context_expr).lower() for node in blocks for item in node.items)
    return Made.ONCE if locked else Made.BY_FIRST_REQUESTS


def _is_known(function: Function, call: ast.Call, known: Sequence[Place]) -> bool:
    last = call.end_lineno or call.lineno
    return any(place.file == function.file and call.lineno <= place.line <= last for place in known)


def _arguments(call: ast.Call) -> dict[str, object]:
    """Arguments by name, with their values, or Unknown where they are no literals."""
    found: dict[str, object] = {}
    if call.args:
        found["conninfo"] = _value(call.args[0])
    for keyword in call.keywords:
        if keyword.arg is None:
            found["**"] = Unknown(f"the call has **{ast.unparse(keyword.value)}")
        elif keyword.arg == "check":
            found["check"] = ast.unparse(keyword.value)
        elif keyword.arg == "kwargs" and isinstance(keyword.value, ast.Dict):
            found["kwargs"] = _entries(keyword.value)
        else:
            found[keyword.arg] = _value(keyword.value)
    return found


def _entries(node: ast.Dict) -> dict[str, object] | Unknown:
    if not all(isinstance(key, ast.Constant) for key in node.keys):
        return Unknown("the kwargs of the pool are not written out")
    return {str(ast.literal_eval(key)): _value(value) for key, value in zip(node.keys, node.values, strict=True) if key}


def _value(node: ast.expr) -> object:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return Unknown(f"it is {ast.unparse(node)}, which is known only at run time")


def where_made(source: Source | None, name: str) -> Place | None:
    """Where the pool called ``name`` is made; if ``name`` is empty, any pool."""
    for path, tree in source.trees.items() if source is not None else ():
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                named = not name or any(last_name(ast.unparse(target)) == name for target in targets)
                if named and any(makes_pool(dotted) for _, dotted in calls_in(node.value)):
                    return Place(str(path), node.lineno)
    return None
