"""``setup()`` where every replica starts: it takes no lock, and replicas that start together trip over each other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from harness.lint.finding import LintFinding, NotChecked
from harness.lint.source import Function, calls_in, strings_in
from harness.lint.subject import Subject

#: A function that is named like this runs once, as a job of its own.
_JOB = re.compile(r"migrat|bootstrap|provision|init_db|create_tables|create_schema", re.IGNORECASE)
_LIBRARY = re.compile(r"langgraph\.(checkpoint|store)")


def setup_everywhere(subject: Subject) -> Iterator[LintFinding | NotChecked]:
    """A call of ``setup()`` that a starting replica reaches, unless it asks for an advisory lock before."""
    if subject.source is None:
        return
    reached = subject.source.reached((*subject.start, *subject.recovery))
    locks = " ".join(text for function in reached for text in strings_in(function.node) if "advisory" in text)
    if "pg_try_advisory" in locks:
        return
    for function in reached:
        for line, text in _setups(function) if not _JOB.search(function.name) else ():
            yield LintFinding(
                check="setup_everywhere",
                what=f"{function.name} calls setup() in every replica"
                + (
                    ", one after the other by pg_advisory_lock: the CREATE INDEX CONCURRENTLY inside waits for ever "
                    "for those who wait for the lock"
                    if "advisory" in locks
                    else ", and setup() takes no lock: on an empty database the second one fails"
                ),
                where=function.place(line),
                value=text,
                allowed="setup() once, by a job that runs before the service; or behind pg_try_advisory_lock in a loop",
                fix="move it into a migration job (harness/pools/cures/setup_under_lock.py shows the lock)",
                incidents=("I-12",),
                scenarios=("incidents/i_12_setup_races",),
            )


def _setups(function: Function) -> Iterator[tuple[ast.Call, str]]:
    for call, dotted in calls_in(function.node):
        if dotted.endswith(".setup") and not call.args and not call.keywords and not dotted.startswith("super()"):
            yield call, f"{dotted}()"
