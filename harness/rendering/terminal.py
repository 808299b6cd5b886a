"""What ``poolproof run`` prints when it is done: the table, then what matters in the last 25 lines.

A log's reader sees its end first. So the worst failing cell (fault, cause, replay command), the decision, the report's
place and the exit status come last, in that order, and always fit into 25 lines of 100 columns.
"""

from __future__ import annotations

import io
import textwrap

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.core.record import CellResult, RunSummary
from harness.core.verdict import Json, Verdict
from harness.rendering import tables, words
from harness.summary import tested

LAST_LINES = 25
_STYLES = {
    "pass": "blue",
    "caught": "magenta",
    "fail": "bold red",
    "error": "bold red",
    "slow": "yellow",
    "invalid": "bold",
    "skip": "dim",
    "shown": "dim",
}


def render(summary: RunSummary, *, report: str = "", width: int = 100, colour: bool = False) -> str:
    """The text, ending in a line feed. ``report`` is where the report lies; without ``colour`` the text is plain."""
    lines = [_table(summary, width, colour), *_judge(summary, width)]
    lines += [*_attention(summary, width), *_ending(summary, report, width)]
    return "\n".join(line.rstrip() for line in "\n".join(lines).split("\n")) + "\n"


def _table(summary: RunSummary, width: int, colour: bool) -> str:
    """Scenarios down, strategies across, as many blocks of columns as the width needs."""
    matrix = tables.matrix(summary)
    rows = [*matrix.candidates, *matrix.controls]
    text = io.StringIO()
    console = Console(
        file=text, width=width, force_terminal=colour, no_color=not colour, highlight=False, legacy_windows=False
    )
    first = max((len(words.one_line(name, 60)) for name in matrix.scenarios), default=0) + 2
    columns = max(1, (width - first) // 20)
    for start in range(0, len(rows), columns):
        block = rows[start : start + columns]
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        table.add_column("scenario", no_wrap=True)
        for row in block:
            table.add_column(Text(words.one_line(row.strategy) + (" (control)" if row.role == "control" else "")))
        for place, scenario in enumerate(matrix.scenarios):
            table.add_row(words.one_line(scenario, 60), *(_entry(row.entries[place]) for row in block))
        console.print(table)
        console.print()
    return text.getvalue()


def _entry(entry: tables.Entry) -> Text:
    if entry.cell is None:
        return Text("")
    glyph, word, tone = words.label(entry.cell)
    return Text(f"{glyph} {word} {words.figure(entry.cell)}", style=_STYLES[tone])


def _judge(summary: RunSummary, width: int) -> list[str]:
    """Above the last lines: what was missed is among those anyway."""
    said = tested(summary.cells)
    return [*_field("judge tested", said, width, most=1, indent=""), ""] if said else []


def _attention(summary: RunSummary, width: int) -> list[str]:
    """The worst cell in full (at most 10 lines), the next two by name (2 lines each)."""
    cells = [cell for cell in words.worst_first(summary.cells) if words.needs_attention(cell)]
    if not cells:
        return []
    lines = _worst(cells[0], width)
    for cell in cells[1:3]:
        glyph, word, _ = words.label(cell)
        lines.append(_cut(f"{glyph} {word}  {words.one_line(cell.strategy)} in {words.one_line(cell.scenario)}", width))
        lines.append(f"  {'again':<18} {words.replay(cell)}")
    if len(cells) > 3:
        lines.append(f"  and {len(cells) - 3} more cells that need attention")
    return [*lines, ""]


def _worst(cell: CellResult, width: int) -> list[str]:
    glyph, word, _ = words.label(cell)
    lines = [_cut(f"{glyph} {word}  {words.one_line(cell.strategy)} in {words.one_line(cell.scenario)}", width)]
    broken = [
        (finding.guarantee.value, finding.summary)
        for finding in words.findings_worst_first(cell)
        if finding.verdict not in (Verdict.PASS, Verdict.SKIP)
    ][:2]
    why = words.explanation(cell)
    rows = [("faults", _faults(cell)), ("why", "" if why in [text for _, text in broken] else why), *broken]
    for name, text in rows:
        if text:
            lines += _field(name, text, width, most=2)
    return [*lines, f"  {'again':<18} {words.replay(cell)}"]


def _faults(cell: CellResult) -> str:
    """The cell's plan in a few words: ``reset_peer 2.0 to 5.0 s; recreate 2.5 to 2.6 s``."""
    if cell.timeline is not None and cell.timeline.bands:
        bands = [f"{name} {start:.1f} to {stop:.1f} s" for name, start, stop in cell.timeline.bands]
    else:
        bands = [_window(window) for window in cell.plan]
    more = f"; and {len(bands) - 3} more windows" if len(bands) > 3 else ""
    return "; ".join(bands[:3]) + more


def _window(window: Json) -> str:
    fault = window.get("fault") if isinstance(window, dict) else None
    if not isinstance(window, dict) or not isinstance(fault, dict):
        return str(window)
    return f"{fault.get('kind')} {window.get('start_s')} to {window.get('stop_s')} s of the plan"


def _ending(summary: RunSummary, report: str, width: int) -> list[str]:
    lines = [words.stamp(summary)] if words.stamp(summary) else []
    lines += _field("decision", summary.decision, width, most=5, indent="")
    if report:
        lines.append(f"{'report':<18} {report}")
    return [*lines, _cut(f"exit {summary.exit} {words.one_line(summary.exit_reason)}", width * 2)]


def _field(name: str, text: str, width: int, *, most: int, indent: str = "  ") -> list[str]:
    """A name and a wrapped text beside it, cut to ``most`` lines."""
    head = f"{indent}{name}".ljust(len(indent) + 19)
    wrapped = textwrap.wrap(
        words.one_line(text), max(20, width - len(head)), max_lines=most, placeholder=" …", break_long_words=True
    )
    return [f"{head if place == 0 else ' ' * len(head)}{line}" for place, line in enumerate(wrapped)]


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: width - 1]}…"
