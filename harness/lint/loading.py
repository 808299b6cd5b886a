"""From a reference to a subject: ``path/to/file.py:Name``, ``package.module:Name``, or the name of a strategy.

Loading a module runs it, as importing it anywhere would. ``Name`` may lead into a class:
``service.py:BaseAgent._shared_pool``.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.core.errors import UsageError
from harness.core.pool import PoolStrategy
from harness.lint.of_pool import of_pool
from harness.lint.of_strategy import of_strategy
from harness.lint.seen import POOLS
from harness.lint.subject import Given, Subject
from harness.plugins import brief, checked_strategy, load_file, where_is
from harness.registry import default_registry, did_you_mean

_ALLOWED = "allowed: an AsyncConnectionPool or ConnectionPool of psycopg_pool, or a PoolStrategy"


def subject_of(reference: str, given: Given, versions: Mapping[str, str] | None = None) -> Subject:
    """What ``reference`` names, looked at; UsageError in one sentence if it cannot be."""
    found = versions if versions is not None else installed()
    if ":" not in reference and not reference.endswith(".py"):
        return of_strategy(default_registry().strategy(reference), given, found)
    module, path, name = _module_of(reference)
    value = _named(module, path, name)
    if isinstance(value, type) and issubclass(value, PoolStrategy):
        return of_strategy(checked_strategy(value, where_is(value, path)), given, found)
    if isinstance(value, POOLS):
        return of_pool(value, name, module, path, given, found)
    kind = f"the class {value.__name__}" if isinstance(value, type) else _kind(value)
    raise UsageError(f"{path}: {name} is {kind}, neither a pool nor a strategy; {_ALLOWED}")


def _kind(value: object) -> str:
    return "None, for the pool is made later" if value is None else f"a {type(value).__name__}"


def installed() -> Mapping[str, str]:
    """The versions of what the lint knows floors of."""
    return {name: importlib.metadata.version(name) for name in ("psycopg", "psycopg-pool")}


def _module_of(reference: str) -> tuple[ModuleType, Path, str]:
    place, _, name = reference.rpartition(":")
    if not place or not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"{reference}: no name after the colon; write file.py:Name or package.module:Name")
    if place.endswith(".py"):
        path = Path(place).expanduser().resolve()
        return load_file(path), path, name
    if not all(part.isidentifier() for part in place.split(".")):
        raise UsageError(f"{reference}: {place!r} is no module; write file.py:Name or package.module:Name")
    module = _imported(place)
    file = getattr(module, "__file__", None)
    return module, Path(file).resolve() if file else Path(place), name


def _imported(name: str) -> ModuleType:
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # SystemExit too: a module must not end the command that looks at it.
        if isinstance(error, ModuleNotFoundError) and error.name and (name + ".").startswith(error.name + "."):
            raise UsageError(f"{name}: there is no module {error.name!r} here or among what is installed") from error
        raise UsageError(f"{name}: the module does not import: {brief(error)}") from error


def _named(module: ModuleType, path: Path, name: str) -> Any:
    value: Any = module
    for done, part in enumerate(name.split(".")):
        if not hasattr(value, part):
            owner = ".".join(name.split(".")[:done]) or "the module"
            offered = [key for key, item in vars(module).items() if _is_offered(item, module)]
            offer = f" It has {', '.join(sorted(offered))}" if offered else " It has no pool and no strategy"
            raise UsageError(f"{path}: {owner} has no {part!r}{did_you_mean(part, offered)}{offer}")
        value = getattr(value, part)
    return value


def _is_offered(value: object, module: ModuleType) -> bool:
    is_strategy = isinstance(value, type) and issubclass(value, PoolStrategy) and value.__module__ == module.__name__
    return is_strategy or isinstance(value, POOLS)
