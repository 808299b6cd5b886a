"""``report.html``: one file that opens offline, makes no request, and can be read without JavaScript.

The file keeps a byte budget: where all details of all cells would go over it, passing cells are thinned first, then
failing ones, and the report says what it leaves out. Every string of the run goes through the template's escaping;
only the report's own style and script are inserted as they are, and the page's security policy allows just those two
by their digests.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache

import jinja2
from markupsafe import Markup

from harness.core.record import CellResult, Mark, RunSummary
from harness.core.verdict import Json, Verdict
from harness.rendering import chart as charts
from harness.rendering import tables, words
from harness.rendering.evidence import Proof, proofs
from harness.summary import number, tested, trials

#: What a report should weigh, and what it never exceeds for 400 cells, in bytes.
TARGET_BYTES = 1_500_000
CAP_BYTES = 5_000_000


#: Anomalies shown in full of a cell that needs attention, and of one that is as it should be.
_PROOFS = (6, 1)
#: Cells that the guess at a report's size looks at.
_SAMPLED = 30

#: The four questions that every scenario belongs to one of.
QUESTIONS = {
    1: "one shared pool or one per agent, and is it safe with threads?",
    2: "how is a pool re-created safely?",
    3: "how do living savers get the new pool?",
    4: "retry, degrade, or fail fast?",
}


@dataclass(frozen=True, slots=True)
class Detail:
    """How much a report shows, and up to which size that will do.

    ``failing`` and ``passing`` are (calls drawn one by one, intervals of the envelope) of the charts of cells that
    need attention and of the others, None for no chart; ``charted`` is how many of the former get one;
    ``kept_findings`` says whether passing cells list their findings and measures; ``longest_text`` is the characters
    shown of any one text; ``said`` tells the reader what is left out.
    """

    limit_bytes: int
    failing: tuple[int, int]
    passing: tuple[int, int] | None
    charted: int = 1_000
    kept_findings: bool = True
    longest_text: int = words.LONGEST_TEXT
    said: str = ""


#: Tried in turn until the report is light enough. A chart of every cell is worth more than the target, never the cap.
DETAILS = (
    Detail(TARGET_BYTES, failing=(1_500, 240), passing=(800, 240)),
    Detail(
        TARGET_BYTES,
        failing=(1_500, 240),
        passing=(0, 120),
        said="answered calls of passing cells are drawn as a range",
    ),
    Detail(
        CAP_BYTES // 2,
        failing=(800, 240),
        passing=(0, 50),
        kept_findings=False,
        said="passing cells are drawn coarsely, and their findings are listed by name only",
    ),
    Detail(
        CAP_BYTES // 2,
        failing=(300, 120),
        passing=None,
        charted=80,
        kept_findings=False,
        longest_text=600,
        said="passing cells have no chart, and of the cells that need attention the first 80 have one",
    ),
    Detail(
        CAP_BYTES,
        failing=(100, 60),
        passing=None,
        charted=20,
        kept_findings=False,
        longest_text=160,
        said="only the first 20 cells that need attention have a chart, and long texts are cut",
    ),
)


def render(summary: RunSummary) -> str:
    """The whole report as one HTML document, as detailed as the byte budget allows."""
    page = ""
    for detail in DETAILS:
        if _surely_too_big(summary, detail):
            continue
        page = render_with(summary, detail)
        if len(page.encode()) <= detail.limit_bytes:
            break
    return page


def _surely_too_big(summary: RunSummary, detail: Detail) -> bool:
    """Guessed from every tenth cell or so, because a big report takes seconds at each level of detail."""
    step = len(summary.cells) // _SAMPLED
    if step < 2 or detail.charted < len(summary.cells):
        return False
    some = dataclasses.replace(summary, cells=summary.cells[::step])
    none = dataclasses.replace(summary, cells=())
    base = len(render_with(none, detail).encode())
    each = (len(render_with(some, detail).encode()) - base) / len(some.cells)
    return base + each * len(summary.cells) > 1.2 * detail.limit_bytes


def render_with(summary: RunSummary, detail: Detail) -> str:
    """The report at one level of detail."""
    style, script = _static("report.css"), _static("report.js")
    views = _views(summary, detail)
    calm = [view for view in views if not words.needs_attention(view.cell)]
    decision = re.split(r"(?<=\.)\s+(?=[A-Z`])", words.visible(summary.decision))
    context = {
        "summary": summary,
        "stamp": words.stamp(summary),
        "decision": _spans(decision[0]),
        "rest": [_spans(sentence) for sentence in decision[1:]],
        "tally": tables.tally(summary),
        "matrix": tables.matrix(summary),
        "bites": tables.bites(summary),
        "met": tables.met(summary),
        "sides": tables.sides(summary),
        "attention": [v for v in views if words.needs_attention(v.cell)],
        "trials": trials(summary.cells),
        "tested": tested(summary.cells),
        "controls": [v for v in calm if v.cell.role == "control" and not v.cell.planted],
        "planted": [v for v in calm if v.cell.planted],
        "passing": [v for v in calm if v.cell.role != "control"],
        "thinned": detail.said,
        "facts": _facts(summary),
        "style": Markup(style),  # noqa: S704 - our own file, with no word of the run in it
        "script": Markup(script),  # noqa: S704 - likewise
        "style_digest": _digest(style),
        "script_digest": _digest(script),
        "questions": QUESTIONS,
        "keys": charts.KEYS,
        "V": charts,
    }
    return _squeezed(_environment(detail.longest_text).get_template("report.html.j2").render(context))


@dataclass(frozen=True, slots=True)
class CellView:
    """One cell's section: the cell, and everything about it that takes working out."""

    cell: CellResult
    glyph: str
    word: str
    tone: str
    anchor: str
    why: str
    replay: str
    chart: charts.Chart | None
    closers: tuple[Mark, ...]
    more_closers: int
    leaks: tuple[Mark, ...]
    more_leaks: int
    listed: bool
    measures: tuple[tuple[str, str], ...]
    search: str
    proofs: tuple[Proof, ...]


