"""The sum of all pools at their largest, against what the server takes."""

from __future__ import annotations

from collections.abc import Iterator

from harness.lint.finding import LintFinding, NotChecked, Place
from harness.lint.made import makes_pool
from harness.lint.seen import Made, Unknown
from harness.lint.source import Source, calls_in, last_name
from harness.lint.subject import MAX_CONNECTIONS, RESERVED, Subject

_INCIDENTS = ("I-15", "I-16")
_SCENARIOS = ("trust/calm", "server/too_many_connections")
#: What lets an old pool go.
_CLOSING = ("close", "aclose", "retire")


def connection_sum(subject: Subject) -> Iterator[LintFinding | NotChecked]:
    """More than one replica may hold; a pool for each request; pools that pile up."""
    yield from _unbounded(subject)
    yield from _piled_up(subject)
    bounded = [pool for pool in subject.pools if pool.copies]
    for pool in bounded:
        if isinstance(pool.max_size, Unknown):
            yield NotChecked(f"max_size of {pool.name}", pool.max_size.why)
    sizes = [(pool, pool.max_size * pool.copies) for pool in bounded if isinstance(pool.max_size, int)]
    total = sum(size for _, size in sizes)
    limit, why = _limit(subject)
    if total > limit:
        largest = max(sizes, key=lambda item: item[1])[0]
        parts = " + ".join(f"{pool.copies} x {pool.max_size}" for pool, _ in sizes)
        yield _finding(
            largest.place,
            "the pools of one replica may hold more connections than there are for it",
            f"max_size {parts} = {total}",
            allowed=f"at most {limit} ({why})",
        )


def _unbounded(subject: Subject) -> Iterator[LintFinding]:
    for pool in subject.pools:
        if pool.made is Made.BY_REQUEST:
            yield _finding(
                pool.place, "each request makes a pool of its own: nothing bounds their sum", f"made {pool.made.value}"
            )
        elif pool.made is Made.BY_FIRST_REQUESTS:
            yield _finding(
                pool.place,
                "requests that come side by side at a cold start make a pool each, and all but the last are lost",
                f"made {pool.made.value}",
                incidents=("I-17",),
                scenarios=(),
            )


def _limit(subject: Subject) -> tuple[int, str]:
    given = subject.given
    if given.max_connections is None and subject.budget is not None:
        return subject.budget, "what a run gives each replica group; --max-connections and --replicas change it"
    most = given.max_connections or MAX_CONNECTIONS
    among = f", among {given.replicas} replicas" if given.replicas > 1 else ""
    said = "" if given.max_connections else ", Postgres's default"
    why = f"max_connections {most}{said}, less {RESERVED} for superusers{among}"
    return max(0, most - RESERVED) // given.replicas, why


def _piled_up(subject: Subject) -> Iterator[LintFinding]:
    """A re-creation that makes a pool, and nothing that it reaches closes one."""
    if subject.source is None or not subject.strategy:
        return
    calls = [
        (function, call, name)
        for function in subject.source.reached(("recreate",))
        for call, name in calls_in(function.node)
    ]
    if any(_closes(subject.source, name) for _, _, name in calls):
        return
    for function, call, name in calls:
        if makes_pool(name):
            yield _finding(
                function.place(call),
                "each re-creation makes a pool, and nothing that it calls closes the one before: they pile up",
                f"{name}() in {function.name}",
            )


def _closes(source: Source, name: str) -> bool:
    """True for ``close`` and its like, and for what other classes of the same files call so."""
    methods = (method for method in source.methods_called(last_name(name)))
    inside = (last_name(inner) for method in methods for _, inner in calls_in(method))
    return any(called in _CLOSING for called in (last_name(name), *inside))


def _finding(
    where: Place,
    what: str,
    value: str,
    *,
    allowed: str = "a number of pools that does not grow",
    incidents: tuple[str, ...] = _INCIDENTS,
    scenarios: tuple[str, ...] = _SCENARIOS,
) -> LintFinding:
    return LintFinding(
        check="connection_sum",
        what=what,
        where=where,
        value=value,
        allowed=allowed,
        fix="share one bounded pool among the agents of a process, keep it for the life of the process, and renew it "
        "with drain()",
        incidents=incidents,
        scenarios=scenarios,
    )
