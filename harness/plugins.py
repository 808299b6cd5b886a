"""What users bring along: loading ``path/to/file.py:Name``, and checking it before anything starts.

Every mistake is a UsageError of one sentence with file and line. A reference resolves from the string alone, so that
another process finds the same object: :func:`canonical` makes the path absolute.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
from psycopg_pool import PoolClosed

from harness.core.environment import Capability
from harness.core.errors import UsageError, kind_of
from harness.core.pool import PoolStrategy
from harness.core.verdict import Guarantee

_IDENTIFIER = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")

#: Too broad to be a promise: with one of these, every error would be a declared one.
_TOO_BROAD = (BaseException, Exception, psycopg.Error)
_ASYNC_METHODS = ("open", "close", "checkpointer", "ensure_healthy", "recreate", "serve")


def is_file_reference(reference: str) -> bool:
    """True for ``path/to/file.py:Name`` and ``path/to/file.py``."""
    return reference.endswith(".py") or ".py:" in reference


def split(reference: str) -> tuple[Path, str]:
    """``path/to/file.py:Name`` as (absolute path, name); the name is empty if there is none."""
    path, colon, name = reference.rpartition(":")
    if not colon:
        path, name = reference, ""
    return Path(path).expanduser().resolve(), name


def canonical(reference: str) -> str:
    """The same reference with an absolute path: it means the same in any folder and any process."""
    path, name = split(reference)
    return f"{path}:{name}" if name else str(path)


def check_recorded(reference: str, folder: Path) -> None:
    """Refuse what we never write into a record: a file that lies with the record, or that depends on where one stands.

    To load a file is to run it, and a record may come from anybody.
    """
    if not is_file_reference(reference):
        return
    path, name = split(reference)
    written = Path(reference.rpartition(":")[0] if name else reference)
    if not written.is_absolute() or path.is_relative_to(folder.resolve()):
        raise UsageError(
            f"{reference!r} is a file that a record may not name; allowed: an absolute path outside of the run's folder"
        )


def load_object(reference: str) -> tuple[Any, str]:
    """The object that ``file.py:Name`` names, and where it stands (``file.py:12``)."""
    path, name = split(reference)
    if not _IDENTIFIER.match(name):
        raise UsageError(f"{reference}: no name after the colon; write path/to/file.py:Name")
    module = load_file(path)
    if not hasattr(module, name):
        known = [key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        offer = f"; it has {', '.join(sorted(known))}" if known else ""
        raise UsageError(f"{path}, line 1: the file has no {name!r}{offer}")
    value = getattr(module, name)
    return value, where_is(value, f"{path}, line {_line_of_name(path, name)}")


def _line_of_name(path: Path, name: str) -> int:
    """Where the file first binds ``name``: a value, unlike a class, does not say where it was made."""
    for statement in ast.parse(path.read_bytes()).body:
        for node in ast.walk(statement):
            bound = node.id if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else None
            if name == bound or (isinstance(node, ast.alias) and name == (node.asname or node.name)):
                return statement.lineno
    return 1


def load_file(path: Path) -> ModuleType:
    """Import a file once per process; raises UsageError if it is not there or does not import."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    if path.suffix != ".py":
        raise UsageError(f"{path}: not a Python file")
    for module in list(sys.modules.values()):
        if _file_of(module) == path:
            return module
    root, dotted = _package_root(path)
    for folder in (str(root), str(Path.cwd())):
        if folder not in sys.path:
            sys.path.append(folder)  # at the end: a user's file must not hide an installed package
    try:
        return _import(path, dotted)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # SystemExit and pytest's outcomes too: a plug-in must not end the run that loads it.
        raise UsageError(f"{path}, line {_line_of(error, path)}: the file does not import: {brief(error)}") from error


