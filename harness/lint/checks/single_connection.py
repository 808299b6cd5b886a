"""A saver over one connection, as ``from_conn_string`` makes it: when that connection ends, nothing connects again."""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.lint.finding import LintFinding, NotChecked
from harness.lint.source import calls_in, last_name
from harness.lint.subject import Subject

_CONNECT = re.compile(r"(^|\.)(AsyncConnection|Connection|psycopg)\.connect$")


def single_connection(subject: Subject) -> Iterator[LintFinding | NotChecked]:
    """A connection that a strategy makes for its savers, or a module for its graphs."""
    if subject.source is None:
        return
    roots = ("checkpointer",) if subject.strategy else subject.start
    for function in subject.source.reached(roots):
        for call, dotted in calls_in(function.node):
            own = subject.strategy and _CONNECT.search(dotted)
            if own or (last_name(dotted) == "from_conn_string" and "migrat" not in function.name.lower()):
                yield LintFinding(
                    check="single_connection",
                    what="a saver has one connection for as long as it lives; after the first loss every call fails",
                    where=function.place(call),
                    value=f"{dotted}(...)",
                    allowed="a pool, which connects again by itself",
                    fix="make the saver over an AsyncConnectionPool",
                    incidents=("I-5", "I-7", "I-9"),
                    scenarios=("incidents/i_07_single_connection",),
                )
