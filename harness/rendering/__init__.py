"""One file per format. Record in, text out: nothing here reads a file of a run, writes one, or decides a verdict.

``words`` and ``tables`` hold what the formats share, ``chart`` the geometry of the timelines.
"""

from __future__ import annotations

from harness.core.record import RunSummary


def render_all(summary: RunSummary) -> dict[str, str]:
    """Every report of a run, by file name; all of them show the same numbers."""
    from harness.rendering import html, junit, markdown, summary_json  # jinja2 and junitparser, needed only here

    return {
        "report.html": html.render(summary),
        "summary.json": summary_json.render(summary),
        "junit.xml": junit.render(summary),
        "summary.md": markdown.render(summary),
    }
