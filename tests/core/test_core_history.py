"""The history's loader: what was written is read back, a torn tail is dropped, damage is told with its line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import UsageError
from harness.core.history import SCHEMA, ErrorInfo, History, Op, OpType, parse_history
from harness.core.shape import build

_TEXT = st.text(max_size=12)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_ERRORS = st.builds(
    ErrorInfo,
    type=_TEXT,
    message=_TEXT,
    classes=st.lists(_TEXT, max_size=3).map(tuple),
    links=st.lists(st.tuples(_TEXT, _TEXT, _TEXT), max_size=3).map(tuple),
    pool_closed=st.booleans(),
    declared=st.booleans(),
)
_OPS = st.builds(
    Op,
    index=st.integers(0, 10**9),
    time_s=st.floats(0, 1e5).map(lambda seconds: round(seconds, 6)),
    type=st.sampled_from(OpType),
    f=_TEXT,
    process=_TEXT,
    call=st.none() | st.integers(0, 10**9),
    value=st.dictionaries(_TEXT, _JSON, max_size=4),
    error=st.none() | _ERRORS,
)


def _lines(ops: list[Op]) -> list[str]:
    header = {"schema": SCHEMA, "cell": "c", "seed": 0, "groups": ["g0"], "agents": []}
    return [json.dumps(header) + "\n", *(json.dumps(op.to_json()) + "\n" for op in ops)]


def _op(index: int, kind: OpType = OpType.INFO, call: int | None = None, f: str = "turn", **value: Any) -> Op:
    return Op(index, index / 10, kind, f, "u0", call, value)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.lists(_OPS, max_size=8))
def test_what_was_written_is_read_back(ops: list[Op]) -> None:
    history = parse_history(_lines(ops))
    assert list(history) == ops
    assert not history.torn


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.lists(_OPS, min_size=1, max_size=4), st.data())
def test_a_tail_torn_at_any_place_is_dropped_and_the_rest_stands(ops: list[Op], data: st.DataObject) -> None:
    whole = "".join(_lines(ops))
    cut = data.draw(st.integers(1, len(whole) - 1))
    lines = whole[:cut].splitlines(keepends=True)
    history = parse_history(lines)
    complete = [line for line in lines[1:] if line.endswith("\n")]
    assert list(history) == ops[: len(complete)]
    assert history.torn == (not lines[-1].endswith("\n") and (len(lines) > 1 or history.torn))


_SHORT_LINK = '{"type": "E", "message": "m", "links": [["cause"]]}'
_NO_CLASSES = '{"type": "E", "message": "m", "classes": 3}'
_DAMAGE = [
    "not json\n",
    "[]\n",
    "{}\n",
    "null\n",
    '{"index": "1", "time_s": 0, "type": "ok", "f": "turn", "process": "u0", "value": {}}\n',
    '{"index": 1, "time_s": 0, "type": "maybe", "f": "turn", "process": "u0", "value": {}}\n',
    '{"index": 1, "time_s": 0, "type": "ok", "f": "turn", "process": "u0", "value": []}\n',
    '{"index": 1, "time_s": 0, "type": "ok", "process": "u0", "value": {}}\n',
    '{"index": 1, "time_s": 1' + "0" * 400 + ', "type": "ok", "f": "turn", "process": "u0", "value": {}}\n',
    '{"index": 1, "time_s": 0, "type": "ok", "f": "t", "process": "u0", "value": {}, "error": {"message": "m"}}\n',
    '{"index": 1, "time_s": 0, "type": "ok", "f": "t", "process": "", "value": {}, "error": ' + _SHORT_LINK + "}\n",
    '{"index": 1, "time_s": 0, "type": "ok", "f": "t", "process": "", "value": {}, "error": ' + _NO_CLASSES + "}\n",
    "[" * 100_000 + "\n",
]


@pytest.mark.parametrize("damage", _DAMAGE, ids=range(len(_DAMAGE)))
def test_damage_in_the_middle_is_told_with_its_line(damage: str) -> None:
    lines = _lines([_op(0), _op(1)])
    with pytest.raises(UsageError, match=r"run/history\.jsonl, line 3: not a history row"):
        parse_history([lines[0], lines[1], damage, lines[2]], where="run/history.jsonl")


@pytest.mark.parametrize("damage", _DAMAGE, ids=range(len(_DAMAGE)))
def test_damage_at_the_end_is_a_torn_tail(damage: str) -> None:
    history = parse_history([*_lines([_op(0)]), damage])
    assert history.torn
    assert len(history) == 1


def test_a_schema_of_another_version_is_refused() -> None:
    with pytest.raises(UsageError, match="history schema 99; this version reads 1"):
        parse_history(['{"schema": 99}\n', "{}\n"])


def test_an_empty_file_is_an_empty_history() -> None:
    history = parse_history([])
    assert (len(history), history.torn, history.end_s) == (0, False, 0.0)


def test_pairs_points_and_phases() -> None:
    history = History(
        [
            _op(0, OpType.INVOKE, 1),
            _op(1, OpType.INVOKE, 2, "restore"),
            _op(2, OpType.OK, 1),
            _op(3, f="phase", name="gate"),
            _op(4, f="phase", name="drive"),
            _op(5, f="phase", name="gate"),
        ]
    )
    assert [(a.index, b.index if b else None) for a, b in history.pairs()] == [(0, 2), (1, None)]
    assert [a.index for a, _ in history.pairs("restore")] == [1]
    assert [op.index for op in history.points("phase")] == [3, 4, 5]
    assert (history.phase("gate"), history.phase("healed")) == (0.3, None)
    assert history.end_s == 0.5
    assert [op.index for op in history[1:3]] == [1, 2]


def test_times_are_written_with_microseconds() -> None:
    assert _op(0).to_json()["time_s"] == 0
    row = Op(0, 1.23456789, OpType.OK, "turn", "u0", 1, {}).to_json()
    assert row["time_s"] == pytest.approx(1.234568)
    assert math.isclose(Op.from_json(row).time_s, 1.234568)
    assert "error" not in row


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"type": None},
        {"message": 3},
        {"classes": "Exception"},
        {"classes": [1]},
        {"classes": []},
        {"links": [["cause", "ValueError"]]},
        {"links": [["cause", "ValueError", 1]]},
        {"links": [{}]},
        {"links": "abc"},
        {"pool_closed": 1},
        {"declared": None},
        {"more": 1},
        {"type": ..., "message": "m"},
        {"links": ...},
    ],
    ids=str,
)
def test_the_quick_way_to_read_an_error_takes_what_the_strict_one_takes(change: dict[str, Any]) -> None:
    """``...`` stands for a field that is not there."""
    whole = ErrorInfo("E", "gone", ("E", "Exception"), (("cause", "ValueError", "odd"),), pool_closed=True)
    data = {name: value for name, value in {**whole.to_json(), **change}.items() if value is not ...}

    def read(way: Callable[[], ErrorInfo]) -> ErrorInfo | str:
        try:
            return way()
        except UsageError as error:
            return str(error)

    assert read(lambda: ErrorInfo.from_json(data)) == read(lambda: build(ErrorInfo, data, "error"))
    assert isinstance(read(lambda: ErrorInfo.from_json(data)), str) is (
        change not in ({}, {"classes": []}, {"links": ...})
    )