def _views(summary: RunSummary, detail: Detail) -> list[CellView]:
    views: list[CellView] = []
    charted = 0
    for cell in words.worst_first(summary.cells):
        attention = words.needs_attention(cell)
        size = detail.failing if attention else detail.passing
        if attention:
            charted += 1
            size = size if charted <= detail.charted else None
        listed = attention or detail.kept_findings
        views.append(_view(cell, size, listed=listed, proved=_PROOFS[not attention] if size and listed else 0))
    return views


def _view(cell: CellResult, size: tuple[int, int] | None, *, listed: bool, proved: int) -> CellView:
    glyph, word, tone = words.label(cell)
    marks = cell.timeline.marks if cell.timeline is not None else ()
    closers = [mark for mark in marks if mark.kind == "pool_closed_by"]
    leaks = [mark for mark in marks if mark.kind == "leak"]
    drawn = None
    if cell.timeline is not None and size is not None:
        drawn = charts.chart(cell.timeline, points=size[0], buckets=size[1], titles=40 if listed else 5)
    return CellView(
        cell=cell,
        glyph=glyph,
        word=word,
        tone=tone,
        anchor=anchor(cell.id),
        why=words.explanation(cell),
        replay=words.replay(cell),
        chart=drawn,
        closers=tuple(closers[:4]),
        more_closers=max(0, len(closers) - 4),
        leaks=tuple(leaks[:4]),
        more_leaks=max(0, len(leaks) - 4),
        listed=listed,
        measures=tuple((_plain_name(name), _measure(name, value)) for name, value in cell.measures.items()),
        search=f"{cell.scenario} {cell.strategy} {cell.durability} {cell.role} {word} {cell.verdict}".lower(),
        proofs=tuple(proofs(cell, proved)),
    )


def anchor(cell_id: str) -> str:
    """The fragment that links to a cell: the same in tomorrow's report."""
    return f"cell-{re.sub(r'[^A-Za-z0-9_.+-]', '_', cell_id)}"


def _plain_name(name: str) -> str:
    """The measure's name without its unit, which stands with the number."""
    return re.sub(r"_(ms|per_s|s)$", "", name).replace("_", " ")


def _measure(name: str, value: Json) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value if isinstance(value, str) else json.dumps(value)
    if name.endswith("_ms"):
        return words.milliseconds(float(value))
    if name.endswith("_per_s"):
        return f"{value:,.1f} a second"
    if name.endswith("_s"):
        return words.seconds(float(value))
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _spans(text: str) -> list[tuple[bool, str]]:
    """The text cut at its backquotes: (is code, piece)."""
    return [(place % 2 == 1, piece) for place, piece in enumerate(text.split("`")) if piece]


def _facts(summary: RunSummary) -> list[tuple[str, str]]:
    """Provenance, flattened into rows of name and value."""
    rows: list[tuple[str, str]] = []

    def add(name: str, value: Json) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                add(f"{name}.{key}" if name else key, inner)
        else:
            rows.append((name, value if isinstance(value, str) else json.dumps(value)))

    add("", dict(summary.provenance))
    return rows


# -- the template's surroundings ----------------------------------------------------------------------------------


@cache
def _environment(longest_text: int) -> jinja2.Environment:
    def shown(text: object) -> str:
        return words.visible(str(text), longest_text)

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("harness.rendering", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Whatever is printed goes through this before it is escaped, so that no field can be forgotten.
        finalize=lambda value: value if isinstance(value, Markup | charts.PathData | int | float) else shown(value),
    )
    environment.filters.update(
        seconds=words.seconds,
        milliseconds=words.milliseconds,
        duration=words.duration,
        moment=words.moment,
        breakable=_breakable,
        anchor=anchor,
    )
    environment.globals.update(
        glyphs=words.GLYPHS, meanings=words.MEANINGS, label=words.label, figure=words.figure, number=number,
        Verdict=Verdict, ordered=words.findings_worst_first,
    )  # fmt: skip
    return environment


def _breakable(text: str) -> Markup:
    """A name that may be broken after its underscores and slashes."""
    return Markup("<wbr>").join(re.findall(r"[^_/]*[_/]?", words.visible(text)))


@cache
def _static(name: str) -> str:
    loader = jinja2.PackageLoader("harness.rendering", "templates")
    return _squeezed(loader.get_source(jinja2.Environment(autoescape=True), name)[0])


def _squeezed(text: str) -> str:
    """Without blank lines and indentation: they are a tenth of a big report."""
    return re.sub(r"\s*\n\s*", "\n", text)


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
