"""A pool that lives in a module as a subject: the object, the module's other pools and graphs, and its source."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

from harness.lint.finding import Place
from harness.lint.made import where_made
from harness.lint.seen import POOLS, AnyPool, from_object
from harness.lint.source import read
from harness.lint.subject import Given, Subject, unseen

#: Functions with such names are taken for recovery; so is every ``except`` block.
_RECOVERY = re.compile(
    r"re_?(creat|connect|cover|new|build|start|fresh|open|set|init)|heal|swap|repair|replace|on_(error|failure)"
)


def of_pool(
    pool: AnyPool, name: str, module: ModuleType, path: Path, given: Given, versions: Mapping[str, str]
) -> Subject:
    """Everything that can be seen of ``pool``, which is called ``name`` in ``module``."""
    source = read([path] if path.is_file() else [])
    pools = {id(pool): (name, pool)}
    for key, value in _pools_of(module):
        pools.setdefault(id(value), (key, value))
    seen = [
        from_object(found, where_made(source, key.rpartition(".")[2]) or Place(str(path)))
        for key, found in pools.values()
    ]
    functions = () if source is None else tuple(source.functions)
    more = f" and {len(seen) - 1} more of its module" if len(seen) > 1 else ""
    return Subject(
        name=f"pool {name}{more}",
        pools=tuple(seen),
        source=source,
        start=functions,
        recovery=tuple(key for key in functions if _RECOVERY.search(key)),
        strategy=False,
        budget=None,
        needs_pooler=False,
        shared_graphs=_graphs_on_one_saver(module),
        given=given,
        versions=versions,
        not_checked=tuple(unseen(seen, source, "what other modules do with it")),
    )


def _pools_of(module: ModuleType) -> Iterator[tuple[str, AnyPool]]:
    """The pools of a module and of its own classes, with their names."""
    for key, value in vars(module).items():
        if isinstance(value, POOLS):
            yield key, value
        elif isinstance(value, type) and value.__module__ == module.__name__:
            yield from ((f"{key}.{name}", item) for name, item in vars(value).items() if isinstance(item, POOLS))


def _graphs_on_one_saver(module: ModuleType) -> int:
    """How many compiled graphs of the module have the same saver; 0 if no two have."""
    graphs = {id(value): value for value in vars(module).values() if hasattr(value, "ainvoke")}
    savers = [id(saver) for graph in graphs.values() if (saver := getattr(graph, "checkpointer", None))]
    most = max((savers.count(saver) for saver in savers), default=0)
    return most if most > 1 else 0
