"""psycopg or psycopg_pool older than the first that bound what they wait for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from harness.lint.finding import LintFinding, NotChecked, Place
from harness.lint.subject import Subject

FLOORS: Mapping[str, tuple[int, ...]] = {"psycopg": (3, 3, 9), "psycopg-pool": (3, 3, 3)}
_CAUSES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "psycopg": ("a cancelled query on a silent connection never ends (before 3.3.6)", ("I-20",)),
    "psycopg-pool": (
        "a cancelled checkout loses its connection (before 3.2.8), or its cancellation (before 3.3.2)",
        ("I-18", "I-19", "I-21"),
    ),
}


def versions(subject: Subject) -> Iterator[LintFinding | NotChecked]:
    """What is installed where the lint runs."""
    for package, least in FLOORS.items():
        version, wanted = subject.versions.get(package), ".".join(map(str, least))
        if version is None:
            yield NotChecked(f"the version of {package}", "it is not installed here")
        elif _numbers(version) < least:
            what, incidents = _CAUSES[package]
            yield LintFinding(
                check="versions",
                what=f"{package} is older than what is known to be right: {what}",
                where=Place(f"the installed {package}"),
                value=version,
                allowed=f"{wanted} or newer",
                fix=f"pip install --upgrade '{package}>={wanted}'",
                incidents=incidents,
                scenarios=("incidents/i_19_check_is_not_bounded", "incidents/i_20_timeout_does_not_fire"),
            )


def _numbers(version: str) -> tuple[int, ...]:
    """``3.3.10`` as (3, 3, 10); a pre-release comes before its release."""
    found = re.match(r"(\d+(?:\.\d+)*)((?:a|b|rc|\.dev)\d+)?", version)
    if found is None:
        return ()
    numbers = tuple(int(part) for part in found[1].split("."))
    return (*numbers[:-1], numbers[-1] - 1) if found[2] else numbers
