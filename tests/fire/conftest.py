"""One sound cell for all rows that can share it."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.verdict import Verdict
from harness.slot import Slot
from tests.fire.cells import run_cell


@pytest.fixture(scope="session")
def sound_cell(slot: Slot, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a cell that passed: copy it before you damage it."""
    folder = tmp_path_factory.mktemp("sound") / "cell"
    result = run_cell(slot, folder, "STILL")
    assert result.verdict is Verdict.PASS, result.reason
    return folder
