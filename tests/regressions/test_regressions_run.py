"""The matrix's machinery on a real Postgres, with the versions that are installed here: nothing is downloaded."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.regressions.catalogue import TODAY, Shown, catalogue
from harness.regressions.installing import Installed, NotInstallable
from harness.regressions.matrix import measure
from harness.regressions.running import run_script, server
from harness.regressions.table import surprises

#: What takes little time; the nox session has all.
QUICK = (14, 19, 23)


def here(pins: Mapping[str, str], folder: Path) -> Installed | NotInstallable:
    """This environment, in place of one of its own."""
    return Installed(Path(sys.executable))


@pytest.mark.slow
def test_todays_versions_are_as_expected(tmp_path: Path) -> None:
    notes: list[str] = []
    chosen = [item for item in catalogue() if item.incident in QUICK]
    cells = list(measure(chosen, tmp_path, only=(TODAY,), note=notes.append, make=here))
    assert [cell.regression.incident for cell in cells] == list(QUICK)
    assert surprises(cells) == ()
    assert len(notes) == len(QUICK)
    assert {cell.ended.shown for cell in cells} == {Shown.SHOWS, Shown.DOES_NOT}


@pytest.mark.slow
def test_what_cannot_be_installed_is_no_run(tmp_path: Path) -> None:
    chosen = [item for item in catalogue() if item.incident == 23]
    why = NotInstallable("no such version")
    (cell,) = measure(chosen, tmp_path, only=(TODAY,), note=lambda _: None, make=lambda pins, folder: why)
    assert (cell.ended.shown, cell.ended.said) == (Shown.NOT_INSTALLABLE, "no such version")


HANGING = """
import os, signal, sys, time
import psycopg
stopped = psycopg.connect(sys.argv[2])
os.kill(stopped.info.backend_pid, signal.SIGSTOP)
time.sleep(600)
"""


@pytest.mark.slow
def test_a_run_is_bounded_and_leaves_nothing_that_stops_the_next(tmp_path: Path) -> None:
    """Also where it leaves a stopped backend behind, which would hold up every DROP DATABASE."""
    (tmp_path / "hanging.py").write_text(HANGING)
    (tmp_path / "broken.py").write_text("raise ValueError('neither one nor the other')\n")
    (tmp_path / "well.py").write_text("print('no symptom')\n")
    with server() as postgres:
        ended = run_script(Path(sys.executable), tmp_path / "hanging.py", 3.0, postgres)
        assert (ended.shown, ended.said) == (Shown.HANGS, "still running after 3 s")
        assert ended.took_s < 20
        ended = run_script(Path(sys.executable), tmp_path / "broken.py", 30.0, postgres)
        assert (ended.shown, ended.said) == (Shown.BROKE, "exit 1: ValueError: neither one nor the other")
        assert run_script(Path(sys.executable), tmp_path / "well.py", 30.0, postgres).shown is Shown.DOES_NOT