def _import(path: Path, dotted: str) -> ModuleType:
    if "." in dotted:  # part of a package, so that its relative imports work
        module = importlib.import_module(dotted)
        if _file_of(module) == path:
            return module
    name = f"poolproof_file_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no loader for {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _package_root(path: Path) -> tuple[Path, str]:
    """The first folder upwards that is no package, and the dotted name of ``path`` seen from there."""
    parts = [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        parts.insert(0, folder.name)
        folder = folder.parent
    return folder, ".".join(parts)


def _file_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return _resolved(file) if isinstance(file, str) else None


@cache  # a thousand modules are asked for each file, in each cell
def _resolved(file: str) -> Path:
    return Path(file).resolve()


def _line_of(error: BaseException, path: Path) -> int:
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).resolve() == path:
        return error.lineno or 1
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.lineno and Path(frame.filename).resolve() == path]
    return lines[-1] if lines else 1


def brief(error: BaseException) -> str:
    """An error of somebody else's code as part of a sentence: its class and the beginning of its text, on one line."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {' '.join(text.split())[:300]}" if text else type(error).__name__


def where_is(value: object, fallback: Path | str = "") -> str:
    """``file.py, line 12`` for classes and functions, else the fallback file alone."""
    try:
        line = inspect.getsourcelines(value)[1]  # type: ignore[arg-type]
        return f"{inspect.getsourcefile(value)}, line {line}"  # type: ignore[arg-type]
    except (TypeError, OSError):
        return str(fallback)


def checked_strategy(value: object, where: str) -> type[PoolStrategy]:
    """``value`` if it is a pool strategy that can be made and driven; else UsageError."""
    if not isinstance(value, type) or not issubclass(value, PoolStrategy):
        kind = f"class {value.__name__}" if isinstance(value, type) else kind_of(value)
        raise UsageError(f"{where}: {kind} is not a pool strategy; derive a class from harness.PoolStrategy")
    missing = sorted(value.__abstractmethods__)
    if missing:
        raise UsageError(f"{where}: {value.__name__} lacks the method {', '.join(missing)}")
    _check_name(value, where)
    _check_errors(value, where)
    _check_members(value, "needs", Capability, where)
    _check_members(value, "breaks", Guarantee, where)
    for method in _ASYNC_METHODS:
        function = getattr(value, method)
        if inspect.isfunction(function) and not _may_be_awaited(function):
            raise UsageError(f"{where}: {value.__name__}.{method} must be written with async def")
    try:
        inspect.signature(value).bind(None)
    except TypeError as error:
        raise UsageError(f"{where}: {value.__name__} must be made with one argument, the Database ({error})") from error
    return value


def _check_name(value: type, where: str) -> None:
    name = getattr(value, "name", None)
    if not isinstance(name, str) or not _IDENTIFIER.match(name):
        found = "no name" if name is None else f"the name {name!r}"
        raise UsageError(f"{where}: {value.__name__} has {found}; write name = ... with letters, digits and _")


def _check_errors(value: type[PoolStrategy], where: str) -> None:
    errors: object = value.errors
    if not isinstance(errors, tuple) or not all(isinstance(e, type) and issubclass(e, BaseException) for e in errors):
        raise UsageError(f"{where}: {value.__name__}.errors is {errors!r}; allowed: a tuple of exception classes")
    for error in errors:
        if error in _TOO_BROAD or issubclass(error, PoolClosed):
            raise UsageError(
                f"{where}: {value.__name__}.errors holds {error.__name__}, which is no promise to a caller; "
                "allowed: narrower classes, and never PoolClosed"
            )


def _check_members(value: type, attribute: str, kind: type[Capability | Guarantee], where: str) -> None:
    members = getattr(value, attribute)
    if not isinstance(members, frozenset) or not all(isinstance(member, kind) for member in members):
        raise UsageError(
            f"{where}: {value.__name__}.{attribute} is {members!r}; allowed: a frozenset of {kind.__name__} members"
        )


def _may_be_awaited(function: Callable[..., object]) -> bool:
    return inspect.iscoroutinefunction(function) or hasattr(function, "__wrapped__")
