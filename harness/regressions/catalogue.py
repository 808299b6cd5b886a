"""What is expected of which versions: a ``.toml`` beside a script says it.

::

    incident = 18
    package = "psycopg-pool"        # the one that varies; the others are as in this environment
    limit_s = 60                    # of one run
    bound = "before 3.2.8"
    [expected]                      # shows | does not | not installable
    "3.2.7" = "shows"
    "today" = "does not"            # the version of this environment
"""

from __future__ import annotations

import importlib.metadata
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from harness.core.errors import UsageError
from harness.registry import reproducers

#: What an environment of ours is made of; everything else comes as they need it.
PACKAGES = ("psycopg", "psycopg-pool", "langgraph", "langgraph-checkpoint-postgres")
TODAY = "today"
#: No run may take longer, whatever a file says.
LONGEST_S = 300.0


class Shown(StrEnum):
    """How a script ended."""

    SHOWS = "shows"
    DOES_NOT = "does not"
    NOT_INSTALLABLE = "not installable"
    HANGS = "hangs"  # it was ended at its limit
    BROKE = "broke"  # it ended in an error that is not the symptom


#: What a file may expect: a script has to end by itself, and with its own symptom or none.
_EXPECTABLE = (Shown.SHOWS, Shown.DOES_NOT, Shown.NOT_INSTALLABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Regression:
    """One script and what is expected of it, by the version of ``package`` (``today``, or a number)."""

    script: Path
    incident: int
    package: str
    limit_s: float
    bound: str
    expected: Mapping[str, Shown]

    @property
    def name(self) -> str:
        """The incident, and what the script is called: one incident may have several."""
        return f"I-{self.incident} {self.script.stem.partition('_')[2].partition('_')[2]}"


def catalogue(folder: Path | None = None) -> tuple[Regression, ...]:
    """Every script that has expectations, in order of incidents; UsageError for a file that is wrong."""
    files = (folder or reproducers()).glob("*.toml")
    return tuple(sorted((_read(file) for file in files), key=lambda item: (item.incident, item.script.name)))


def _read(file: Path) -> Regression:
    try:
        said: Mapping[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: {error}") from error
    fields = {"incident": int, "package": str, "limit_s": int, "bound": str, "expected": dict}
    wrong = [key for key, kind in fields.items() if not isinstance(said.get(key), kind)]
    if wrong or set(said) - set(fields):
        odd = ", ".join(sorted({*wrong, *(set(said) - set(fields))}))
        raise UsageError(f"{file}: {odd} is missing, unknown or of another type; allowed: {', '.join(fields)}")
    if said["package"] not in PACKAGES:
        raise UsageError(f"{file}: package is {said['package']!r}; allowed: {', '.join(PACKAGES)}")
    if not 0 < said["limit_s"] <= LONGEST_S:
        raise UsageError(f"{file}: limit_s is {said['limit_s']}; allowed: above 0, at most {LONGEST_S:g}")
    unknown = [value for value in said["expected"].values() if value not in _EXPECTABLE]
    if unknown or TODAY not in said["expected"]:
        allowed = ", ".join(_EXPECTABLE)
        raise UsageError(
            f"{file}: expected holds {unknown or 'no today'}; allowed: {allowed}, and today among the keys"
        )
    script = file.with_suffix(".py")
    if not script.is_file():
        raise UsageError(f"{file}: there is no {script.name} beside it")
    return Regression(
        script=script,
        incident=said["incident"],
        package=said["package"],
        limit_s=float(said["limit_s"]),
        bound=said["bound"],
        expected={version: Shown(shown) for version, shown in said["expected"].items()},
    )


def versions_today() -> Mapping[str, str]:
    """The versions of this environment: those of requirements.lock where nox made it."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def pins(regression: Regression, version: str, today: Mapping[str, str]) -> Mapping[str, str]:
    """The versions of an environment in which ``regression.package`` has ``version``."""
    return {**today, regression.package: today[regression.package] if version == TODAY else version}
