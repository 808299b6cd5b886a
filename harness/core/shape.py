"""From untrusted JSON to our own frozen values: strict, bounded, and with a message that says where the mistake is.

Records of a run may come from anybody: a colleague, a bug report, a web page. :func:`loads` reads text and refuses
what JSON leaves open (a key twice, NaN, numbers without end, nesting without end); :func:`build` makes a dataclass of
it and refuses what the dataclass does not say. Nothing here imports, calls or instantiates what the text names.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from harness.core.errors import UsageError

#: No record that we write is nested deeper.
DEPTH_LIMIT = 40
#: No number that we write is longer.
DIGITS_LIMIT = 64
#: Texts in messages are cut here.
_SHOWN = 80

T = TypeVar("T")


def shown(value: object) -> str:
    """``value`` for a message, cut to a line."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


# -- text -> JSON -----------------------------------------------------------------------------------------------------


def loads(text: str, where: str) -> Any:
    """The JSON value in ``text``; UsageError that begins with ``where`` for anything else.

    Also refused: a key that stands twice in one object, NaN and Infinity, numbers of more than ``DIGITS_LIMIT`` digits,
    nesting beyond ``DEPTH_LIMIT``.
    """
    if _depth_may_exceed(text) and _depth(text) > DEPTH_LIMIT:
        raise UsageError(f"{where}: nested deeper than {DEPTH_LIMIT} levels; allowed: up to {DEPTH_LIMIT}")
    try:
        return (_DECODER if _LONG_NUMBER.search(text) is None else _CAREFUL).decode(text)
    except _Refused as refused:
        raise UsageError(f"{where}: {refused}") from None
    except json.JSONDecodeError as error:
        raise UsageError(f"{where}, line {error.lineno}, column {error.colno}: no JSON ({error.msg})") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: no JSON ({str(error)[:_SHOWN]})") from None


