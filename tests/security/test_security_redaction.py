"""Secrets are found by value in every spelling, and what is no secret stays as it is."""

from __future__ import annotations

import html
import io
import json
import os
import re
import urllib.parse
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core import redaction
from harness.core.environment import Endpoint
from harness.core.history import OpType, parse_history
from harness.core.redaction import (
    HIDDEN,
    RedactedStream,
    betrays,
    can_hide,
    finite,
    hide,
    mask,
    redacted,
    redacted_bytes,
    redacted_json,
    to_json_line,
)
from harness.core.verdict import Json
from harness.driving.exceptions import MESSAGE_LIMIT, describe
from harness.store import HistoryWriter, write_json, write_whole

PLAIN = "Qx7-canary_VALUE"
ODD = "'q'x\"7\\canary a%n<&>ä/+$\n9\""
#: A word that no library escapes: what it stands in is what has to be left.
WORD = "Word"
_QUOTES = re.compile(r"""['"\\]|&quot;|&#x27;""")


def _five_times(value: str) -> str:
    for _ in range(5):
        value = json.dumps(value)
    return value


def spellings(value: str) -> dict[str, str]:
    """How a value may stand in a text, each made by the library that would write it."""
    endpoint = Endpoint("h", 1, "d", "u", value)
    return {
        "plain": value,
        "uri": f"postgresql://u:{urllib.parse.quote(value, safe='')}@h/d",
        "uri, slash kept": urllib.parse.quote(value),
        "query": urllib.parse.urlencode({"password": value}),
        "lower case percent": urllib.parse.quote(value, safe="").replace("%2F", "%2f").replace("%C3%A4", "%c3%a4"),
        "every byte": "".join(f"%{byte:02x}" for byte in value.encode()),
        "json": json.dumps({"password": value}),
        "json in json": json.dumps(json.dumps({"password": value})),
        "json, not ascii": json.dumps(value, ensure_ascii=False),
        "repr": repr(value),
        "ascii": ascii(value),
        "repr of repr": repr(repr(value)),
        "repr of bytes": repr(value.encode()),
        "repr of an error": repr(ValueError(value)),
        "str of a key error": str(KeyError(value)),
        "json of repr": json.dumps(repr(value)),
        "conninfo": endpoint.conninfo(),
        "repr of conninfo": repr(endpoint.conninfo()),
        "sql": "'" + value.replace("'", "''") + "'",
        "user list": '"' + value.replace('"', '""') + '"',
        "html": html.escape(value),
        "html, text": html.escape(value, quote=False),
        "html of json": html.escape(json.dumps(value)),
        "repr of repr of conninfo": repr(repr(endpoint.conninfo())),
        "error of repr of conninfo": json.dumps(str(KeyError(repr(endpoint.conninfo())))),
        "json, five times": _five_times(value),
    }


@pytest.mark.parametrize("value", [PLAIN, ODD])
@pytest.mark.parametrize("how", spellings(PLAIN))
def test_every_spelling_is_hidden(value: str, how: str) -> None:
    hide(value)
    text = f"before {spellings(value)[how]} after"
    assert betrays(text)
    clean = redacted(text)
    assert HIDDEN in clean
    assert clean.startswith("before ")
    assert clean.endswith(" after")
    assert _QUOTES.sub("", clean) == _QUOTES.sub("", f"before {around(how)} after")
    assert redacted_bytes(text.encode()) == clean.encode()


def around(how: str) -> str:
    """What stands around a value that is spelt so, with the value hidden."""
    spelt = spellings(WORD)[how]
    return spelt.replace(WORD, HIDDEN) if WORD in spelt else HIDDEN


@settings(max_examples=150, deadline=None)
@given(st.text(min_size=8, max_size=24).filter(can_hide), st.text(max_size=30), st.text(max_size=30))
def test_whatever_the_password_nothing_of_it_is_left(value: str, before: str, after: str) -> None:
    redaction._known.clear()
    hide(value)
    assert value not in redacted(f"{before}{value}{after}").replace(HIDDEN, "")
    row = json.loads(redaction.to_json_line({"a": f"{before}{value}{after}", value: [{"b": value}]}))
    assert value not in json.dumps(row, ensure_ascii=False).replace(HIDDEN, "")


