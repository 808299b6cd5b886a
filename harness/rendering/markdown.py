"""``summary.md``: the run for a CI step summary or a pull request; never over 200 kB.

Services drop a summary that is too long as a whole, so the text is cut at the edge of a section, and says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from harness.core.record import CellResult, RunSummary
from harness.core.verdict import Verdict
from harness.rendering import tables, words
from harness.rendering.evidence import Proof, proofs
from harness.summary import Trial, tested, trials

LIMIT_BYTES = 200_000
_CUT = "\n*Cut here to stay under 200 kB; `report.html` and `summary.json` have everything.*\n"
_MARKUP = re.compile(r"([\\`*_\[\]#|~])")
_LONGEST = 400
#: Anomalies of one cell that are shown in full.
_PROOFS = 2


def render(summary: RunSummary) -> str:
    """The document as text: decision, counts, strategy × scenario, what needs attention, strategies side by side."""
    parts = [_head(summary), _matrix(summary), _judge(summary), _unmet(summary), _sides(summary)]
    parts += [_cell(cell) for cell in words.worst_first(summary.cells) if words.needs_attention(cell)]
    parts.append(_foot(summary))
    kept: list[str] = []
    room = LIMIT_BYTES - len(_CUT.encode())
    for part in parts:
        room -= len(part.encode())
        if room < 0:
            return "".join([*kept, _CUT])
        kept.append(part)
    return "".join(kept)


def _head(summary: RunSummary) -> str:
    stamp = words.stamp(summary)
    tally = ", ".join(f"{count} {name}" for name, count in tables.tally(summary).items())
    lines = [
        f"## Poolproof: {_decision(summary.decision)}",
        "",
        *([f"**{stamp}**", ""] if stamp else []),
        f"**exit {summary.exit}**: {_text(summary.exit_reason)}",
        "",
        f"{tally} · {_text(words.moment(summary.started))} · {words.duration(summary.wall_s)}",
        "",
        *(f"- {_text(note)}" for note in summary.notes),
    ]
    return "\n".join(lines).rstrip() + "\n\n"


def _matrix(summary: RunSummary) -> str:
    """Scenarios down, strategies across: a summary pane is narrow, and there are more scenarios."""
    matrix = tables.matrix(summary)
    rows = [*matrix.candidates, *matrix.controls]
    if not rows:
        return ""
    names = [f"{_text(row.strategy)}{' (control)' if row.role == 'control' else ''}" for row in rows]
    body = [
        [_text(scenario), *(_entry(row.entries[place]) for row in rows)]
        for place, scenario in enumerate(matrix.scenarios)
    ]
    return f"### Scenario × strategy\n\n{_table(['scenario', *names], body)}\n"


def _judge(summary: RunSummary) -> str:
    """The planted mistakes, apart from what is compared."""
    found = trials(summary.cells)
    if not found:
        return ""
    body = [
        [_text(trial.strategy), _text(trial.mistake), ", ".join(_text(name) for name in trial.expected), _caught(trial)]
        for trial in found
    ]
    header = ["planted", "mistake", "must be caught by", "caught"]
    return f"### The judge was tested: {tested(summary.cells)}\n\n{_table(header, body)}\n"


def _unmet(summary: RunSummary) -> str:
    """What no cell met: an agent that a fault never struck in some phase of a turn."""
    body = [
        [_text(row.fault), _text(met.agent), ", ".join(_text(phase) for phase in met.missed), _text(row.durability)]
        for row in tables.met(summary)
        for met in row.agents
        if met.missed
    ]
    return f"### What no cell met\n\n{_table(['fault', 'agent', 'never', 'durability'], body)}\n" if body else ""


def _caught(trial: Trial) -> str:
    glyph, word, _ = words.label(trial.cell)
    several = f" in {trial.caught} of {trial.cells}" if trial.cells > 1 else ""
    codes = f" ({_text(', '.join(trial.codes))})" if trial.codes else ""
    return f"{_text(glyph)} {word}{several}{codes}"


def _entry(entry: tables.Entry) -> str:
    if entry.cell is None:
        return ""
    glyph, word, _ = words.label(entry.cell)
    several = f" ({entry.cells} cells)" if entry.cells > 1 else ""
    return f"{_text(glyph)} {word} {words.figure(entry.cell)}{several}"


def _sides(summary: RunSummary) -> str:
    sides = tables.sides(summary)
    if not sides:
        return ""
    header = ["strategy", "cells passed", "calls", "PoolClosed", "lost", "done twice", "recovery", "p95"]
    header += ["connections", "refused", "in doubt", "failed"]
    body = [
        [
            f"{_text(side.strategy)}{' (control)' if side.role == 'control' else ''}",
            f"{side.passed} of {side.cells}",
            *(f"{n:,}" for n in (side.calls, side.leaks, side.lost, side.duplicates)),
            words.seconds(side.recovery_s),
            words.milliseconds(side.p95_ms),
            "–" if side.peak_connections is None else f"{side.peak_connections:.0f}",
            *(f"{n:,}" for n in (side.refused, side.in_doubt, side.failed)),
        ]
        for side in sides
    ]
    return f"### Strategies side by side\n\n{_table(header, body)}\n"


def _cell(cell: CellResult) -> str:
    glyph, word, _ = words.label(cell)
    findings = [
        f"- {finding.verdict.value} **{_text(finding.guarantee.value)}**: {_text(finding.summary)}"
        for finding in words.findings_worst_first(cell)
        if finding.verdict is not Verdict.PASS
    ]
    lines = [
        f"### {_text(glyph)} {word}: {_text(cell.strategy)} in {_text(cell.scenario)}",
        "",
        f"Why: {_text(words.explanation(cell))} ({_text(cell.durability)}, seed {cell.seed})",
        "",
        *findings,
        *(line for proof in proofs(cell, _PROOFS) for line in _proof(proof)),
        "",
        "```sh",
        words.one_line(words.replay(cell)),
        "```",
    ]
    return "\n".join(lines) + "\n\n"


def _proof(proof: Proof) -> list[str]:
    """One anomaly as a nested list: operations, checkpoints, windows."""
    return [
        f"- {_text(proof.title)}",
        *(
            f"  - op {index}, {time_s:.3f} s, {_text(kind)}: {_text(said)}"
            for index, time_s, kind, said in proof.operations
        ),
        *([f"  - {_text(proof.checkpoints)}"] if proof.nodes else []),
        *(f"    - checkpoint {_text(node.id)}: {_text(node.words)}" for node in proof.nodes),
        *(f"  - window of damage: {_text(window)}" for window in proof.windows),
    ]


def _foot(summary: RunSummary) -> str:
    parts = [words.one_line(" ".join(str(value) for value in component.values())) for component in summary.components]
    return f"Components: {'; '.join(_text(part) for part in parts)}\n" if parts else ""


def _table(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *body]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _text(text: str) -> str:
    """The text on one line, with everything that Markdown or HTML would act on made harmless.

    It must not begin a line: what makes a list or a heading there is left as it is.
    """
    return _escaped(words.one_line(text, _LONGEST))


def _escaped(text: str) -> str:
    return _MARKUP.sub(r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;"))


def _decision(text: str) -> str:
    """Text whose backquoted names stay code; any other backquote is a character like others."""
    pieces = re.split(r"(`[\w./:+-]+`)", words.one_line(text))
    return "".join(piece if place % 2 else _escaped(piece) for place, piece in enumerate(pieces))
