"""All cells, one after the other: an environment, a script, how it ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from harness.cli.reproducing import script, script_alone
from harness.environments.leases import scratch_folder
from harness.registry import default_registry
from harness.regressions.catalogue import Regression, Shown, pins, versions_today
from harness.regressions.installing import Installed, NotInstallable, install
from harness.regressions.running import Ended, run_script, server
from harness.regressions.table import Cell


def measure(
    regressions: Sequence[Regression],
    folder: Path,
    *,
    only: Sequence[str] = (),
    note: Callable[[str], None],
    make: Callable[[Mapping[str, str], Path], Installed | NotInstallable] = install,
) -> Iterator[Cell]:
    """Each script in each of its versions, those in ``only`` if there are any. Environments lie below ``folder``."""
    today = versions_today()
    with server() as postgres, scratch_folder() as scratch:
        for regression in regressions:
            file = scratch / regression.script.name
            file.write_text(_printed(regression), encoding="utf-8")
            for version in regression.expected:
                if only and version not in only:
                    continue
                wanted = pins(regression, version, today)
                place = make(wanted, folder)
                if isinstance(place, NotInstallable):
                    ended = Ended(Shown.NOT_INSTALLABLE, place.why, 0.0)
                else:
                    ended = run_script(place.python, file, regression.limit_s, postgres)
                cell = Cell(regression=regression, version=version, pins=wanted, ended=ended)
                note(f"{regression.name:<40}  {cell.package_version:<46}  {ended.shown}  {ended.said}")
                yield cell


def _printed(regression: Regression) -> str:
    """As ``poolproof reproduce`` prints it."""
    scenario = default_registry().scenarios.get(f"incidents/{regression.script.stem}")
    return script_alone(regression.script) if scenario is None else script(scenario, regression.script)