def test_without_a_secret_nothing_changes() -> None:
    assert redacted("password=postgres") == "password=postgres"
    assert redacted_bytes(b"\xff\x00 x") == b"\xff\x00 x"
    assert redacted_json({"a": [1, None, "b"], "c": True}) == {"a": [1, None, "b"], "c": True}


@pytest.mark.parametrize("value", ["short1", "postgres", "password", "abcdefghijklmno"])
def test_words_that_cannot_be_told_from_others_are_refused(value: str) -> None:
    assert not can_hide(value)
    with pytest.raises(ValueError, match="ordinary words"):
        hide(value)


def test_an_empty_password_is_no_secret() -> None:
    hide("")
    assert not betrays("anything")


def test_records_and_reports_are_written_without_it(tmp_path: Path) -> None:
    hide(ODD)
    write_json(tmp_path / "a.json", {"dsn": f"u:{ODD}@h", ODD: [ODD, {"x": repr(ODD)}]})
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "dsn": f"u:{HIDDEN}@h",
        HIDDEN: [HIDDEN, {"x": f"'{HIDDEN}'"}],
    }
    write_whole(tmp_path / "a.html", f"<p>{html.escape(ODD)}</p>")
    assert (tmp_path / "a.html").read_text() == f"<p>{HIDDEN}</p>"


def test_a_history_is_written_without_it_and_can_be_read(tmp_path: Path) -> None:
    hide(PLAIN)
    path = tmp_path / "history.jsonl"
    writer = HistoryWriter(path, {"note": PLAIN})
    error = describe(RuntimeError(f"{'x' * (MESSAGE_LIMIT - 6)}{PLAIN}"))
    writer.append(OpType.INFO, "log", PLAIN, {"text": [PLAIN], PLAIN: float("nan")}, time_s=1.0, error=error)
    writer.close()
    text = path.read_text()
    assert PLAIN[:6] not in text
    (row,) = parse_history(text.splitlines(keepends=True))
    assert row.value == {"text": [HIDDEN], HIDDEN: "nan"}
    assert row.process == HIDDEN


@pytest.mark.parametrize("cut", range(len(PLAIN)))
def test_a_message_that_is_cut_leaves_no_half_of_it(cut: int) -> None:
    hide(PLAIN)
    message = describe(RuntimeError("x" * (MESSAGE_LIMIT - cut) + PLAIN)).message
    assert not set(PLAIN[:cut]) & set(message.replace("x", "").replace("*", ""))


def test_numbers_that_json_lacks_become_texts() -> None:
    assert finite({"a": [float("inf"), 1.5], "b": (float("-inf"),)}) == {"a": ["inf", 1.5], "b": ["-inf"]}


_leaves = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["null", "\x7f", "\u2028"])
)
_rows = st.dictionaries(
    st.text(),
    st.recursive(
        _leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner), max_leaves=8
    ),
)


@given(_rows)
def test_a_row_is_one_line_of_ascii_and_reads_as_json_would_write_it(row: dict[str, Json]) -> None:
    """Numbers over 64 bits, keys that are no strings, NaN: the quick encoder must leave them to the one that can."""
    line = to_json_line(row)
    assert line.isascii()
    assert line.splitlines() == [line]
    assert json.loads(line) == json.loads(json.dumps(finite(row), allow_nan=False))


def test_a_stream_keeps_its_other_manners() -> None:
    hide(PLAIN)
    inner = io.StringIO()
    stream = RedactedStream(inner)
    assert stream.write(f"a {PLAIN}\n") == len(PLAIN) + 3
    stream.writelines([PLAIN, "\n"])
    assert stream.isatty() is False
    assert inner.getvalue() == f"a {HIDDEN}\n{HIDDEN}\n"


def test_a_log_is_masked_in_place_while_it_grows(tmp_path: Path) -> None:
    """In two halves, too: the second write completes what the first began."""
    hide(PLAIN)
    path = tmp_path / "output.log"
    raw = PLAIN.encode()
    done = 0
    for piece in (b"one " + raw[:5], raw[5:] + b" two ", raw + b"\n"):
        with path.open("ab") as file:
            file.write(piece)
        with path.open("r+b") as file:
            done = mask(file, done)
    stars = b"*" * len(raw)
    assert path.read_bytes() == b"one " + stars + b" two " + stars + b"\n"
    assert done == os.path.getsize(path)
