"""Judges a cell from its folder: after it ran, after it died, and years later (``verify``)."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import os
import resource
import select
import signal
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from harness.core.cell import CellSpec
from harness.core.errors import UsageError
from harness.core.facts import Facts
from harness.core.fault import FaultPlan, plan_from_json, plan_to_json
from harness.core.history import History
from harness.core.record import CellResult
from harness.core.scenario import Scenario
from harness.core.verdict import Json, Verdict
from harness.environments.processes import die_with
from harness.judge import OWN_BUG, judge, result_from_json, result_to_json, with_symptom
from harness.registry import Registry, default_registry, mistake_of, role_of
from harness.store import CellFolder, open_cell, read_json

#: Judging one cell takes under a second. Beyond these bounds (bytes: memory besides what the process has already) it is
#: given up, because a history that is out of all proportion must not take the machine down with it.
JUDGE_LIMIT_S = 120.0
JUDGE_LIMIT_BYTES = 3 << 30
#: Nobody waits for the judge: the calls of the cells that run meanwhile come first.
JUDGE_NICE = 5


def plan_of(spec: CellSpec, scenario: Scenario, registry: Registry) -> FaultPlan:
    """The plan that a cell runs under: its own if it was given one, else the scenario's."""
    return scenario.plan if spec.plan is None else plan_from_json(spec.plan, registry.faults)


def judge_folder(
    folder: CellFolder, *, wall_s: float = 0.0, death: str = "", registry: Registry | None = None
) -> CellResult:
    """Judge what lies in ``folder``. ``death`` says how the cell's process ended if it ended badly: never a PASS then.

    Raises UsageError if the folder is damaged or names what is not there any more.
    """
    spec, history, facts = open_cell(folder.path)
    result = _judged(spec, history, facts, folder, wall_s, registry or default_registry())
    if death and result.verdict is not Verdict.FAIL:
        return dataclasses.replace(result, verdict=Verdict.ERROR, reason=death)
    return result


class Judging:
    """:func:`judge_folder` at work in a forked process that may take so much time and memory: INVALID beyond that,
    never PASS. Begin it in the main thread; ``select`` hears of its end; take its :meth:`result`, or :meth:`give_up`.
    """

    def __init__(
        self,
        folder: CellFolder,
        *,
        wall_s: float = 0.0,
        death: str = "",
        registry: Registry | None = None,
        limit_s: float = JUDGE_LIMIT_S,
        limit_bytes: int = JUDGE_LIMIT_BYTES,
    ) -> None:
        self.folder = folder
        self._wall_s, self._death, self._registry = wall_s, death, registry or default_registry()
        self._limit_s, self._stop_s = limit_s, time.monotonic() + limit_s
        self._over = False
        self._answer = os.memfd_create("poolproof-verdict")
        parent, pid = os.getpid(), 0
        try:
            with _quiet_fork():
                pid = os.fork()
            if pid == 0:
                _judge_and_exit(parent, self._answer, limit_bytes, folder, wall_s, death, self._registry)
            self._process = os.pidfd_open(pid)
        except BaseException:
            os.close(self._answer)
            if pid:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            raise

    def fileno(self) -> int:
        """For ``select``: readable once the judge has ended."""
        return self._process

    @property
    def left_s(self) -> float:
        """How much of its time is left, in seconds."""
        return max(0.0, self._stop_s - time.monotonic())

    def result(self) -> CellResult:
        """Wait for it, within its limit. Raises UsageError as :func:`judge_folder` does."""
        try:
            how = self._wait()
            os.lseek(self._answer, 0, os.SEEK_SET)
            with os.fdopen(os.dup(self._answer), encoding="utf-8") as file:
                text = file.read()
        finally:
            self.give_up()
        if how:
            return self._unjudged(how)
        said: dict[str, Json] = json.loads(text)
        if "usage" in said:
            raise UsageError(str(said["usage"]))
        if "bug" in said:
            return _without_findings(self.folder, Verdict.ERROR, str(said["bug"]), self._wall_s, self._registry)
        if "result" not in said:
            return self._unjudged(str(said["why"]))
        found = said["result"]
        assert isinstance(found, dict)
        return result_from_json(found)

    def settled(self) -> CellResult:
        """:meth:`result` for a cell that just ended: records that cannot be read make it INVALID, or ERROR if it
        died.
        """
        try:
            return self.result()
        except UsageError as error:
            return self._unjudged(str(error))

    def give_up(self) -> None:
        """End it if it still runs; idempotent."""
        if self._over:
            return
        self._over = True
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PIDFD, self._process, os.WEXITED)
        os.close(self._process)
        os.close(self._answer)

    def _wait(self) -> str:
        """Wait for the judge within its limit; how it failed, in words, or nothing."""
        if not select.select([self], [], [], self.left_s)[0]:
            return f"the judge had not ended after {self._limit_s:g} s"
        end = os.waitid(os.P_PIDFD, self._process, os.WEXITED)
        assert end is not None
        if end.si_code != os.CLD_EXITED:
            return f"the judge ended with signal {signal.Signals(end.si_status).name}"
        return f"the judge ended with status {end.si_status}" if end.si_status else ""

    def _unjudged(self, how: str) -> CellResult:
        """What is said of a cell on which the judge gave up: its records stay, and can be judged elsewhere."""
        size = self.folder.history.stat().st_size if self.folder.history.exists() else 0
        words = f"could not be judged: {how}; its history has {size:,} bytes"
        reason = f"{self._death}; and it {words}" if self._death else words
        verdict = Verdict.ERROR if self._death else Verdict.INVALID
        return _without_findings(self.folder, verdict, reason, self._wall_s, self._registry)


