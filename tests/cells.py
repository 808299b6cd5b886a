"""One real cell on a slot that a test holds in its hand, by the names of a plug-in file or by those that ship."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.core.cell import DEFAULT_AGENTS, CellSpec, cell_id
from harness.core.record import CellResult
from harness.slot import Slot
from harness.store import CellFolder


def begin_cell(
    slot: Slot,
    folder: Path,
    scenario: str,
    strategy: str,
    *,
    plugins: Path | None = None,
    seed: int = 0,
    agents: Sequence[str] = DEFAULT_AGENTS,
) -> None:
    """Start a cell in ``folder``. A name that begins with a capital is one of the file ``plugins``."""

    def reference(name: str) -> str:
        return f"{plugins}:{name}" if plugins is not None and name[0].isupper() else name

    spec = CellSpec(
        id=cell_id(scenario.lower(), Path(strategy).name, "async", seed),
        scenario=reference(scenario),
        strategy=reference(strategy),
        agents=tuple(agents),
        seed=seed,
    )
    place = CellFolder(folder)
    place.logs.mkdir(parents=True, exist_ok=True)
    slot.begin(spec, place)


def run_cell(
    slot: Slot,
    folder: Path,
    scenario: str,
    strategy: str,
    *,
    plugins: Path | None = None,
    seed: int = 0,
    agents: Sequence[str] = DEFAULT_AGENTS,
) -> CellResult:
    """The same, and its judged result; bounded by the slot's own limit for cells."""
    begin_cell(slot, folder, scenario, strategy, plugins=plugins, seed=seed, agents=agents)
    return slot.result()
