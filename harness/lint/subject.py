"""What is linted: the pools that were seen, the source that was read, and what the user says of where it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.lint.finding import NotChecked
from harness.lint.seen import PoolSeen
from harness.lint.source import Source

#: Postgres's own default, of which it keeps three for superusers.
MAX_CONNECTIONS = 100
RESERVED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What cannot be seen without a network. None: not said.

    ``pooler`` is none, session, transaction or prepared (transaction mode, with prepared statements that it keeps),
    ``max_connections`` the server's, ``replicas`` the processes that run this.
    """

    pooler: str | None = None
    max_connections: int | None = None
    replicas: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """``budget``: connections that one replica may hold if the user says nothing else; None for a bare pool.

    ``recovery`` are the functions from which a recovery begins, ``start`` those that run when a replica starts. They
    are names in ``source``, which is None where it could not be read.
    """

    name: str
    pools: tuple[PoolSeen, ...]
    source: Source | None
    start: tuple[str, ...]
    recovery: tuple[str, ...]
    strategy: bool
    budget: int | None
    needs_pooler: bool
    shared_graphs: int
    given: Given
    versions: Mapping[str, str]
    not_checked: tuple[NotChecked, ...] = ()


def unseen(pools: Sequence[PoolSeen], source: Source | None, elsewhere: str) -> Iterator[NotChecked]:
    """What is never checked, and why; ``elsewhere`` is what the source that was read does not show."""
    if not pools:
        yield NotChecked("the settings of its pools", "none was made when it was constructed, and no method makes one")
    if source is None:
        yield NotChecked("setup(), open(wait=True), shared savers", "the source cannot be read")
    else:
        files = ", ".join(path.name for path in source.files)
        yield NotChecked(elsewhere, f"only {files} was read, and nothing was opened or run")
    yield NotChecked(
        "the server and what stands before it",
        "nothing is asked over the network; what --pooler, --max-connections and --replicas do not say is assumed",
    )
