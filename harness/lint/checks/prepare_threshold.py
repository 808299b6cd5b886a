"""``prepare_threshold`` behind a pooler that shares server connections between clients.

A statement is prepared on one server connection and run on another. Even the default threshold of 5 does it at the
first save: the saver's ``executemany`` always asks for a prepared statement.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.lint.finding import LintFinding, NotChecked
from harness.lint.seen import PoolSeen, Unknown
from harness.lint.subject import Subject

#: Where PgBouncer and Supavisor listen, and what hosted poolers have in their names.
PORTS = ("6432", "6543")
NAMES = ("pooler", "bouncer", "pgcat", "supavisor")


def prepare_threshold(subject: Subject) -> Iterator[LintFinding | NotChecked]:
    """Anything but None, where a pooler is known or seems to be in between."""
    for pool in subject.pools:
        why = _pooler(subject, pool)
        if not why:
            continue
        if isinstance(pool.prepare_threshold, Unknown):
            yield NotChecked(f"prepare_threshold of {pool.name}", pool.prepare_threshold.why)
        elif pool.prepare_threshold is not None:
            yield LintFinding(
                check="prepare_threshold",
                what=f"statements are prepared behind a pooler ({why})",
                where=pool.place,
                value=f"prepare_threshold={pool.prepare_threshold!r}",
                allowed="None in transaction mode; any if the pooler keeps such statements itself (--pooler prepared)",
                fix='write kwargs={"prepare_threshold": None, ...}, or use PgBouncer 1.22 or newer with '
                "max_prepared_statements above 0",
                incidents=("I-27",),
                scenarios=("incidents/i_27_prepared_behind_pooler",),
            )


def _pooler(subject: Subject, pool: PoolSeen) -> str:
    """Why a pooler in transaction mode is taken to be there; empty if none is."""
    if subject.given.pooler is not None:
        return "--pooler transaction" if subject.given.pooler == "transaction" else ""
    if subject.needs_pooler:
        return "the strategy needs PgBouncer in transaction mode"
    if str(pool.port) in PORTS:
        return f"port {pool.port}"
    host = str(pool.host) if not isinstance(pool.host, Unknown) else ""
    return f"host {host}" if any(name in host for name in NAMES) else ""
