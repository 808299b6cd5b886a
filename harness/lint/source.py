"""The source of a strategy, or of the module that holds a pool: its functions, and which can be reached from which.

A function is known by its name, as code in the class sees it: ``recreate`` is the method that the class really has,
``NaiveRecreate.recreate`` the one of a base class that it hides. Reaching is generous: whatever a function mentions as
``self.name``, ``super().name`` or ``name`` counts as called, for it may be handed on and called elsewhere.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.lint.finding import Place

AnyFunction = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Function:
    """A function, where it stands, and the class that it belongs to (empty for a module's own)."""

    name: str
    node: AnyFunction
    file: str
    owner: str = ""

    def place(self, node: ast.AST | None = None) -> Place:
        """Where ``node`` is, or the function itself."""
        return Place(self.file, getattr(node or self.node, "lineno", 0))


class Source:
    """Files and, where a class is linted, its classes from the class itself to its last base.

    ``functions`` has every function by its name; of a linted class the methods, as Python would look them up.
    """

    def __init__(self, files: Sequence[Path], classes: Sequence[tuple[str, Path]] = ()) -> None:
        self.files = tuple(files)
        self.trees: Mapping[Path, ast.Module] = {
            path: ast.parse(path.read_text(encoding="utf-8", errors="replace"), str(path)) for path in files
        }
        self._classes = tuple(classes)

    @cached_property
    def functions(self) -> Mapping[str, Function]:
        """By name; ``Class.name`` for what is hidden by a nearer class."""
        found: dict[str, Function] = {}
        for name, path in self._classes:
            for node in self.trees[path].body:
                if isinstance(node, ast.ClassDef) and node.name == name:
                    for function in _functions_in(node.body, str(path), name):
                        found.setdefault(function.name, function)
                        found.setdefault(f"{name}.{function.name}", function)
        for path, tree in self.trees.items():
            for function in _functions_in(tree.body, str(path), ""):
                found.setdefault(function.name, function)
            if not self._classes:
                for cls in ast.walk(tree):
                    if isinstance(cls, ast.ClassDef):
                        for function in _functions_in(cls.body, str(path), cls.name):
                            found.setdefault(function.name, function)
                            found.setdefault(f"{cls.name}.{function.name}", function)
        return found

    def reached(self, roots: Sequence[str]) -> tuple[Function, ...]:
        """Every function that can be reached from ``roots``, themselves included, each once."""
        order: dict[int, Function] = {}
        waiting = [self.functions[name] for name in roots if name in self.functions]
        while waiting:
            function = waiting.pop(0)
            if id(function.node) not in order:
                order[id(function.node)] = function
                waiting.extend(self._mentioned(function))
        return tuple(order.values())

    def all_functions(self) -> tuple[Function, ...]:
        """Each function once."""
        return tuple({id(function.node): function for function in self.functions.values()}.values())

    def methods_called(self, name: str) -> tuple[AnyFunction, ...]:
        """The methods of this name, of any class in the files."""
        classes = [node for tree in self.trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        return tuple(
            node for cls in classes for node in cls.body if isinstance(node, AnyFunction) and node.name == name
        )

    def _mentioned(self, function: Function) -> Iterator[Function]:
        for node in ast.walk(function.node):
            found: Function | None = None
            if isinstance(node, ast.Attribute):
                if ast.unparse(node.value) in ("self", "cls"):
                    found = self.functions.get(node.attr)
                elif ast.unparse(node.value) == "super()":
                    found = self._above(function.owner, node.attr)
                elif isinstance(node.value, ast.Name):
                    found = self.functions.get(f"{node.value.id}.{node.attr}")
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                found = self.functions.get(node.id)
                found = found if found is not None and not found.owner else None
            if found is not None:
                yield found

    def _above(self, owner: str, name: str) -> Function | None:
        """What ``super().name`` means in class ``owner``."""
        order = [cls for cls, _ in self._classes]
        above = order[order.index(owner) + 1 :] if owner in order else []
        return next((self.functions[f"{cls}.{name}"] for cls in above if f"{cls}.{name}" in self.functions), None)


def read(files: Iterable[Path], classes: Sequence[tuple[str, Path]] = ()) -> Source | None:
    """The source, or None where it cannot be read."""
    try:
        return Source(tuple(files), classes) if files else None
    except (OSError, SyntaxError):
        return None


def _functions_in(body: Sequence[ast.stmt], file: str, owner: str) -> Iterator[Function]:
    for node in body:
        if isinstance(node, AnyFunction):
            yield Function(node.name, node, file, owner)


def calls_in(node: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Every call below ``node`` with its dotted name: ``self.pool.open``."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call):
            yield call, ast.unparse(call.func)


def last_name(dotted: str) -> str:
    """``open`` of ``self.pool.open``."""
    return dotted.rpartition(".")[2]


def keyword_of(call: ast.Call, name: str) -> ast.expr | None:
    """The value of a keyword argument, None if it is not given."""
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def strings_in(node: AnyFunction) -> Iterator[str]:
    """Every string below a function but its docstring."""
    first = node.body[0] if ast.get_docstring(node, clean=False) is not None else None
    skipped = first.value if isinstance(first, ast.Expr) else None
    for found in ast.walk(node):
        if isinstance(found, ast.Constant) and isinstance(found.value, str) and found is not skipped:
            yield found.value
