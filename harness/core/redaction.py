"""Secret values and how they are kept out of everything that Poolproof writes.

A pattern (``password=...``) knows only the spellings that its author thought of; libpq alone quotes a password in four
ways, and an agent may print it by itself. So each process is told the values with :func:`hide`, and whatever writes a
record, a log or a line to the terminal asks :func:`redacted` first.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, TextIO

import orjson

from harness.core.verdict import Json

#: What stands where a secret was.
HIDDEN = "***"

#: Shorter values cannot be told from ordinary words; hiding them would spoil the records and reveal where they stood.
SHORTEST = 8
#: From this length on, letters alone will do.
_LONG = 16


@dataclass(frozen=True, slots=True)
class _Secret:
    """``anchor`` stands in every spelling that has no percent sign: looking for it first is quick."""

    anchor: str
    raw_anchor: bytes
    pattern: re.Pattern[bytes]
    longest: int

    def may_be_in(self, text: str) -> bool:
        return self.anchor in text or "%" in text

    def may_be_in_raw(self, raw: bytes) -> bool:
        return self.raw_anchor in raw or b"%" in raw


_encode = json.JSONEncoder(allow_nan=False).encode

#: The secrets of this process, by value.
_known: dict[str, _Secret] = {}


def can_hide(value: str) -> bool:
    """True if ``value`` is long and odd enough to be found again in a text without spoiling ordinary words."""
    return len(value) >= _LONG or (len(value) >= SHORTEST and not value.isalpha())


def hide(*values: str) -> None:
    """From now on these values are secrets of this process, and of those that it forks. Empty ones are none.

    Raises ValueError for a value that cannot be hidden.
    """
    for value in filter(None, values):
        if not can_hide(value):
            raise ValueError(f"a secret of {len(value)} characters cannot be told from ordinary words")
        if value not in _known:
            anchor = max(re.findall(r"[A-Za-z0-9_.~-]+", value), key=len, default="")
            raw = value.encode("utf-8", errors="surrogatepass")
            _known[value] = _Secret(anchor, anchor.encode(), _pattern(value), 16 * len(raw))


def _pattern(value: str) -> re.Pattern[bytes]:
    """Matches ``value`` however it was escaped: for URIs, JSON, Python, SQL, libpq, HTML, and again inside of those.

    Each character may stand for itself or in an escape of its own, behind any number of backslashes; quantifiers are
    possessive, so that no text takes long.
    """
    runs = re.findall(r"""'+|"+|\\+|(?s:.)""", value)
    edges = (0, len(runs) - 1)  # there a quote more may be the one that encloses the text
    return re.compile(b"".join(_spellings(run, doubled=n not in edges) for n, run in enumerate(runs)))


_HTML = {"&": b"&(?:amp;)++", "<": b"&(?:amp;)*+lt;", ">": b"&(?:amp;)*+gt;", '"': b"&(?:amp;)*+(?:quot|#34);"}
_HTML["'"] = b"&(?:amp;)*+#(?:x27|39);"
_LETTERS = {"\n": b"n", "\r": b"r", "\t": b"t", "\b": b"b", "\f": b"f"}


def _spellings(run: str, *, doubled: bool) -> bytes:
    """A pattern for one character, or for several quotes or backslashes: some who escape double those."""
    sign = run[0]
    raw = sign.encode("utf-8", errors="surrogatepass")
    ways = [re.escape(raw), b"".join(b"%%(?i:%02x)" % byte for byte in raw)]
    if sign in _HTML:
        ways.append(_HTML[sign])
    if sign == " ":
        ways.append(rb"\+")
    if not (sign.isascii() and sign.isprintable()):
        units = sign.encode("utf-16-be", errors="surrogatepass")
        ways.append(
            b"(?i:%s)" % b"".join(rb"\\*+u%02x%02x" % pair for pair in zip(units[::2], units[1::2], strict=True))
        )
        ways.append(b"(?i:x%02x|U%08x)" % (ord(sign), ord(sign)) if ord(sign) < 256 else b"(?i:U%08x)" % ord(sign))
        ways.append(b"(?i:%s)" % b"".join(rb"\\*+x%02x" % byte for byte in raw))
        ways += [_LETTERS[sign]] if sign in _LETTERS else []
    either = b"(?:%s)" % b"|".join(ways)
    if sign == "\\":
        return b"(?:%s)++" % either
    if sign in "'\"":
        return rb"(?:\\*+%s)" % either + (b"++" if doubled else b"{%d}" % len(run))
    return either if sign.isascii() and sign.isprintable() and sign != "/" else rb"\\*+" + either


def betrays(text: str) -> bool:
    """True if a secret stands in ``text``."""
    found = [secret for secret in _known.values() if secret.may_be_in(text)]
    raw = _raw(text) if found else b""
    return any(secret.pattern.search(raw) for secret in found)


def redacted(text: str) -> str:
    """``text`` without the secrets of this process."""
    if not any(secret.may_be_in(text) for secret in _known.values()):
        return text
    return redacted_bytes(_raw(text)).decode("utf-8", errors="surrogatepass")


def redacted_bytes(raw: bytes) -> bytes:
    """The same for what is not known to be text: a log."""
    for secret in _known.values():
        if secret.may_be_in_raw(raw):
            raw = secret.pattern.sub(HIDDEN.encode(), raw)
    return raw


def _raw(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogatepass")


def mask(file: BinaryIO, begin: int) -> int:
    """Overwrite what stands secret in ``file`` from ``begin`` on, byte for byte, so that others may append meanwhile.

    Returns where to begin the next time: a secret that is only half there yet is found then.
    """
    file.seek(max(0, begin - max((secret.longest for secret in _known.values()), default=0)))
    place, raw = file.tell(), file.read()
    for secret in _known.values():
        if secret.may_be_in_raw(raw):
            for found in secret.pattern.finditer(raw):
                file.seek(place + found.start())
                file.write(b"*" * len(found.group()))
    return place + len(raw)


def redacted_json(value: Any) -> Any:
    """The same for every string in a JSON value, keys included. The shape stays."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {redacted(str(key)): redacted_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted_json(item) for item in value]
    return value


def to_json_line(row: Mapping[str, Json]) -> str:
    """``row`` as one line of JSON in ASCII, without the secrets; costs nothing where there is none."""
    line = _quickly_encoded(row)
    if line is None:
        try:
            line = _encode(row)
        except ValueError:
            return to_json_line(finite(row))
    return json.dumps(redacted_json(row)) if betrays(line) else line


def _quickly_encoded(row: Mapping[str, Json]) -> str | None:
    """The line of an ordinary row: a history has thousands, and each of them is written while somebody waits.

    None where orjson would write something else than json: a letter that is not ASCII as it is, NaN as null, a key or
    a number that it does not take.
    """
    try:
        raw = orjson.dumps(row, option=orjson.OPT_PASSTHROUGH_SUBCLASS)
    except TypeError:
        return None
    return raw.decode() if raw.isascii() and b"null" not in raw else None


def finite(value: Any) -> Any:
    """A JSON value in which every number can be read again: NaN and the infinities, which JSON lacks, become texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


class RedactedStream:
    """A text stream in front of another one: what is written comes out without the secrets. The rest is the other's."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write it redacted; returns the length of what was given, as streams do."""
        self._stream.write(redacted(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """See :meth:`write`."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
