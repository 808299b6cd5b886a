"""``report.html``: offline, light, honest about what it leaves out, and deaf to whatever the run's texts say."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

import tests.rendering.reportsample as sample
from harness.core.record import CellResult, Mark, RunSummary, ScenarioInfo, Timeline
from harness.core.verdict import Finding, Guarantee, Verdict
from harness.rendering import html, junit, markdown, render_all, terminal, words
from harness.summary import summarize
from tests.rendering.test_formats_agree import Report

#: Everything that ever broke out of a report: tags, quotes, ends of comments and of CDATA, what reorders or ends text.
HOSTILE = (
    "<script>document.title='owned'</script>"
    '"><img src=x onerror="document.title=\'owned\'">'
    "</style></title></svg></details>'; document.title='owned'; //"
    "]]> --> {{ 7 * 7 }} {% raw %} `a` | b [x](javascript:document.title='owned') \r\n# h\n- x\n"
    "\x00\x07\x1b[31m\x1b]0;owned\x07\x85\u2028\u2029\u202e\ufffe\ud800"
)


@cache
def usual() -> str:
    """The report of the sample run."""
    return html.render(sample.summary())


@cache
def hostile_summary() -> RunSummary:
    """Every text field holds the hostile text."""
    finding = Finding(
        guarantee=Guarantee.NO_POOL_CLOSED,
        verdict=Verdict.FAIL,
        summary=HOSTILE,
        evidence=(1,),
        codes=(HOSTILE,),
        details={HOSTILE: HOSTILE},
    )
    lines = Timeline(
        end_s=2.0,
        bands=((HOSTILE, 0.5, 1.0),),
        latencies=((0.6, 12.0, "ok"), (0.7, 12.0, HOSTILE)),
        connections=((0.1, 3),),
        marks=(
            Mark(time_s=0.6, kind="leak", text=HOSTILE, index=4),
            Mark(time_s=0.5, kind="pool_closed_by", text=HOSTILE),
            Mark(time_s=0.5, kind=HOSTILE, text=HOSTILE),
        ),
        phases=((HOSTILE, 0.1),),
    )
    cells = [
        CellResult(
            id=f"{HOSTILE}{number}",
            scenario=HOSTILE,
            strategy=HOSTILE,
            agents=(HOSTILE,),
            durability=HOSTILE,
            seed=number,
            role=role,
            verdict=verdict,
            findings=(finding,),
            measures={HOSTILE: HOSTILE, "calls": 3, "deep": {HOSTILE: [HOSTILE]}},
            reason=HOSTILE,
            plan=({"fault": {"kind": HOSTILE}, "start_s": 0.0, "stop_s": 1.0}, HOSTILE),
            timeline=lines,
            folder=HOSTILE,
        )
        for number, (role, verdict) in enumerate(
            (role, verdict) for role in ("candidate", "control") for verdict in Verdict
        )
    ]
    return summarize(
        cells,
        planned=len(cells) + 1,
        scenarios=(ScenarioInfo(name=HOSTILE, title=HOSTILE, why=HOSTILE, question=1),),
        started=HOSTILE,
        wall_s=1.0,
        command=HOSTILE,
        components=({"name": HOSTILE, HOSTILE: HOSTILE},),
        provenance={HOSTILE: {HOSTILE: [HOSTILE]}, "commit": HOSTILE},
        notes=(HOSTILE,),
        bug=HOSTILE,
    )


# -- one file, no request, a strict policy -------------------------------------------------------------------------


@pytest.mark.parametrize("summary", [sample.summary, hostile_summary], ids=["usual", "hostile"])
def test_nothing_is_fetched_and_only_our_own_script_may_run(summary: Callable[[], RunSummary]) -> None:
    text = html.render(summary())
    report = Report(text)
    tags = [tag for tag, _ in report.tags]
    assert tags.count("script") == 1
    assert tags.count("style") == 1
    assert not {"link", "img", "iframe", "object", "embed", "base", "form", "audio", "video"} & set(tags)
    for tag, attributes in report.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in ("src", "srcset", "style", "action"), (tag, name)
            if name in ("href", "xlink:href"):
                assert str(value).startswith("#"), value
    assert not re.search(r"@import|url\((?!#hatch[0-3]\))", text.partition("<body")[0])
    policy = next(a["content"] for tag, a in report.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert str(policy).startswith("default-src 'none';")
    assert "unsafe" not in str(policy)
    for tag in ("style", "script"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in str(policy)


def test_hostile_texts_reach_no_format_as_anything_but_text() -> None:
    files = render_all(hostile_summary())
    files["terminal"] = terminal.render(hostile_summary())
    for name, text in files.items():
        assert text.encode("utf-8"), name  # no lone surrogate is left
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202e\ufffe]", text), name
    assert "<script>document" not in files["report.html"]
    assert "<img" not in files["report.html"]
    prose = re.sub(r"^```sh\n.*\n```$", "", files["summary.md"], flags=re.MULTILINE)
    assert "```" not in prose.replace("\\`", "")
    assert not re.search(r"<(script|img|/style)", prose)
    assert json.loads(files["summary.json"])["cells"][0]["reason"] == HOSTILE
    assert "49" not in re.sub(r"\d{3,}|0x\w+", "", Report(files["report.html"]).text.partition("raw")[0])


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here to open the report in")


def opened(page: Path, profile: Path, *flags: str) -> str:
    """The document as Chromium holds it after its scripts ran."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += [f"--user-data-dir={profile}", "--virtual-time-budget=2000", *flags, "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, timeout=60, check=True, text=True).stdout


