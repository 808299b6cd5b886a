"""Runs many cells on one machine, side by side: as many slots as leave each other's calls far from their deadlines.

How many that is, is measured at the start and printed. Ctrl-C ends what runs, reports what is judged, and leaves
nothing running.
"""

from __future__ import annotations

import itertools
import os
import platform
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import FrameType

from harness.core.cell import CellSpec, cell_id
from harness.core.errors import ComponentError
from harness.core.record import CellResult, RunSummary, ScenarioInfo
from harness.core.scenario import SLOW_FACTOR
from harness.core.verdict import Guarantee, Json
from harness.environments.leases import clear_up
from harness.environments.target_dsn import Target
from harness.progress import Progress, progress_for
from harness.registry import default_registry, is_planted, role_of
from harness.rendering import render_all
from harness.slot import Slot
from harness.store import FIRST, CellFolder, Run, RunRecord, folder_name, load_cells, write_reports
from harness.summary import summarize_record

#: With n slots the p95 of calls without faults may be this share of the shortest deadline of the run: what a machine
#: does to calls must stay far from what a fault does to them. Three slots on two cores give 500 to 700 ms, and the
#: shortest deadline is 2 s.
DEADLINE_SHARE = 0.4
#: Slots tried at the start: one more than there are cores, since a cell waits more than it computes.
SLOTS_OVER_CORES = 1
SLOTS_MAX = 8
#: Of the cells that a busy machine spoiled, so many run once more: this share of the run's, and a few in any run.
AGAIN_SHARE = 0.05
AGAIN_MIN = 3
#: Slots beside those whose cells are under load: there a cell is read and torn down meanwhile, and the next one set up.
SPARE_SLOTS = 1
#: So many of the shortest cells are kept for the end: a slot that is done early then has something to do.
KEPT_CELLS = 4
CALIBRATION = "network/steady"
_POLL_S = 0.5
_PACKAGES = (
    "poolproof",
    "langgraph",
    "langgraph-checkpoint",
    "langgraph-checkpoint-postgres",
    "psycopg",
    "psycopg-pool",
    "toxiproxy-python",
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run. ``jobs`` None means: measure. ``must_catch`` lists (scenario, control, guarantee); ``whole`` says
    that this is the whole matrix of a size.
    """

    cells: tuple[CellSpec, ...]
    command: str = ""
    out: Path | None = None
    jobs: int | None = None
    require_all: bool = False
    environment: str = "auto"
    target: Target | None = None
    must_catch: tuple[tuple[str, str, Guarantee], ...] = ()
    notes: tuple[str, ...] = ()
    whole: bool = False


@dataclass(slots=True)
class _Interrupt:
    """The first signal that came, if any. A second one raises KeyboardInterrupt at once, unless ``deaf``."""

    number: int | None = None
    impatient: bool = False
    deaf: bool = False

    def __call__(self, number: int, _: FrameType | None) -> None:
        if self.deaf:
            return
        if self.number is not None:
            self.impatient = True
            raise KeyboardInterrupt
        self.number = number

    def came(self) -> bool:
        """True once the user wants an end."""
        return self.number is not None


def run_campaign(plan: Plan, *, note: Callable[[str], None] = lambda _: None, live: bool = False) -> RunSummary:
    """Run every cell of ``plan``, write the run's folder with its reports, and return the summary.

    Call it from the main thread. SIGINT and SIGTERM end it early, and so does a component that cannot be replaced (no
    new stack, a full disk): the report is then partial and stamped so. Raises ComponentError when no stack can be had
    at all.
    """
    began_s = time.monotonic()
    provenance = gather_provenance()
    run = Run.create(out=plan.out)
    record = RunRecord(
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        planned=len(plan.cells),
        command=plan.command,
        scenarios=_scenarios(plan.cells),
        must_catch=tuple((s, c, str(g)) for s, c, g in plan.must_catch),
        whole=plan.whole,
        require_all=plan.require_all,
        provenance=provenance,
        notes=plan.notes,
    )
    run.write_record(record)
    progress = progress_for(len(plan.cells), live=live)
    for text in plan.notes:
        progress.note(text)
    with _signals() as interrupt:
        campaign = _Campaign(plan, run, progress, interrupt, provenance)
        try:
            with suppress(KeyboardInterrupt):  # the second signal: all has ended, and what is judged is reported
                campaign.execute()
        finally:
            progress.close()
    wall_s = time.monotonic() - began_s
    record = replace(
        record,
        components=campaign.components,
        wall_s=round(wall_s, 3),
        interrupted=interrupt.number,
        broke=campaign.broke,
        notes=(*plan.notes, *campaign.notes),
    )
    run.release_reserve()
    run.write_record(record)
    summary = summarize_record(record, load_cells(run.folder))
    write_reports(run.folder, render_all(summary))
    note(f"report     {run.folder / 'report.html'}")
    return summary


def most_abreast(wanted: int, limit_ms: float, p95_ms: Callable[[int], float], note: Callable[[str], None]) -> int:
    """The most cells, ``wanted`` at most, with which the gate's p95 stays within ``limit_ms``; at least one.

    ``p95_ms`` measures it with so many abreast; 0 means that it could not. Too many are measured twice: who takes a
    core for these few seconds must not make the whole run slow.
    """
    for n in range(wanted, 1, -1):
        for again in ("", ", again"):
            p95 = p95_ms(n)
            if not p95:
                return wanted
            note(f"jobs        {n} abreast{again}: p95 {p95:.0f} ms without faults, allowed {limit_ms:.0f} ms")
            if p95 <= limit_ms:
                return n
    return 1


def length_s(spec: CellSpec) -> float:
    """About how long a cell takes, in seconds: as scheduled, and until it is certain that a control never recovers."""
    scenario = default_registry().scenario(spec.scenario)
    never = scenario.must_not_recover(spec.strategy)
    return scenario.scheduled_s + (SLOW_FACTOR * scenario.bounds.recover_s if never else 0.0)


def place_of_next(queue: Sequence[CellSpec], busy: Sequence[CellSpec], *, longest: bool) -> int | None:
    """The index in ``queue``, longest first, of the cell to run beside those in ``busy``: the longest, or the shortest
    but for those that are kept for the end.

    None if it has to wait. Planted mistakes are among the shortest, and their users hardly think: two of them side by
    side take the cores from each other for so long that a hang of one can no longer be told from a busy machine, so
    only one runs at a time, and none is kept.
    """
    planted = {name for name, strategy in default_registry().strategies.items() if is_planted(strategy)}
    places = list(range(len(queue)))
    if not longest:
        kept = [n for n in places if queue[n].strategy not in planted][-KEPT_CELLS:]
        places = [n for n in reversed(places) if n not in kept] + kept
    if any(spec.strategy in planted for spec in busy):
        places = [n for n in places if queue[n].strategy not in planted]
    return next(iter(places), None)


@contextmanager
def _signals() -> Iterator[_Interrupt]:
    interrupt = _Interrupt()
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Campaign:
    """The slots and the queue of one run."""

    def __init__(
        self,
        plan: Plan,
        run: Run,
        progress: Progress,
        interrupt: _Interrupt,
        provenance: Mapping[str, Json],
    ) -> None:
        self.plan = plan
        self.run = run
        self.progress = progress
        self.interrupt = interrupt
        self.provenance = provenance
        self.components: tuple[Mapping[str, Json], ...] = ()
        self.notes: list[str] = []
        self.broke = ""
        self.slots: list[Slot] = []
        #: So many cells may be under load at once.
        self.abreast = 1
        #: The cell that was the longest one left when it began.
        self.longest = ""
        #: The first attempts that nothing but a busy machine spoiled, by cell.
        self.starved: dict[str, CellResult] = {}
        #: The cells that were run to measure how many fit abreast, and count.
        self.measured: set[str] = set()

    def execute(self) -> None:
        """All cells; every slot is closed at the end, whatever happened."""
        try:
            self._start_slots()
            if not self.interrupt.number:
                self._run_all()
        except ComponentError as error:
            if not self.components:
                raise  # no stack was ever had: there is nothing to report
            self.broke = str(error)
        finally:
            self._end_slots()

    def _end_slots(self) -> None:
        """In order, all side by side; at once, if a second signal came. Nothing is left running in either case."""
        try:
            if not self.interrupt.impatient:
                for slot in self.slots:
                    slot.ask_to_end()
                for slot in self.slots:
                    slot.close()
        finally:
            self.interrupt.deaf = True
            for slot in self.slots:
                slot.kill()
            clear_up()  # one that had to be killed left its folders

    def _start_slots(self) -> None:
        """The first slot may build what is missing; the others come up side by side, then the measurement decides."""
        first = self._launch()
        first.wait_ready(until=self.interrupt.came)
        if self.interrupt.came():
            return
        self.components = first.components
        chosen = ", ".join(f"{c.get('name')} {c.get('version')} ({c.get('chosen_by')})" for c in first.components)
        self._note(f"components  {chosen}")
        for need, why in first.missing.items():
            self._note(f"missing     {need}: {why}")
        wanted = self.plan.jobs or min(
            SLOTS_MAX, SLOTS_OVER_CORES + (os.cpu_count() or 1), max(1, len(self.plan.cells))
        )
        self.abreast = wanted
        for slot in [self._launch() for _ in range(self._slots_wanted() - 1)]:
            slot.wait_ready(until=self.interrupt.came)
        if self.plan.jobs is None and wanted > 1:
            self._calibrate()

    def _slots_wanted(self) -> int:
        spare = SPARE_SLOTS if 1 < self.abreast < len(self.plan.cells) else 0
        return self.abreast + spare

    def _launch(self) -> Slot:
        slot = Slot.launch(self.plan.environment, note=self.progress.note, target=self.plan.target)
        self.slots.append(slot)
        return slot

    def _calibrate(self) -> None:
        """Run as many cells abreast as leave each other's calls far from their deadlines. Cells of the run that were
        measured with just as many abreast count, and do not run again.
        """
        specs, own = calibration_cells(self.plan, self.abreast)
        if not specs:
            return
        with tempfile.TemporaryDirectory(prefix="poolproof-calibration-") as scratch:
            tries, measured = itertools.count(), list[tuple[CellFolder, CellResult]]()

            def p95_ms(n: int) -> float:
                measured[:] = self._abreast(specs[:n], Path(scratch) / str(next(tries)))
                values = sorted(_p95_ms(result) for _, result in measured)
                if len(values) < n or not all(values):
                    measured.clear()
                    return 0.0
                return values[n // 2]

            registry = default_registry()
            deadline_s = min(registry.scenario(cell.scenario).bounds.deadline_s for cell in self.plan.cells)
            self.abreast = most_abreast(self.abreast, DEADLINE_SHARE * deadline_s * 1000, p95_ms, self._note)
            if own and self.abreast == len(measured):
                for folder, result in measured:
                    self.run.take_over(folder, result.id)
                    self.measured.add(result.id)
                    self._finished(result)
        while len(self.slots) > self._slots_wanted():
            self.slots.pop().close()

    def _abreast(self, specs: Sequence[CellSpec], folder: Path) -> list[tuple[CellFolder, CellResult]]:
        """What ``specs`` gave, in ``folder``, each on a slot of its own at the same time; fewer if a signal came.

        The calibration's scenario has no fault, so all of it is a gate: three times the calls, and a steadier number.
        """
        busy: dict[Slot, CellFolder] = {}
        for n, (slot, spec) in enumerate(zip(self.slots, specs, strict=False)):
            place = CellFolder(folder / str(n) / folder_name(spec.id))
            place.logs.mkdir(parents=True)
            slot.begin(replace(spec, provenance=self.provenance), place)
            busy[slot] = place
        found = []
        while busy and not self.interrupt.number:
            for slot in select.select(list(busy), [], [], _POLL_S)[0]:
                result = slot.poll()
                if result is not None:
                    found.append((busy.pop(slot), result))
        return found

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self.progress.note(text)

    def _run_all(self) -> None:
        """All cells that were not measured already, and then those again that nothing but a busy machine spoiled."""
        waiting = [spec for spec in self.plan.cells if spec.id not in self.measured]
        queue = sorted(waiting, key=length_s, reverse=True)
        self._drive(queue, self.abreast)
        if not self.interrupt.number:
            self._drive(self._again(), 1)

    def _drive(self, queue: list[CellSpec], abreast: int) -> None:
        """All cells of ``queue``, at most so many under load at once, until none is left or a signal came."""
        while (queue or any(slot.due for slot in self.slots)) and not self.interrupt.number:
            self._fill(queue, abreast)
            self.progress.running(tuple(slot.running.id for slot in self.slots if slot.running is not None))
            for slot in select.select([slot for slot in self.slots if slot.due], [], [], _POLL_S)[0]:
                self._take_results(slot)

    def _fill(self, queue: list[CellSpec], abreast: int) -> None:
        """Begin what may begin. A slot whose cell is judged takes the next one: judging needs a core, but no stack.

        Long cells mostly wait for an outage to end, short ones compute: one at a time is the longest that is left, the
        others are the shortest, so that the cores are shared by both all the time. A cell that is to be alone has
        nobody beside it, not even one that is torn down.
        """
        for slot in self.slots[:] if abreast > 1 else self.slots[:1]:
            loaded = [other.loaded for other in self.slots if other.loaded is not None]
            if not queue or len(loaded) >= abreast:
                return
            longest = self.longest not in {spec.id for spec in loaded}
            at = place_of_next(queue, loaded, longest=longest) if slot.free else None
            if at is not None:
                spec = queue.pop(at)
                self.longest = spec.id if longest else self.longest
                self._begin(self._living(slot), spec)

    def _begin(self, slot: Slot, spec: CellSpec) -> None:
        if spec.id in self.starved:
            self.run.set_aside(spec.id)
        slot.begin(replace(spec, provenance=self.provenance), self.run.cell(spec.id))

    def _take_results(self, slot: Slot) -> None:
        while (result := slot.poll()) is not None:
            self._finished(result)

    def _finished(self, result: CellResult) -> None:
        self.run.cell(result.id).write_result(result)
        first = self.starved.get(result.id)
        if result.starved and first is None:
            self.starved[result.id] = result
            self.progress.note(f"starved     {result.id} proved nothing: {result.reason}")
            return
        self.progress.finished(result)
        if first is not None:
            self.notes.append(
                f"again       {result.id} ran once more, alone, because the machine had stood still ({first.reason}); "
                f"its first attempt is in {result.folder}/{FIRST}"
            )

    def _again(self) -> list[CellSpec]:
        """The cells to run once more, alone: those that nothing but a busy machine kept from a verdict.

        Where they are many, the machine is unfit, and their first attempts stand.
        """
        specs = [spec for spec in self.plan.cells if spec.id in self.starved]
        allowed = max(AGAIN_MIN, int(AGAIN_SHARE * len(self.plan.cells)))
        if len(specs) <= allowed:
            if specs:
                self.progress.note(f"again       {len(specs)} of {len(self.plan.cells)} cells, each alone")
            return specs
        self._note(f"starved     {len(specs)} cells, more than {allowed}: this machine is too busy to run them again")
        for spec in specs:
            self.progress.finished(self.starved[spec.id])
        return []

    def _living(self, slot: Slot) -> Slot:
        """The slot, or a new one in its place if it died."""
        if not slot.dead:
            return slot
        self._take_results(slot)
        slot.close()
        self.slots.remove(slot)
        slot = self._launch()
        slot.wait_ready(until=self.interrupt.came)
        return slot


def calibration_cells(plan: Plan, n: int) -> tuple[tuple[CellSpec, ...], bool]:
    """``n`` cells without faults under candidates that need no pooler, and whether they are cells of the plan.

    If it has fewer, its first such candidate is taken n times. None if there is no such scenario, or no candidate.
    """
    registry = default_registry()
    names = [n for n, s in registry.strategies.items() if role_of(s) == "candidate" and not s.needs]
    if CALIBRATION not in registry.scenarios or not names:
        return (), False
    own = tuple(spec for spec in plan.cells if spec.scenario == CALIBRATION and spec.strategy in names)[:n]
    if len(own) == n:
        return own, True
    strategy = next((spec.strategy for spec in plan.cells if spec.strategy in names), names[0])
    spec = CellSpec(
        id=cell_id(CALIBRATION, strategy, "async", 0),
        scenario=CALIBRATION,
        strategy=strategy,
        environment=plan.environment,
    )
    return (spec,) * n, False


def _p95_ms(result: CellResult) -> float:
    """Of its calls without faults; 0 if it has none."""
    value = result.measures.get("p95_ms")
    return float(value) if isinstance(value, int | float) else 0.0


def _scenarios(cells: Sequence[CellSpec]) -> tuple[ScenarioInfo, ...]:
    registry = default_registry()
    names = dict.fromkeys(spec.scenario for spec in cells)
    found = [registry.scenario(name) for name in names]
    return tuple(ScenarioInfo(name=s.name, title=s.heading, why=s.why, question=s.question) for s in found)


def gather_provenance() -> dict[str, Json]:
    """Versions, commit and machine: recorded with each cell, deciding nothing."""
    packages: dict[str, Json] = {}
    for name in _PACKAGES:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            packages[name] = None
    return {
        "packages": packages,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count() or 0,
        "commit": _commit(),
    }


def _commit() -> str | None:
    """The commit of the checkout that is tested, with ``+`` if it has changes; None outside a checkout."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            cwd=Path.cwd(),
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
