"""Records that nobody should have to trust: what is changed in a good one, and what the user is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Bad:
    """``file`` of a good run is changed by ``change`` (of its parsed JSON) or becomes ``raw``; ``said`` is told."""

    file: str
    said: tuple[str, ...]
    change: Callable[[Row], object] | None = None
    raw: bytes | None = None

    def spoil(self, good: bytes) -> bytes:
        """The bad file."""
        if self.raw is not None:
            return self.raw
        assert self.change is not None
        if self.file == "history.jsonl":
            lines = good.splitlines(keepends=True)
            row = json.loads(lines[1])
            self.change(row)
            return b"".join([lines[0], json.dumps(row).encode() + b"\n", *lines[2:]])
        data = json.loads(good)
        self.change(data)
        return json.dumps(data).encode()


def put(*path: str | int, to: Any) -> Callable[[Row], object]:
    """Set one place in a JSON value."""

    def change(data: Row) -> None:
        place: Any = data
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return change


def without(name: str) -> Callable[[Row], object]:
    return lambda data: data.pop(name)


def _window(**changes: Any) -> list[Row]:
    return [{"fault": {"kind": "proxy_down"}, "start_s": 0.0, "stop_s": 1.0, **changes}]


def _cell(said: str, change: Callable[[Row], object]) -> Bad:
    return Bad("cell.json", ("cell.json", said), change)


def _raw(file: str, said: str, raw: bytes) -> Bad:
    return Bad(file, (file, said), raw=raw)


def _row(said: str, change: Callable[[Row], object]) -> Bad:
    return Bad("history.jsonl", ("history.jsonl, line 2", said), change)


def _in(file: str, said: str, change: Callable[[Row], object]) -> Bad:
    return Bad(file, (file, said), change)


_DEEP = b'{"id": ' + b"[" * 5000 + b"]" * 5000 + b"}"

TEXTS = {
    "empty": _raw("cell.json", "line 1, column 1: no JSON (Expecting value)", b""),
    "torn": _raw("cell.json", "no JSON", b'{"id": "a", "scen'),
    "no json at all": _raw("cell.json", "line 1, column 1: no JSON", b"!!python/object/apply:os.system ['true']"),
    "a pickle": _raw("cell.json", "byte 0 is no UTF-8; allowed: JSON in UTF-8", b"\x80\x04\x95."),
    "not utf-8": _raw("cell.json", "byte 7 is no UTF-8", b'{"id": \xff}'),
    "a list": _raw("cell.json", "holds []; allowed: an object", b"[]"),
    "a number": _raw("cell.json", "holds 7; allowed: an object", b"7"),
    "a key twice": _raw(
        "cell.json", "the key 'id' stands twice in one object; allowed: once", b'{"id": "a", "id": "b"}'
    ),
    "NaN": _raw("cell.json", "a number is NaN; allowed: finite numbers", b'{"seed": NaN}'),
    "minus infinity": _raw("cell.json", "a number is -Infinity; allowed: finite", b'{"seed": -Infinity}'),
    "a huge float": _raw("cell.json", "a number is '1e999'; allowed: finite", b'{"seed": 1e999}'),
    "a huge number": _raw("cell.json", "a number is '10000000", b'{"seed": 1' + b"0" * 400 + b"}"),
    "a number of a megabyte": _raw("cell.json", "allowed: up to 64 digits", b'{"seed": ' + b"9" * (1 << 20) + b"}"),
    "nested without end": _raw("cell.json", "nested deeper than 40 levels", _DEEP),
    "nested in a verdict": _raw("verdict.json", "nested deeper than 40 levels", b"[" * 200_000),
    "facts that are none": _raw("facts.json", "no JSON", b"\x00\x01"),
    "a run that is none": _raw("run.json", "no JSON", b"---\nplanned: 1\n"),
}

CELLS = {
    "no id": _cell("has no field 'id'; allowed: id, scenario", without("id")),
    "an unknown field": _cell("has a field 'shell'; allowed: id, scenario", put("shell", to="rm")),
    "id is a number": _cell("id is 7; allowed: a text", put("id", to=7)),
    "id is a path": _cell("cell id is '../../etc/x'; allowed: letters, digits", put("id", to="../../etc/x")),
    "agents is a text": _cell("agents is 'SupervisorAgent'; allowed: a list", put("agents", to="SupervisorAgent")),
    "no agents": _cell("agents has 0 entries; allowed: 1 to 100", put("agents", to=[])),
    "a thousand million agents": _cell("agents has 5000 entries; allowed: 1 to 100", put("agents", to=["a"] * 5000)),
    "an agent that is a list": _cell("agents[0] is ['a']; allowed: a text", put("agents", to=[["a"]])),
    "an unknown agent": _cell("unknown agent 'Nobody'", put("agents", to=["Nobody"])),
    "seed is a text": _cell("seed is '0'; allowed: a whole number", put("seed", to="0")),
    "seed is true": _cell("seed is True; allowed: a whole number", put("seed", to=True)),
    "seed is below zero": _cell("seed is -1; allowed: 0 to", put("seed", to=-1)),
    "seed is 2**31": _cell("seed is 2147483648; allowed: 0 to 2147483647", put("seed", to=2**31)),
    "an unknown durability": _cell("durability is 'later'; allowed: async, sync, exit", put("durability", to="later")),
    "an unknown environment": _cell("environment is 'prod'; allowed: auto, local", put("environment", to="prod")),
    "a target without its options": _cell("add --target-dsn", put("environment", to="target")),
    "provenance is a list": _cell("provenance is []; allowed: an object", put("provenance", to=[])),
    "an unknown scenario": _cell("unknown scenario 'network/nothing'", put("scenario", to="network/nothing")),
    "an unknown strategy": _cell("unknown strategy 'os.system'", put("strategy", to="os.system")),
    "a file beside the record": _cell("is a file that a record may not name", put("strategy", to="evil.py:Evil")),
    "a file that is relative": _cell("allowed: an absolute path outside", put("scenario", to="../evil.py:EVIL")),
}

PLANS = {
    "a plan that is a text": _cell("plan is 'none'; allowed: a list", put("plan", to="none")),
    "a plan of numbers": _cell("plan, window 0: allowed: an object with just fault", put("plan", to=[7])),
    "an empty plan": _cell(
        "plan has no window; allowed: at least one", lambda data: data.update(plan=[], scenario="network/latency")
    ),
    "too many windows": _cell("plan has 5000 windows; allowed: up to 1000", put("plan", to=_window() * 5000)),
    "a window with more": _cell("plan, window 0: allowed: an object with just", put("plan", to=_window(include="x"))),
    "a fault that is a text": _cell(
        "fault is 'proxy_down'; allowed: an object", put("plan", to=_window(fault="proxy_down"))
    ),
    "a fault without a kind": _cell("plan, window 0: kind is None; allowed:", put("plan", to=_window(fault={}))),
    "an unknown fault": _cell("kind is 'rm'; allowed:", put("plan", to=_window(fault={"kind": "rm"}))),
    "an unknown field of a fault": _cell(
        "latency has no field 'eval'", put("plan", to=_window(fault={"kind": "latency", "eval": 1}))
    ),
    "a fault's field is a text": _cell(
        "latency.latency_ms is '9'; allowed: a int",
        put("plan", to=_window(fault={"kind": "latency", "latency_ms": "9"})),
    ),
    "a start before zero": _cell("start_s is -1; allowed: 0 to 600", put("plan", to=_window(start_s=-1))),
    "a stop after the end": _cell("stop_s is 1000000000; allowed: 0 to 600", put("plan", to=_window(stop_s=10**9))),
    "a stop before the start": _cell("stop_s is 1.0; allowed: later than 2", put("plan", to=_window(start_s=2))),
    "a stop that is a text": _cell("stop_s is '1'; allowed: a number of seconds", put("plan", to=_window(stop_s="1"))),
    "the same fault twice": _cell("windows 0 and 1 of 'proxy_down' overlap", put("plan", to=_window() * 2)),
}

ROWS = {
    "a row that is a list": Bad(
        "history.jsonl", ("line 2", "is []; allowed: an object"), raw=b'{"schema": 1}\n[]\n{"a": 1}\n'
    ),
    "a row of garbage": Bad("history.jsonl", ("line 2", "no JSON"), raw=b'{"schema": 1}\n\xff\xfe\n{"a": 1}\n'),
    "a schema of tomorrow": Bad(
        "history.jsonl", ("history schema 99; this version reads 1",), raw=b'{"schema": 99}\n{}\n'
    ),
    "a row nested without end": Bad(
        "history.jsonl", ("line 2", "nested deeper than 40"), raw=b'{"schema": 1}\n' + b"[" * 4000 + b"\n{}\n{}\n"
    ),
    "a key twice in a row": Bad(
        "history.jsonl", ("line 2", "the key 'f' stands twice"), raw=b'{"schema": 1}\n{"f": 1, "f": 2}\n{}\n'
    ),
    "no index": _row("index is None; allowed: a whole number", without("index")),
    "index is true": _row("index is True; allowed: a whole number", put("index", to=True)),
    "time is a text": _row("time_s is 'now'; allowed: seconds", put("time_s", to="now")),
    "an unknown type": _row("type is 'maybe'; allowed: invoke, ok, fail, info", put("type", to="maybe")),
    "f is null": _row("f is None; allowed: a text", put("f", to=None)),
    "process is a list": _row("process is []; allowed: a text", put("process", to=[])),
    "value is a text": _row("value is 'x'; allowed: an object", put("value", to="x")),
    "call is a float": _row("call is 1.5; allowed: a whole number, or none", put("call", to=1.5)),
    "an unknown field of a row": _row("has a field 'exec'; allowed: call, error, f", put("exec", to="1")),
    "an error that is a text": _row("error: is a text; allowed: an object", put("error", to="boom")),
    "an error without a message": _row("error: has no field 'message'", put("error", to={"type": "E"})),
    "links of two": _row(
        "error: links[0] is ['cause', 'E']; allowed: a list of 3",
        put("error", to={"type": "E", "message": "m", "links": [["cause", "E"]]}),
    ),
}

RESULTS = {
    "threads is a list": _in("facts.json", "threads is []; allowed: an object", put("threads", to=[])),
    "a thread of another shape": _in("facts.json", "threads['t']: has no field 'thread'", put("threads", "t", to={})),
    "backends that are texts": _in(
        "facts.json", "leftover_backends['g0'] is '0'; allowed: a whole number", put("leftover_backends", "g0", to="0")
    ),
    "complete is a number": _in("facts.json", "complete is 1; allowed: true or false", put("complete", to=1)),
    "an unknown verdict": _in("verdict.json", "verdict is 'FINE'; allowed: FAIL, ERROR", put("verdict", to="FINE")),
    "findings is an object": _in("verdict.json", "findings is {}; allowed: a list", put("findings", to={})),
    "an unknown guarantee": _in(
        "verdict.json", "guarantee is 'speed'; allowed: no_pool_closed", put("findings", 0, "guarantee", to="speed")
    ),
    "evidence of texts": _in(
        "verdict.json", "evidence[0] is 'a'; allowed: a whole number", put("findings", 0, "evidence", to=["a"])
    ),
    "wall time is a text": _in("verdict.json", "wall_s is 'long'; allowed: a number", put("wall_s", to="long")),
    "a timeline that is a text": _in(
        "verdict.json", "timeline: is a text; allowed: an object", put("timeline", to="x")
    ),
    "planned is a text": _in("run.json", "planned is 'all'; allowed: a whole number", put("planned", to="all")),
    "must_catch of two": _in(
        "run.json", "must_catch[0] is ['a', 'b']; allowed: a list of 3", put("must_catch", to=[["a", "b"]])
    ),
    "a scenario with more": _in(
        "run.json", "scenarios[0]: has a field 'x'", put("scenarios", to=[{"name": "n", "x": 1}])
    ),
    "notes is a text": _in("run.json", "notes is 'none'; allowed: a list", put("notes", to="none")),
    "interrupted is a text": _in(
        "run.json", "interrupted is 'yes'; allowed: a whole number", put("interrupted", to="yes")
    ),
    "no start": _in("run.json", "has no field 'started'; allowed: started", without("started")),
}

ALL = {**TEXTS, **CELLS, **PLANS, **ROWS, **RESULTS}
