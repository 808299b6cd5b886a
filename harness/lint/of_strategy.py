"""A pool strategy as a subject: it is constructed with a database that connects nowhere, and its classes are read.

None of its methods is called, so of pools that they make only the calls are seen.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path

from harness.core.environment import Capability
from harness.core.errors import UsageError
from harness.core.pool import PoolStrategy
from harness.core.scenario import Bounds
from harness.lint.drawn import DrawnDatabase
from harness.lint.finding import Place
from harness.lint.made import made_by_methods, where_made
from harness.lint.seen import POOLS, AnyPool, from_object
from harness.lint.source import read
from harness.lint.subject import Given, Subject, unseen
from harness.plugins import brief, where_is

#: What the runner calls of a strategy: when a replica starts, and when something has gone wrong.
START = ("__init__", "open", "checkpointer")
RECOVERY = ("ensure_healthy", "recreate", "serve")


def of_strategy(strategy: type[PoolStrategy], given: Given, versions: Mapping[str, str]) -> Subject:
    """Everything that can be seen of ``strategy``; UsageError if it cannot be constructed."""
    classes = [cls for cls in strategy.__mro__ if issubclass(cls, PoolStrategy) and cls is not PoolStrategy]
    files = {cls: path for cls in classes if (path := _file_of(cls)) is not None}
    source = read(dict.fromkeys(files.values()), [(cls.__name__, path) for cls, path in files.items()])
    database = DrawnDatabase([str(path) for path in files.values()])
    made = _constructed(strategy, database)
    known = {id(pool) for pool, _ in database.drawn}
    place = where_made(source, "") or Place(str(files.get(strategy, strategy.__module__)))
    seen = [from_object(pool, where) for pool, where in database.drawn]
    seen += [from_object(pool, place) for pool in _pools_of(vars(made)) if id(pool) not in known]
    pools = (*seen, *made_by_methods(source, [pool.place for pool in seen]))
    return Subject(
        name=f"strategy {strategy.name}",
        pools=pools,
        source=source,
        start=START,
        recovery=RECOVERY,
        strategy=True,
        budget=Bounds().budget,
        needs_pooler=Capability.PGBOUNCER_TRANSACTION in strategy.needs and not _keeps_prepared(strategy),
        shared_graphs=0,
        given=given,
        versions=versions,
        not_checked=tuple(unseen(pools, source, "what its methods do when they run")),
    )


def _keeps_prepared(strategy: type[PoolStrategy]) -> bool:
    """True if it asks for a PgBouncer that keeps prepared statements itself."""
    return str(strategy.pooler.get("max_prepared_statements", "0")) != "0"


def _constructed(strategy: type[PoolStrategy], database: DrawnDatabase) -> PoolStrategy:
    try:
        return strategy(database)
    except Exception as error:
        reason = brief(error)
        raise UsageError(f"{where_is(strategy)}: {strategy.__name__} could not be constructed: {reason}") from error


def _pools_of(values: Mapping[str, object]) -> Iterator[AnyPool]:
    """Pools among an object's attributes, also in lists and dicts and one object further down."""
    for value in values.values():
        items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else (value,)
        for item in items:
            if isinstance(item, POOLS):
                yield item
            elif hasattr(item, "__dict__"):
                yield from (inner for inner in vars(item).values() if isinstance(inner, POOLS))


def _file_of(cls: type) -> Path | None:
    try:
        file = inspect.getsourcefile(cls)
    except (TypeError, OSError):
        return None
    return Path(file).resolve() if file else None
