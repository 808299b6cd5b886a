"""How every checker words its decision: flaws in, one finding out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from harness.core.verdict import Finding, Guarantee, Json, Verdict

#: No finding points at more rows, or quotes more flaws, than this: reports stay readable, the count stays exact.
EVIDENCE_LIMIT = 60
QUOTE_LIMIT = 12


class Flaw(NamedTuple):
    """One thing that speaks against a guarantee: FAIL, SLOW, or INVALID where nothing could be decided.

    ``text`` is a sentence without its full stop; ``evidence`` indexes of rows; ``code`` the anomaly's, if it has one.
    ``host``: nothing but a machine that stood still kept it from being decided.
    """

    verdict: Verdict
    text: str
    evidence: Sequence[int] = ()
    code: str = ""
    host: bool = False


def decide(
    guarantee: Guarantee, flaws: Sequence[Flaw], kept: str, details: Mapping[str, Json] | None = None
) -> Finding:
    """The finding: the worst flaw decides, all flaws of that rank are its evidence; ``kept`` words a PASS.

    ``details["host"]`` is there, and true, if all of them are ``host``.
    """
    if not flaws:
        return Finding(guarantee=guarantee, verdict=Verdict.PASS, summary=kept, details=dict(details or {}))
    verdict = Verdict.worst(flaw.verdict for flaw in flaws)
    worst = [flaw for flaw in flaws if flaw.verdict is verdict]
    more = len(worst) - 1
    evidence: dict[int, None] = {}
    for flaw in worst[:EVIDENCE_LIMIT]:
        evidence.update(dict.fromkeys(flaw.evidence))
    quotes: list[Json] = [flaw.text for flaw in worst[:QUOTE_LIMIT]]
    counts = Counter(flaw.code for flaw in flaws if flaw.code)
    codes: dict[str, Json] = dict(sorted(counts.items()))
    said: dict[str, Json] = {"count": len(worst)}
    if codes:
        said["codes"] = codes
    if all(flaw.host for flaw in worst):
        said["host"] = True
    return Finding(
        guarantee=guarantee,
        verdict=verdict,
        summary=worst[0].text + (f" (and {more:,} more)" if more else ""),
        evidence=tuple(sorted(list(evidence)[:EVIDENCE_LIMIT])),
        codes=tuple(codes),
        details={**said, "quotes": quotes, **(details or {})},
    )