class _Refused(Exception):
    """JSON that we do not take."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _Refused(f"the key {shown(twice)} stands twice in one object; allowed: once")
    return found


def _no_constant(text: str) -> None:
    raise _Refused(f"a number is {text}; allowed: finite numbers")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _Refused(f"a number is {shown(text)}; allowed: finite numbers")
    return value


def _int(text: str) -> int:
    if len(text) > DIGITS_LIMIT:
        raise _Refused(f"a number is {shown(text)}; allowed: up to {DIGITS_LIMIT} digits")
    return int(text)


#: Where no number can be beyond the limit, the quicker decoder will do: a row of a history takes a third less.
#: (The digit that both branches begin with stands before them: so the search skips to digits, four times as fast.)
_LONG_NUMBER = re.compile(r"[0-9](?:[eE]|[0-9]{63})")
_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
_CAREFUL = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_float, parse_int=_int)


def _depth_may_exceed(text: str) -> bool:
    """False where counting brackets alone proves that ``text`` is not nested too deep: nearly always."""
    return text.count("{") + text.count("[") > DEPTH_LIMIT


def _depth(text: str) -> int:
    """How deep brackets outside of strings are nested, at most one deeper than the limit."""
    depth = deepest = 0
    in_string = escaped = False
    for sign in text:
        if in_string:
            if escaped:
                escaped = False
            elif sign == "\\":
                escaped = True
            elif sign == '"':
                in_string = False
        elif sign == '"':
            in_string = True
        elif sign in "{[":
            depth += 1
            deepest = max(deepest, depth)
            if deepest > DEPTH_LIMIT:
                return deepest
        elif sign in "}]":
            depth -= 1
    return deepest


# -- JSON -> dataclass ------------------------------------------------------------------------------------------------


def build(cls: type[T], data: Any, where: str) -> T:
    """An instance of the dataclass ``cls``; UsageError with place, field, value and what is allowed for anything else.

    Fields without a default must be there; no other keys may. Types are those of the annotations: str, int, float,
    bool, None, enums, tuples, lists, mappings with text keys, dataclasses and named tuples of these, and JSON as such.
    """
    if not isinstance(data, dict):
        raise UsageError(f"{where}: is {_kind(data)}; allowed: an object")
    fields = {item.name: item for item in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name in data:
        if name not in fields:
            raise UsageError(f"{where}: has a field {shown(name)}; allowed: {', '.join(fields)}")
    hints = _hints(cls)  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, item in fields.items():
        if name in data:
            values[name] = _value(hints[name], data[name], where, name)
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise UsageError(f"{where}: has no field {name!r}; allowed: {', '.join(fields)}")
    try:
        return cls(**values)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls, localns={"Json": Any})  # what ``loads`` let through is JSON already


def _value(kind: Any, value: Any, where: str, name: str) -> Any:
    """``value`` as ``kind`` demands it."""
    if kind is Any or type(value) is kind:  # a plain text or number, as most are
        return value
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _one_of(inner, value, where, name)
    if origin is tuple:
        return _tuple(inner, value, where, name)
    if origin in (list, Sequence):
        _must(isinstance(value, list), value, "a list", where, name)
        return [_value(inner[0], item, where, f"{name}[{n}]") for n, item in enumerate(value)]
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        _must(isinstance(value, dict), value, "an object", where, name)
        return {key: _value(inner[1], item, where, f"{name}[{shown(key)}]") for key, item in value.items()}
    if isinstance(kind, type):
        return _instance(kind, value, where, name)
    raise AssertionError(f"no record has a field like {name}: {kind}")


def _instance(kind: type, value: Any, where: str, name: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return build(kind, value, f"{where}: {name}")
    if issubclass(kind, tuple):  # a named tuple, written as a list
        hints = _hints(kind)
        _must(isinstance(value, list), value, f"a list of {', '.join(hints)}", where, name)
        _must(len(value) <= len(hints), value, f"a list of {', '.join(hints)}", where, name)
        items = [
            _value(hint, item, where, f"{name}.{key}") for (key, hint), item in zip(hints.items(), value, strict=False)
        ]
        try:
            return kind(*items)
        except TypeError:
            _must(False, value, f"a list of {', '.join(hints)}", where, name)
    if issubclass(kind, Enum):
        allowed = [str(member.value) for member in kind]
        _must(isinstance(value, str) and value in allowed, value, ", ".join(allowed), where, name)
        return kind(value)
    if kind is float:
        _must(isinstance(value, int | float) and not isinstance(value, bool), value, "a number", where, name)
        return float(value)
    words = {str: "a text", int: "a whole number", bool: "true or false", type(None): "null"}
    exact = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    _must(exact, value, words.get(kind, kind.__name__), where, name)
    return value


def _one_of(kinds: tuple[Any, ...], value: Any, where: str, name: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    rest = [kind for kind in kinds if kind is not type(None)]
    problem: UsageError | None = None
    for kind in rest:
        try:
            return _value(kind, value, where, name)
        except UsageError as error:
            problem = problem or error
    assert problem is not None
    raise problem


def _tuple(kinds: tuple[Any, ...], value: Any, where: str, name: str) -> tuple[Any, ...]:
    _must(isinstance(value, list), value, "a list", where, name)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_value(kinds[0], item, where, f"{name}[{n}]") for n, item in enumerate(value))
    _must(len(value) == len(kinds), value, f"a list of {len(kinds)}", where, name)
    return tuple(
        _value(kind, item, where, f"{name}[{n}]") for n, (kind, item) in enumerate(zip(kinds, value, strict=True))
    )


def _must(true: bool, value: Any, allowed: str, where: str, name: str) -> None:
    if not true:
        raise UsageError(f"{where}: {name} is {shown(value)}; allowed: {allowed}")


def _kind(value: Any) -> str:
    return {list: "a list", str: "a text", bool: "true or false", type(None): "null"}.get(type(value), "a number")
