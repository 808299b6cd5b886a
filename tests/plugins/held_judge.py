"""Plug-in file for the slot's tests: imported by a slot, it makes a judge wait as long as the cell's folder has a file
``hold`` in it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from harness import verdicts
from harness.core.record import CellResult
from harness.store import CellFolder
from tests.plugins.short import STILL, PlainPool

__all__ = ["STILL", "PlainPool"]

HOLD = "hold"
_LIMIT_S = 60.0


def _waits(folder: CellFolder, judge_folder: Any = verdicts.judge_folder, **more: Any) -> CellResult:
    stop_s = time.monotonic() + _LIMIT_S
    while (folder.path / HOLD).exists() and time.monotonic() < stop_s:
        time.sleep(0.01)
    judged: CellResult = judge_folder(folder, **more)
    return judged


if Path(sys.argv[0]).name == "slot_process.py":
    verdicts.judge_folder = _waits
