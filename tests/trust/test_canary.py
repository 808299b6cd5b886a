"""The canary: a failure is carried out through every report, JUnit, and the status of poolproof, pytest and nox."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import junitparser
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.proof]
ROOT = Path(__file__).resolve().parents[2]
CELL = "canary.impossible-per_agent_pool-async-0"
LIMIT_S = 300


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "CI": "", **more}


def assert_every_report_says_fail(out: Path) -> None:
    """``report.html``, ``summary.json``, ``junit.xml`` and ``summary.md``: each says FAIL of the canary, and exit 1."""
    data = json.loads((out / "summary.json").read_text())
    (cell,) = [cell for cell in data["cells"] if cell["id"] == CELL]
    assert (data["exit"], cell["verdict"], cell["as_it_should_be"]) == (1, "FAIL", False)
    assert "available" in [f["guarantee"] for f in cell["findings"] if f["verdict"] == "FAIL"]
    assert "candidates broke a guarantee in 1 cell (per_agent_pool)" in data["exit_reason"]
    (suite,) = junitparser.JUnitXml.fromfile(str(out / "junit.xml"))
    failed = [case for case in suite if any(isinstance(result, junitparser.Failure) for result in case.result)]
    assert [case.name for case in failed] == [CELL]
    assert suite.failures == 1
    page = (out / "report.html").read_text()
    assert f'data-cell="{CELL}" data-verdict="FAIL" open data-attention' in page
    assert "<b>exit 1</b>" in page
    text = (out / "summary.md").read_text()
    assert "**exit 1**" in text
    assert "### ✗ FAIL: per\\_agent\\_pool in canary/impossible" in text


def test_the_command_line_and_nox_say_that_it_failed(tmp_path: Path) -> None:
    """``nox -s chaos -- canary``, as CI runs it; nox has its environment already, so that nothing is installed."""
    home, out = tmp_path / "nox" / "chaos", tmp_path / "out"
    venv.create(home, system_site_packages=True, with_pip=False)
    command = home / "bin" / "poolproof"
    start = "import sys; from harness.cli import main; sys.exit(main())"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{start}" "$@"\n')
    command.chmod(0o755)
    options = ["--envdir", str(tmp_path / "nox"), "--force-venv-backend", "venv", "-R", "--"]
    done = subprocess.run(
        [sys.executable, "-m", "nox", "-s", "chaos", *options, "canary", "--jobs", "2", "--out", str(out)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "failed with exit code 1" in done.stderr, said  # the status of poolproof itself
    assert done.stdout.splitlines()[-1].startswith("exit 1 candidates broke a guarantee in 1 cell"), said
    assert_every_report_says_fail(out)


def test_pytest_says_that_it_failed(tmp_path: Path) -> None:
    out, xml = tmp_path / "out", tmp_path / "pytest.xml"
    options = ["--poolproof-out", str(out), f"--junitxml={xml}", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "scenarios/canary.py", *options],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"FAILED scenarios/canary.py::{CELL}" in done.stdout
    assert "per_agent_pool in canary/impossible is FAIL: a guarantee is broken" in done.stdout
    (suite,) = junitparser.JUnitXml.fromfile(str(xml))
    assert (suite.tests, suite.failures) == (1, 1)
    assert_every_report_says_fail(out)


def test_pytest_leaves_it_alone_unless_its_file_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "scenarios", "--collect-only", "-q", "-p", "no:cacheprovider"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "scenarios/trust.py::trust.calm-kept_connection-async-0" in done.stdout
    assert "canary" not in done.stdout
