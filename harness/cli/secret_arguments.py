"""Passwords that the user typed: hidden from everything that we write, and from the process list.

Whoever may look at ``/proc`` reads the arguments of every process. So they are overwritten in this process's own
memory as the first thing; for the moment before, and for what started us (a shell's history, a wrapper), there is
``--target-dsn @FILE``.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.core.redaction import can_hide, hide

#: What could hold a password: a URI with user information, or a keyword. The passwords themselves as they stand there.
_URI = re.compile(r"://[^/\s]*?:([^/\s]+)@")
_KEYWORD = re.compile(r"(?:password|passwd|pwd)\s*=\s*('(?:[^'\\]|\\.)*'?|[^\s&;]+)", re.IGNORECASE)
_OPTION = "--target-dsn"
_ARG_START = 45  # of /proc/self/stat, counted after the name


def hide_secrets(args: Sequence[str], *, blot: bool) -> bool:
    """Hide what looks like a password in ``args``; with ``blot`` also in our own line of the process list.

    Returns True if there was one.
    """
    suspects = list(dict.fromkeys(_suspects(args)))
    for text in suspects:
        hide(*(secret for secret in (text, *_passwords(text)) if can_hide(secret)))
    if suspects and blot:
        _blot_out(suspects)
    return bool(suspects)


def _suspects(args: Sequence[str]) -> Iterator[str]:
    """Arguments, or what stands behind the ``=`` of one, that may hold a password."""
    for before, arg in zip(("", *args), args, strict=False):
        text = arg.partition("=")[2] if arg.startswith("--") and "=" in arg else arg
        named = before == _OPTION or arg.startswith(f"{_OPTION}=")
        if not text.startswith("@") and (_URI.search(text) or _KEYWORD.search(text) or (named and ":" in text)):
            yield text


def _passwords(text: str) -> Iterator[str]:
    """The passwords in a suspect: as they stand there, and as libpq would read them."""
    for pattern in (_URI, _KEYWORD):
        for found in pattern.finditer(text):
            yield found.group(1).strip("'")
    import psycopg  # only here: ``--help`` is to be quick
    from psycopg.conninfo import conninfo_to_dict

    try:
        yield str(conninfo_to_dict(text).get("password") or "")
    except (psycopg.Error, UnicodeError):
        return  # not a connection string: what it says is hidden as it stands


def _blot_out(texts: Sequence[str]) -> None:
    """Overwrite arguments of this process in its own memory, where the kernel shows them to others. Linux only."""
    try:
        line = Path("/proc/self/cmdline").read_bytes()
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start = int(fields[_ARG_START])
    except (OSError, ValueError, IndexError):
        return  # the kernel does not tell
    if start == 0 or ctypes.string_at(start, len(line)) != line:
        return
    for text in texts:
        raw = os.fsencode(text)
        at = line.find(raw)
        while at >= 0:
            ctypes.memset(start + at, ord("*"), len(raw))
            at = line.find(raw, at + len(raw))