@pytest.mark.slow
@needs_chromium
def test_in_a_browser_hostile_texts_run_nothing_and_our_script_runs(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(html.render(hostile_summary()), encoding="utf-8")
    dom = opened(page, tmp_path / "profile")
    assert "Poolproof" in re.findall(r"<title>(.*?)</title>", dom, re.DOTALL)[0]
    assert not re.search(r"<title>\s*owned", dom)
    # Our own script took the "hidden" off the tools: had the policy stopped it, this would still be there.
    assert re.search(r'<p class="tools">', dom)
    # The check itself can fail: the same text as markup would have run.
    bare = tmp_path / "bare.html"
    bare.write_text(f"<title>Poolproof</title>{HOSTILE.encode('utf-8', 'replace').decode()}", encoding="utf-8")
    assert re.search(r"<title>\s*owned", opened(bare, tmp_path / "profile"))


@pytest.mark.slow
@needs_chromium
def test_a_link_to_a_cell_opens_it_and_all_around_it(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    summary = sample.summary(sample.run(timelines=False))
    page.write_text(html.render(summary), encoding="utf-8")
    cell = next(c for c in summary.cells if c.role == "candidate" and c.verdict is Verdict.PASS)
    before = opened(page, tmp_path / "profile")
    assert not re.search(rf'id="{re.escape(html.anchor(cell.id))}"[^>]* open', before)
    linked = tmp_path / "linked.html"
    # A file's address loses its fragment on some command lines, so the page is sent there by a script's own place.
    linked.write_text(f'<meta http-equiv="refresh" content="0;url=report.html#{html.anchor(cell.id)}">')
    after = opened(linked, tmp_path / "profile")
    assert re.search(rf'id="{re.escape(html.anchor(cell.id))}"[^>]* open', after)


#: Presses keys as a reader would, and writes down where that led. It runs only because the test takes the policy out.
PRESS = """<script>
const told = [];
const press = (key) => (document.activeElement || document.body)
  .dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const where = () => document.activeElement.closest("details.cell")?.id;
for (const key of ["j", "j", "k", "k"]) { press(key); told.push(where()); }
press("/");
told.push(document.activeElement.id);
document.activeElement.value = "null_pool slow";
document.activeElement.dispatchEvent(new Event("input"));
told.push(Array.from(document.querySelectorAll("details.cell")).filter((cell) => !cell.hidden).map((cell) => cell.id));
press("Escape");
told.push(document.querySelectorAll("details.cell[hidden]").length);
document.title = JSON.stringify(told);
</script>"""


@pytest.mark.slow
@needs_chromium
def test_the_keys_lead_from_one_failing_cell_to_the_next_and_into_the_filter(tmp_path: Path) -> None:
    summary = sample.summary(sample.run(timelines=False))
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html.render(summary))
    page = tmp_path / "report.html"
    page.write_text(text.replace("</body>", f"{PRESS}</body>"), encoding="utf-8")
    (title,) = re.findall(r"<title>(.*?)</title>", opened(page, tmp_path / "profile"), re.DOTALL)
    failing = [html.anchor(c.id) for c in words.worst_first(summary.cells) if words.needs_attention(c)]
    first, second, third = failing
    assert json.loads(title) == [first, second, first, third, "filter", [third], 0]


# -- what a reader finds -------------------------------------------------------------------------------------------


def test_the_decision_comes_first_and_the_environment_last_and_folded() -> None:
    text = usual()
    assert text.index("<h1>Ship") < text.index('<table class="matrix">')
    assert text.index('<table class="matrix">') < text.index('id="bites"') < text.index('id="attention"')
    order = [match[1] for match in re.finditer(r'<section id="(\w+)"', text)]
    assert order[-1] == "environment"
    assert re.search(r'<section id="environment">\s*<details>', text)


def test_the_matrix_is_a_real_table_with_a_glyph_a_word_and_a_number_in_each_place() -> None:
    report = Report(usual())
    scopes = {str(attributes.get("scope")) for tag, attributes in report.tags if tag == "th"}
    assert scopes == {"col", "row", "rowgroup"}
    places = [cell for row in report.rows["matrix"] if len(row) > 2 for cell in row[1:]][len(sample.SCENARIOS) :]
    assert len(places) == len(sample.SCENARIOS) * (len(sample.CANDIDATES) + len(sample.CONTROLS))
    for place in places:
        assert re.fullmatch(r"[✓✗◷?!–] (PASS|FAIL|SLOW|INVALID|CAUGHT)\D*\d[\d.,]* ?\w*", place.strip()), place


def test_cells_that_need_attention_stand_open_worst_first_and_the_others_are_folded() -> None:
    text = usual()
    found = re.findall(r'<details class="cell[^>]*data-verdict="(\w+)"( open data-attention)?', text)
    assert [verdict for verdict, is_open in found if is_open] == ["FAIL", "INVALID", "SLOW"]
    assert [bool(is_open) for _, is_open in found] == [True] * 3 + [False] * (len(found) - 3)


def test_a_failing_cell_shows_its_faults_its_leaks_who_closed_the_pool_and_how_to_run_it_again() -> None:
    text = usual()
    cell = text[text.index('id="attention"') : text.index('id="cell-network.answers_lost-per_agent_pool')]
    assert 'fill="url(#hatch0)"' in cell
    assert ">reset_peer</text>" in cell
    assert "PoolClosed at a caller 2</span>" in cell
    assert "naive_recreate.py:48 _recreate_pool" in cell
    assert "poolproof replay network.reset_mid_turn-shared_swap-async-0" in cell
    assert "PoolClosed reached callers, the first 38 ms after a swap" in cell


def test_caught_controls_stand_apart_and_are_called_what_they_are() -> None:
    text = usual()
    controls = text[text.index('<section id="controls">') : text.index('<section id="passing">')]
    assert controls.count("as it must be") == len(sample.MUST_CATCH)
    assert "data-attention" not in controls


def test_a_partial_report_is_stamped() -> None:
    cells = sample.run(timelines=False)[:37]
    text = html.render(sample.summary(cells, planned=60, interrupted=2))
    assert '<p class="stamp">INCOMPLETE 37/60 cells</p>' in text
    assert "INCOMPLETE" not in usual()


def test_a_run_without_any_cell_still_has_a_report() -> None:
    text = html.render(sample.summary([]))
    assert "Nothing ran, so nothing is decided." in text
    assert "No cell was judged." in text


def test_ids_are_unique_and_every_link_leads_somewhere() -> None:
    report = Report(usual())
    ids = [str(attributes["id"]) for _, attributes in report.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {str(a["href"])[1:] for _, a in report.tags if "href" in a}
    assert links <= set(ids)


# -- the byte budget -----------------------------------------------------------------------------------------------


def many(number: int, *, failing: bool, calls: int) -> RunSummary:
    """Cells with long timelines and findings, all of them failing or none."""
    broken = {Guarantee.NO_HANG: (Verdict.FAIL, "w" * 3_000)} if failing else {}
    lines = [sample.timeline(seed, calls=calls, leaks=60 if failing else 0) for seed in range(8)]
    names = [f"{strategy}_{part}" for strategy in sample.CANDIDATES for part in range(12)]
    cells = [
        sample.cell(
            sample.SCENARIOS[place % len(sample.SCENARIOS)].name,
            names[place // len(sample.SCENARIOS) % len(names)],
            seed=place,
            broken=broken,
            lines=lines[place % 8],
        )
        for place in range(number)
    ]
    return sample.summary(cells)


@pytest.mark.slow
@pytest.mark.parametrize("failing", [False, True])
def test_400_cells_stay_under_the_cap_and_the_report_says_what_it_leaves_out(failing: bool) -> None:
    text = html.render(many(400, failing=failing, calls=2_000))
    assert len(text.encode()) <= html.CAP_BYTES
    assert 'id="thinned"' in text
    assert len(Report(text).cells) == 400


@pytest.mark.slow
def test_a_usual_quick_run_stays_under_the_target_with_every_detail() -> None:
    text = html.render(sample.summary())
    assert len(text.encode()) <= html.TARGET_BYTES
    assert 'id="thinned"' not in text
    assert text.count("<figure") == len(sample.summary().cells)


def test_markdown_is_cut_at_the_edge_of_a_section() -> None:
    text = markdown.render(many(400, failing=True, calls=10))
    assert len(text.encode()) <= markdown.LIMIT_BYTES
    assert text.rstrip().endswith("have everything.*")
    assert re.search(r"poolproof replay \S+\n```\n\n\n\*Cut here", text)
    assert "Cut here" not in markdown.render(sample.summary())


# -- the other texts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("interrupted", [None, 15])
def test_the_last_25_lines_of_the_terminal_hold_what_matters(broken: bool, interrupted: int | None) -> None:
    cells = [*sample.run(broken=broken, timelines=False)]
    if broken:
        long = dict.fromkeys(Guarantee, (Verdict.FAIL, "a long story " * 60))
        cells += [sample.cell("network/steady", f"mine_{n}", broken=long, reason="because " * 90) for n in range(9)]
    summary = sample.summary(cells, planned=len(cells) + (3 if interrupted else 0), interrupted=interrupted)
    text = terminal.render(summary, report="reports/latest/report.html", width=100)
    assert "\x1b" not in text
    lines = [part for line in text.rstrip("\n").split("\n") for part in re.findall(".{1,100}", line) or [""]]
    last = "\n".join(lines[-terminal.LAST_LINES :])
    assert re.search(rf"^exit {summary.exit} ", last, re.MULTILINE)
    assert text.rstrip("\n").split("\n")[-1].startswith(f"exit {summary.exit} ")
    assert "decision" in last
    assert "reports/latest/report.html" in last
    assert words.stamp(summary) in last
    if broken:
        worst = words.worst_first(summary.cells)[0]
        assert words.replay(worst) in last
        assert "reset_peer" in last
        assert "no_pool_closed" in last


def test_colour_is_only_there_when_asked_for() -> None:
    summary = sample.summary(sample.run(timelines=False))
    coloured = terminal.render(summary, colour=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured).split() == terminal.render(summary).split()


def test_junit_is_well_formed_whatever_the_texts_hold() -> None:
    assert junit.render(hostile_summary()).startswith("<?xml")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ünï ✓ 語", "plain ünï ✓ 語"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\u202eb\u2028c", "a\\u202eb\\u2028c"),
        ("\ud800\U000e0001", "\\ud800\\U000e0001"),
        ("kept\nline\tand\u00a0space", "kept\nline\tand\u00a0space"),
        ("x" * 30, "x" * 20 + "… (10 more characters)"),
    ],
)
def test_what_cannot_be_seen_is_made_visible(text: str, shown: str) -> None:
    assert words.visible(text, 20 if text.startswith("xx") else 1_000) == shown
