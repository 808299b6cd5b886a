"""``autocommit=False``: the saver expects connections that commit by themselves."""

from __future__ import annotations

from collections.abc import Iterator

from harness.lint.finding import LintFinding, NotChecked
from harness.lint.seen import Unknown
from harness.lint.subject import Subject


def autocommit(subject: Subject) -> Iterator[LintFinding | NotChecked]:
    """Anything but True."""
    for pool in subject.pools:
        if isinstance(pool.autocommit, Unknown):
            yield NotChecked(f"autocommit of {pool.name}", pool.autocommit.why)
        elif pool.autocommit is not True:
            yield LintFinding(
                check="autocommit",
                what="connections do not commit by themselves: setup() cannot build its indexes in a transaction, and "
                "a connection that is closed before its commit loses the save without an error",
                where=pool.place,
                value=f"autocommit={pool.autocommit!r}",
                allowed="True",
                fix='write kwargs={"autocommit": True, ...}',
                incidents=("langchain-ai/langgraph#5327", "langchain-ai/langgraph#7630"),
            )
