"""A deadline by ``asyncio.timeout`` or ``wait_for`` alone: it cancels once, and waits for as long as that takes."""

from __future__ import annotations

from collections.abc import Iterator

from harness.lint.finding import LintFinding, NotChecked
from harness.lint.source import calls_in
from harness.lint.subject import Subject

_DEADLINES = ("asyncio.timeout", "asyncio.timeout_at", "asyncio.wait_for", "timeout", "wait_for")


def asyncio_deadline(subject: Subject) -> Iterator[LintFinding | NotChecked]:
    """In a strategy's ``serve``, which has to answer within the request's deadline."""
    function = subject.source.functions.get("serve") if subject.source is not None and subject.strategy else None
    for call, dotted in calls_in(function.node) if function is not None else ():
        if dotted in _DEADLINES:
            assert function is not None
            yield LintFinding(
                check="asyncio_deadline",
                what="the deadline cancels once; on a silent connection psycopg then takes 5 to 10 s more to end",
                where=function.place(call),
                value=f"{dotted}(...)",
                allowed="a deadline that cancels again until the call has ended",
                fix="use hard_deadline of harness/pools/deadline.py, which stands alone and can be copied",
                incidents=("I-20",),
                scenarios=("incidents/i_20_timeout_does_not_fire", "network/black_hole_down"),
            )
