"""A virtual environment for each set of versions, made by pip and kept for the next time."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

INSTALL_LIMIT_S = 600.0
#: psycopg needs its binary half in the same version.
_WITH = {"psycopg": "psycopg-binary"}
_DONE = "poolproof-installed"


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment that is ready; ``python`` is its interpreter."""

    python: Path


@dataclass(frozen=True, slots=True)
class NotInstallable:
    """The versions do not go together, or are not to be had; ``why`` in pip's words."""

    why: str


def install(pins: Mapping[str, str], folder: Path) -> Installed | NotInstallable:
    """The environment with exactly these versions, below ``folder``; made anew only if it is not there whole."""
    wanted = sorted(f"{name}=={version}" for name, version in pins.items())
    wanted += [f"{_WITH[name]}=={version}" for name, version in pins.items() if name in _WITH]
    key = "-".join(version for _, version in sorted(pins.items()))
    place = folder / f"{key}-{hashlib.sha256(repr((wanted, sys.version)).encode()).hexdigest()[:8]}"
    python = place / "bin" / "python"
    if (place / _DONE).is_file():
        return Installed(python)
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    failed = _run(sys.executable, "-m", "venv", "--without-pip", str(place)) or _run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--disable-pip-version-check",
        *wanted,
    )
    if failed:
        shutil.rmtree(place, ignore_errors=True)
        return NotInstallable(failed)
    (place / _DONE).write_text("\n".join(wanted))
    return Installed(python)


def _run(*command: str) -> str:
    """Empty if the command ended well; else its last error, in one line."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"{Path(command[0]).name} did not end within {INSTALL_LIMIT_S:g} s"
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or [f"exit {done.returncode}"])[0][:300]