def settle(folder: CellFolder, *, wall_s: float, death: str = "", registry: Registry | None = None) -> CellResult:
    """Have a cell that just ended judged, and wait for it; see :meth:`Judging.settled`."""
    return Judging(folder, wall_s=wall_s, death=death, registry=registry).settled()


@contextlib.contextmanager
def _quiet_fork() -> Iterator[None]:
    """Python 3.12 warns of a fork beside other threads: the child here only computes, and is killed if it stalls."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _judge_and_exit(
    parent: int, answer: int, limit_bytes: int, folder: CellFolder, wall_s: float, death: str, registry: Registry
) -> NoReturn:
    """The forked judge: its answer goes into ``answer`` as JSON, and it never returns."""
    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        die_with(parent, signal.SIGKILL)
        os.nice(JUDGE_NICE)
        _take_no_more_than(limit_bytes)
        gc.disable()  # what judging makes holds no cycles, and the process ends right after it
        said: dict[str, Json]
        try:
            said = {"result": result_to_json(judge_folder(folder, wall_s=wall_s, death=death, registry=registry))}
        except MemoryError:
            said = {"why": f"the judge needs more than {limit_bytes >> 20:,} MiB"}
        except UsageError as error:
            said = {"usage": str(error)}
        except Exception as error:  # noqa: BLE001 - the other cells are to be judged all the same
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(where.filename).name}:{where.lineno}"
            said = {"bug": f"{OWN_BUG}: judging raised {type(error).__name__}: {error} ({place})"}
        with os.fdopen(answer, "w", encoding="utf-8", closefd=False) as file:
            json.dump(said, file)
        status = 0
    finally:
        os._exit(status)


def _take_no_more_than(limit_bytes: int) -> None:
    """Bound this process's memory: what it has mapped already, and ``limit_bytes``."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = mapped + limit_bytes
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def _without_findings(
    folder: CellFolder, verdict: Verdict, reason: str, wall_s: float, registry: Registry
) -> CellResult:
    spec = CellSpec.from_json(read_json(folder.path / "cell.json"))
    result = _judged(spec, History(), Facts(complete=False), folder, wall_s, registry)
    return dataclasses.replace(result, verdict=verdict, reason=reason, findings=())


def unrun(folder: CellFolder, verdict: Verdict, reason: str, *, registry: Registry | None = None) -> CellResult:
    """A cell that could not even begin: SKIP because a component is missing, ERROR because one would not start."""
    spec, history, _ = open_cell(folder.path)
    result = _judged(spec, history, Facts(complete=False), folder, 0.0, registry or default_registry())
    return dataclasses.replace(result, verdict=verdict, reason=reason, findings=())


def _judged(
    spec: CellSpec, history: History, facts: Facts, folder: CellFolder, wall_s: float, registry: Registry
) -> CellResult:
    scenario = registry.scenario(spec.scenario)
    strategy = registry.strategy(spec.strategy)
    plan = plan_of(spec, scenario, registry)
    result = judge(
        spec,
        role=role_of(strategy),
        breaks=strategy.breaks,
        expected=tuple(guarantee for control, guarantee in scenario.must_catch if control == strategy.name),
        bounds=scenario.bounds,
        history=history,
        facts=facts,
        wall_s=wall_s,
        scheduled_s=scenario.scheduled_s,
        folder=f"cells/{folder.path.name}",
        checkers=registry.checkers,
    )
    if scenario.incident is not None:
        result = with_symptom(result, history, scenario.incident)
    return dataclasses.replace(result, plan=tuple(plan_to_json(plan)), mistake=mistake_of(strategy))
