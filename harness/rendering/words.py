"""The words, glyphs and numbers that all formats share, so that a cell reads the same wherever it is shown.

A verdict is always a glyph and a word, and in tables a number too: colour never carries it alone.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime

from harness.core.incident import SYMPTOM
from harness.core.record import CellResult, RunSummary
from harness.core.verdict import Finding, Guarantee, Verdict
from harness.summary import number

GLYPHS = {
    Verdict.FAIL: "✗",
    Verdict.ERROR: "!",
    Verdict.INVALID: "?",
    Verdict.SLOW: "◷",
    Verdict.PASS: "✓",
    Verdict.SKIP: "–",
}

#: What each verdict means, for legends.
MEANINGS = {
    Verdict.PASS: "every guarantee kept",
    Verdict.FAIL: "a guarantee broken",
    Verdict.SLOW: "a bound of time missed, by less than three times",
    Verdict.INVALID: "proved nothing",
    Verdict.ERROR: "a component died or would not heal",
    Verdict.SKIP: "a component is missing here",
}

#: Longest text that any format but summary.json shows of one field.
LONGEST_TEXT = 1_500

_SHOWN_AS_IS = {"\n", "\t"}


def label(cell: CellResult) -> tuple[str, str, str]:
    """(glyph, word, tone): how a cell stands. A caught control is as it should be; its own FAIL is not a failure.

    The tones are pass, fail, slow, invalid, error, skip, caught, and shown (a control that nothing was demanded of).
    """
    glyph = GLYPHS[cell.verdict]
    if cell.role != "control" or cell.verdict in (Verdict.ERROR, Verdict.SKIP):
        return glyph, cell.verdict.value, cell.verdict.value.lower()
    if not cell.expected:
        return glyph, cell.verdict.value, "shown"
    return ("✓", "CAUGHT", "caught") if cell.as_it_should_be else ("✗", "NOT CAUGHT", "fail")


def needs_attention(cell: CellResult) -> bool:
    """True for a candidate that is not PASS or SKIP, a control that was due and not caught, and any ERROR."""
    if cell.role != "control":
        return cell.verdict not in (Verdict.PASS, Verdict.SKIP)
    return cell.verdict is Verdict.ERROR or not set(cell.expected) <= set(cell.caught)


def worst_first(cells: Sequence[CellResult]) -> list[CellResult]:
    """Sorted by verdict, then the order of the scenarios' names."""
    return sorted(
        cells, key=lambda cell: (cell.verdict.rank, cell.role == "control", cell.scenario, cell.strategy, cell.id)
    )


def findings_worst_first(cell: CellResult) -> list[Finding]:
    """The findings, broken ones before kept ones."""
    return sorted(cell.findings, key=lambda finding: finding.verdict.rank)


def leaks(cell: CellResult) -> int:
    """PoolClosed that reached callers."""
    return _counted(cell, "pool_closed", Guarantee.NO_POOL_CLOSED)


def lost(cell: CellResult) -> int:
    """Acknowledged turns that are gone."""
    return _counted(cell, "lost_turns", Guarantee.NO_LOST_TURN)


def duplicates(cell: CellResult) -> int:
    """Turns that were done twice."""
    return _counted(cell, "duplicate_turns", Guarantee.NO_DUPLICATE_TURN)


def _counted(cell: CellResult, key: str, guarantee: Guarantee) -> int:
    """The measure if the judge gave one; else the operations in evidence of a FAIL, at least 1."""
    measured = number(cell, key)
    if measured is not None:
        return int(measured)
    for finding in cell.findings:
        if finding.guarantee is guarantee and finding.verdict is Verdict.FAIL:
            return max(1, len(finding.evidence))
    return 0


def figure(cell: CellResult) -> str:
    """The one number that a table shows beside the verdict."""
    if leaks(cell):
        return f"{leaks(cell):,} leaked"
    if cell.verdict in (Verdict.FAIL, Verdict.SLOW):
        broken = sum(finding.verdict in (Verdict.FAIL, Verdict.SLOW) for finding in cell.findings)
        return f"{broken} broken"
    back = number(cell, "recovery_s")
    if cell.verdict is Verdict.PASS and back is not None:
        return f"back {seconds(back)}"
    calls = number(cell, "calls")
    return "0 calls" if calls is None else f"{int(calls):,} calls"


def seconds(value: float | None) -> str:
    """``0.43 s``, ``12.1 s``; a dash when unknown."""
    if value is None:
        return "–"
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"


def milliseconds(value: float | None) -> str:
    """``41 ms``, ``2.30 s`` from 10 s up; a dash when unknown."""
    if value is None:
        return "–"
    return f"{value:,.0f} ms" if value < 10_000 else f"{value / 1000:.1f} s"


def duration(value: float) -> str:
    """``48 s`` or ``12 min 5 s``."""
    whole = round(value)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60} s"


def moment(started: str) -> str:
    """``2026-11-21 12:04 UTC``; what is no ISO 8601 time stays as it is."""
    try:
        return datetime.fromisoformat(started).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return started


def replay(cell: CellResult) -> str:
    """The command that runs this cell again with the same plan and seed."""
    return f"poolproof replay {shlex.quote(visible(cell.id))}"


def stamp(summary: RunSummary) -> str:
    """``INCOMPLETE 37/60 cells`` for a partial run, else empty."""
    done = len(summary.cells)
    return f"INCOMPLETE {done}/{summary.planned} cells" if summary.interrupted or done < summary.planned else ""


def explanation(cell: CellResult) -> str:
    """One sentence: why the cell stands as it does."""
    missed = sorted(set(cell.expected) - set(cell.caught))
    if cell.role == "control" and cell.expected:
        if missed:
            return f"Not caught {_breaking(missed)}, so this run proves nothing. {cell.reason}".rstrip()
        return f"Caught {_breaking(sorted(cell.caught))}, as it must be.{_symptom(cell)}"
    return cell.reason


def _breaking(demands: Sequence[str]) -> str:
    """``breaking recovers and showing the symptom``."""
    broken = [name for name in demands if name != SYMPTOM]
    parts = [f"breaking {', '.join(broken)}"] if broken else []
    return " and ".join([*parts, *(["showing the symptom"] if SYMPTOM in demands else [])])


def _symptom(cell: CellResult) -> str:
    seen = cell.measures.get("symptom")
    return f" {cell.measures.get('symptom_times')} times: {seen}" if SYMPTOM in cell.caught and seen else ""


def visible(text: str, longest: int = LONGEST_TEXT) -> str:
    """The text with everything that a reader cannot see made visible, and cut (with a word about it) when very long.

    Control characters, lone surrogates, U+2028 and the marks that reorder text could end an XML file, steer a
    terminal, or show one thing and mean another; they appear as ``\\x1b`` or ``\\u202e``.
    """
    if len(text) > longest:
        text = f"{text[:longest]}… ({len(text) - longest:,} more characters)"
    return "".join(c if c.isprintable() or c in _SHOWN_AS_IS or _harmless(c) else _escaped(c) for c in text)


def one_line(text: str, longest: int = LONGEST_TEXT) -> str:
    """:func:`visible`, with all white space folded into single spaces."""
    return visible(re.sub(r"\s+", " ", text).strip(), longest)


def _harmless(character: str) -> bool:
    return unicodedata.category(character) == "Zs"


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
