"""No ``connect_timeout``: a connect into a silent network then lasts 130 s, and three of them stop a pool's workers."""

from __future__ import annotations

from collections.abc import Iterator

from harness.lint.finding import LintFinding, NotChecked
from harness.lint.seen import Unknown
from harness.lint.subject import Subject


def connect_timeout(subject: Subject) -> Iterator[LintFinding | NotChecked]:
    """None, or zero or less, which psycopg takes for none. A null pool bounds each connect by its own timeout."""
    for pool in subject.pools:
        if isinstance(pool.connect_timeout, Unknown):
            yield NotChecked(f"connect_timeout of {pool.name}", pool.connect_timeout.why)
        elif not pool.null and not _is_a_bound(pool.connect_timeout):
            yield LintFinding(
                check="connect_timeout",
                what="a connect has no bound of its own, and lasts up to 130 s in a silent network",
                mode="a pool that stays empty after a black hole: each of its three workers waits in such a connect",
                where=pool.place,
                value=f"connect_timeout={pool.connect_timeout!r}",
                allowed="a number of seconds above 0; 2 to 5 are usual",
                fix="add connect_timeout=3 to the conninfo, or to the pool's kwargs",
                incidents=(),
                scenarios=("network/black_hole_long",),
            )


def _is_a_bound(value: object) -> bool:
    try:
        return float(str(value)) > 0
    except ValueError:
        return False
