"""The settings of one pool, as far as they can be known: from the object itself, or from the call that makes it."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool, AsyncNullConnectionPool, ConnectionPool, NullConnectionPool

from harness.core.cell import DEFAULT_AGENTS
from harness.lint.finding import Place

AnyPool = AsyncConnectionPool[Any] | ConnectionPool[Any]
#: What counts as a pool.
POOLS = (AsyncConnectionPool, ConnectionPool)
_NULL_POOLS = (AsyncNullConnectionPool, NullConnectionPool)

#: psycopg's own defaults.
AUTOCOMMIT, PREPARE_THRESHOLD = False, 5
MIN_SIZE = 4


@dataclass(frozen=True, slots=True)
class Unknown:
    """A setting that cannot be read, and why."""

    why: str


class Made(Enum):
    """When a strategy makes a pool."""

    ONCE = "once in a replica"
    BY_AGENT = "for each agent"
    BY_REQUEST = "for each request"
    BY_FIRST_REQUESTS = "by each of the requests that come first, for nothing makes the second one wait"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSeen:
    """Settings as the pool would use them, or Unknown.

    ``check`` is the callback, or the text of the expression that gives it. ``null``: it connects for each checkout,
    and bounds that. ``made`` says how many of this pool one replica makes, as ``copies`` says in numbers.
    """

    name: str
    place: Place
    autocommit: object
    prepare_threshold: object
    connect_timeout: object
    check: object
    max_size: object
    host: object
    port: object
    null: bool = False
    made: Made = Made.ONCE

    @property
    def copies(self) -> int:
        """How many of it one replica holds; 0 where nothing bounds that."""
        return {Made.ONCE: 1, Made.BY_AGENT: len(DEFAULT_AGENTS)}.get(self.made, 0)


def from_object(pool: AnyPool, place: Place) -> PoolSeen:
    """Read a pool that was made and perhaps never opened; it is left as it is."""
    address = _address(pool.conninfo)
    settings: Mapping[str, Any] | Unknown = (
        Unknown("the pool's kwargs are a callable") if callable(pool.kwargs) else dict(pool.kwargs or {})
    )

    def connection(name: str, default: object) -> object:
        if isinstance(settings, Unknown):
            return settings
        if name in settings:
            return settings[name]
        if isinstance(address, Unknown) and name in ("connect_timeout", "host", "port"):
            return address
        if not isinstance(address, Unknown) and name in address:
            return address[name]
        return _hidden(pool, name) or default

    return PoolSeen(
        name=pool.name,
        place=place,
        autocommit=connection("autocommit", AUTOCOMMIT),
        prepare_threshold=connection("prepare_threshold", PREPARE_THRESHOLD),
        connect_timeout=connection("connect_timeout", os.environ.get("PGCONNECT_TIMEOUT")),
        check=pool._check,
        max_size=pool.max_size,
        host=connection("host", ""),
        port=connection("port", ""),
        null=isinstance(pool, _NULL_POOLS),
    )


def from_call(arguments: Mapping[str, object], place: Place, called: str, made: Made, *, by_database: bool) -> PoolSeen:
    """Read the call that makes a pool. ``arguments`` have their values or are Unknown.

    ``called`` is the name of what is called. ``by_database``: by ``Database.pool``, which adds what savers need.
    """
    connection = arguments.get("kwargs", {})
    conninfo = arguments.get("conninfo", {"connect_timeout": 2} if by_database else "")
    address = conninfo if isinstance(conninfo, Unknown | dict) else _address(conninfo)
    own = {"autocommit": True, "prepare_threshold": 0} if by_database else {}
    opaque = arguments.get("**")

    def argument(name: str, default: object) -> object:
        return arguments.get(name, opaque or default)

    def setting(name: str, default: object) -> object:
        if isinstance(connection, Mapping) and name in connection:
            return connection[name]
        if opaque or not isinstance(connection, Mapping):
            return opaque or connection
        if name in ("connect_timeout", "host", "port"):
            return address if isinstance(address, Unknown) else address.get(name, default)
        if "configure" in arguments:
            return Unknown("the pool has a configure callback")
        return own.get(name, default)

    return PoolSeen(
        name="a pool",
        place=place,
        autocommit=setting("autocommit", AUTOCOMMIT),
        prepare_threshold=setting("prepare_threshold", PREPARE_THRESHOLD),
        connect_timeout=setting("connect_timeout", os.environ.get("PGCONNECT_TIMEOUT")),
        check=argument("check", None),
        max_size=_most(argument("min_size", MIN_SIZE), argument("max_size", None)),
        host=setting("host", ""),
        port=setting("port", ""),
        null="Null" in called + str(arguments.get("pool_class", "")),
        made=made,
    )


def _most(min_size: object, max_size: object) -> object:
    """``max_size``, which is ``min_size`` unless it is given."""
    return min_size if max_size is None else max_size


def _address(conninfo: object) -> Mapping[str, object] | Unknown:
    if callable(conninfo):
        return Unknown("the pool's conninfo is a callable")
    try:
        found = conninfo_to_dict(str(conninfo))
    except psycopg.ProgrammingError:
        return Unknown("the pool's conninfo cannot be parsed")
    if "service" in found and "connect_timeout" not in found:
        return Unknown("the pool's conninfo names a service")
    return {key: value for key, value in found.items() if key != "password"}


def _hidden(pool: AnyPool, name: str) -> Unknown | None:
    """Where else a setting of the connection could come from."""
    if _overrides_connect(pool.connection_class):
        return Unknown(f"{pool.connection_class.__name__} has a connect() of its own")
    if pool._configure is not None and name in ("autocommit", "prepare_threshold"):
        text = source_text(pool._configure)
        if text is None:
            return Unknown("the source of the pool's configure callback cannot be read")
        if name in text:
            return Unknown("the pool's configure callback sets it")
    return None


def _overrides_connect(connection_class: type) -> bool:
    for cls in connection_class.__mro__:
        if "connect" in vars(cls):
            return not cls.__module__.startswith("psycopg")
    return False


def source_text(function: Callable[..., Any]) -> str | None:
    """The source of a function, None if there is none to be read."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return None
