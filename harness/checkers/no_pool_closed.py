"""No caller ever meets a closed pool, in an exception or in the words of a reply."""

from __future__ import annotations

import re
from bisect import bisect_left
from functools import lru_cache

from harness.checkers.flaws import Flaw, decide
from harness.checkers.reading import Call, Reading, opened_or_closed_by, read, text
from harness.core.facts import Facts
from harness.core.history import ErrorInfo, History, Op
from harness.core.scenario import Bounds
from harness.core.verdict import Checker, Finding, Guarantee, Verdict

#: psycopg_pool has four texts for it, and none of them says PoolClosed.
IN_WORDS = re.compile(r"PoolClosed|\bpool\b.{0,80}?\b(closed|not open|cannot be reused)", re.IGNORECASE | re.DOTALL)
_POOL_NAME = re.compile(r"the pool '([^']+)'")
_CLOSERS_SHOWN = 4


class NoPoolClosed(Checker):
    """FAIL if an exception that reached a caller has ``psycopg_pool.PoolClosed`` (that class or a subclass) anywhere
    in its cause, context or group, or if a reply carries one of psycopg_pool's texts.

    Only what callers saw counts: what a saver call, a health check or a re-creation raised is the strategy's own
    business as long as it handles it. Closed, never opened and failed-to-open pools are told apart, and the evidence
    holds the rows that say who closed the pool, and from where.
    """

    guarantee = Guarantee.NO_POOL_CLOSED

    def check(self, history: History, facts: Facts, bounds: Bounds) -> Finding:
        """See the class."""
        reading = read(history)
        closers = _Closers(reading)
        flaws = [closers.flaw(call, said) for call, said in leaks(reading)]
        if not reading.calls:
            flaws.append(Flaw(Verdict.INVALID, "nobody called, so nobody could meet a closed pool"))
        return decide(
            self.guarantee,
            flaws,
            f"0 PoolClosed at callers in {len(reading.calls):,} calls",
            {"leaks": sum(flaw.verdict is Verdict.FAIL for flaw in flaws), "kinds": dict(closers.kinds)},
        )


@lru_cache(maxsize=1)
def leaks(reading: Reading) -> tuple[tuple[Call, str], ...]:
    """The calls whose outcome carries a closed pool, each with the words that say so."""
    found = []
    for call in reading.calls:
        said = _what_it_said(call)
        if said is not None:
            found.append((call, said))
    return tuple(found)


def _what_it_said(call: Call) -> str | None:
    if call.end is None:
        return None
    error = call.end.error
    if error is not None and error.pool_closed:
        return _words(error)
    for key in ("text", "code"):
        reply = text(call.end.value, key)
        if reply and "pool" in reply.lower() and IN_WORDS.search(reply):
            return reply[:300]
    return None


def _words(error: ErrorInfo) -> str:
    messages = [(error.type, error.message), *((name, message) for _, name, message in error.links)]
    for name, message in messages:
        if "PoolClosed" in name or IN_WORDS.search(message):
            return message
    return error.message


class _Closers:
    """Finds who closed the pool that a caller met."""

    def __init__(self, reading: Reading) -> None:
        self._closed: dict[str, list[Op]] = {}
        for op in reading.points("pool"):
            if text(op.value, "event") == "close":
                self._closed.setdefault(op.process, []).append(op)
        self.kinds: dict[str, int] = {}

    def flaw(self, call: Call, said: str) -> Flaw:
        """The finding's sentence on one leak, with its evidence."""
        assert call.end is not None
        closes = self._closes(call, said)
        kind = _kind(said)
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        by = ""
        if closes:
            pool, who = text(closes[-1].value, "pool") or "the pool", opened_or_closed_by(closes[-1])
            by = f"; {pool} closed at {closes[-1].time_s:.3f} s by {who}"
        how = "in an exception" if call.end.error is not None else "in a reply"
        words = f"PoolClosed reached a caller {how} ({kind}): {call}: {said[:200]}{by}"
        return Flaw(Verdict.FAIL, words, (*call.rows, *(op.index for op in closes[-_CLOSERS_SHOWN:])))

    def _closes(self, call: Call, said: str) -> list[Op]:
        """The close rows of the named pool before the call ended; of the group's pools, if it names none."""
        assert call.end is not None
        rows = self._closed.get(call.group, [])
        before = rows[: bisect_left(rows, call.end.index, key=lambda op: op.index)]
        named = _POOL_NAME.search(said)
        if named is None:
            return before[-_CLOSERS_SHOWN:]
        tail = before[-200:]  # a caller meets a pool that was closed lately
        return [op for op in tail if text(op.value, "pool") == named.group(1)]


def _kind(said: str) -> str:
    """Which of the three: closed, never opened, or failed to open (a closed pool cannot be opened again)."""
    if re.search(r"not open", said, re.IGNORECASE):
        return "never opened"
    return "failed to open" if re.search(r"cannot be reused", said, re.IGNORECASE) else "closed"
