"""The slot's own process: opens the stack, imports everything once, forks a child for each cell.

Started by ``slot.Slot`` as ``python -m harness.slot_process OPTIONS``. Commands come as JSON lines on standard input,
answers go as JSON lines to standard output: ``unloaded`` when the users of a cell make no more calls, ``ended`` when it
leaves the stack to the next one, ``done`` when its verdict is written. The end of the input is the order to stop. The
kernel ends this process when its parent ends, and each cell when this process ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import json
import os
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NoReturn

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver

from harness.core.agent import Turn
from harness.core.cell import CellSpec
from harness.core.errors import ComponentError, MissingComponent
from harness.core.facts import Checkpoint, Facts, ThreadFacts
from harness.core.history import ErrorInfo, Op, OpType
from harness.core.record import CellResult
from harness.core.redaction import RedactedStream, mask, to_json_line
from harness.core.verdict import Json, Verdict
from harness.driving.replica import builder_of
from harness.driving.stock import Stock
from harness.environments.processes import adopt_orphans, children_of, die_with, end_children
from harness.environments.stack import Stack
from harness.environments.target_dsn import TARGET, Target
from harness.judge import OWN_BUG
from harness.registry import Registry, default_registry
from harness.runner import GROUPS, Job, nursery_of, run_cell
from harness.store import CellFolder, HistoryWriter, read_history, read_json
from harness.verdicts import Judging, judge_folder, plan_of, settle, unrun

#: A cell may take this long beyond twice what its scenario schedules, in seconds; then its process is killed.
CELL_GRACE_S = 150.0
#: Of what a cell prints, so much of the beginning and so much of the end is kept, in bytes.
OUTPUT_HEAD_BYTES, OUTPUT_TAIL_BYTES = 1 << 20, 1 << 18
#: How a cell's process ends besides 0: its records are whole, but its stack is of no more use; its history could not
#: be written; our own code raised.
_UNFIT, _UNWRITABLE, _BUG = 76, 77, 70
#: The phases that begin when the users are told to make no more calls; the last one where something went wrong.
_LOAD_ENDS = ("converged", "unconverged", "quiet")
_POLL_S = 0.05


class _Stopped(BaseException):
    """The order to stop."""


class SlotProcess:
    """Reads commands, answers them, and owns the stack."""

    def __init__(self, environment: str, answers: int) -> None:
        self._environment = environment
        self._answers = answers
        self._commands = b""
        self._registry = default_registry()
        self._stack: Stack | None = None
        self._target: Target | None = None
        self._unfit = False
        self._stock = Stock()
        #: The cell before this one, as long as it is judged.
        self._judging: Judging | None = None

    def answer(self, message: Mapping[str, Json]) -> None:
        """One JSON line to whoever started us. A cell says so itself where it is sooner: short lines do not mingle."""
        os.write(self._answers, to_json_line(message).encode() + b"\n")

    def serve(self) -> None:
        """Open the stack, then run cells until the input ends."""
        try:
            self._open()
        except MissingComponent as error:
            self.answer({"failed": str(error), "fix": error.fix})
            return
        except (ComponentError, OSError) as error:
            self.answer({"failed": str(error)})
            return
        try:
            while (command := self._command()) is not None:
                folder = CellFolder(Path(str(command["cell"])))
                try:
                    self._cell(folder)
                except ComponentError as error:
                    self._end_judging()
                    self.answer({"done": folder.path.name, "trouble": str(error)})
        finally:
            if self._judging is not None:
                self._judging.give_up()
            if self._stack is not None:
                try:
                    self._stack.close()
                except ComponentError as error:  # perhaps nobody reads our answers any more
                    print(f"poolproof: {error}", file=sys.stderr)

    def _open(self) -> None:
        if self._environment == TARGET:
            order = self._command()
            if order is None:
                raise _Stopped
            self._target = Target.from_json(order["target"])  # type: ignore[arg-type]
        self._stack = Stack.open(self._environment, note=lambda text: self.answer({"note": text}), target=self._target)
        _ = self._registry.strategies, self._registry.agents, self._registry.scenarios, self._registry.faults
        _ = self._registry.checkers
        asyncio.run(_warm_up(self._registry))
        _judge_once(self._registry)
        for name in self._registry.agents:
            for _ in GROUPS:
                self._stock.add(self._registry.agent(name))
        gc.collect()
        gc.freeze()  # the children share what was imported
        components: list[Json] = [
            {"name": c.name, "version": c.version, "path": str(c.path), "chosen_by": c.chosen_by}
            for c in self._stack.components
        ]
        missing: dict[str, Json] = {str(need): f"{why}: {why.fix}" for need, why in self._stack.missing.items()}
        self.answer({"ready": True, "components": components, "missing": missing})

    def _command(self) -> dict[str, Json] | None:
        while True:
            line, found, rest = self._commands.partition(b"\n")
            if found:
                self._commands = rest
                return dict(json.loads(line))
            if not self._listen():
                return None

    def _listen(self, *others: int, limit_s: float | None = None) -> bool:
        """Wait for more commands, for the judge or for one of ``others``; False once no more commands will come."""
        judging, watched = self._judging, [0, *others]
        if judging is not None:
            watched.append(judging.fileno())
            limit_s = min(judging.left_s, judging.left_s if limit_s is None else limit_s)
        found = select.select(watched, [], [], limit_s)[0]
        if judging is not None and (judging.fileno() in found or not judging.left_s):
            self._end_judging()
        if 0 not in found:
            return True
        chunk = os.read(0, 65536)
        self._commands += chunk
        return bool(chunk)

    def _end_judging(self) -> None:
        """Wait, bounded, for the verdict on the cell before, if there is one; write it down and say so."""
        judging, self._judging = self._judging, None
        if judging is not None:
            self._done(judging.folder, judging.settled())

    def _done(self, folder: CellFolder, result: CellResult) -> None:
        try:
            folder.write_result(result)
            self.answer({"done": folder.path.name})
        except ComponentError as error:  # not even the verdict could be written
            self.answer({"done": folder.path.name, "trouble": str(error)})

    def _cell(self, folder: CellFolder) -> None:
        """Fork, wait within the limit, and have what is left judged, while the next cell runs. A child that could not
        begin has said so in a verdict of its own.
        """
        began_s = time.monotonic()
        try:
            stack = self._sound_stack()
        except (ComponentError, OSError) as error:
            self._end_judging()
            reason = f"there is no new stack: {error}"
            self._done(folder, unrun(folder, Verdict.ERROR, reason, registry=self._registry))
            return
        slot = os.getpid()
        ours = children_of(slot)
        pid = os.fork()
        if pid == 0:
            _child(
                folder, stack, self._registry, self._stock, slot, partial(self.answer, {"unloaded": folder.path.name})
            )
        try:
            death = self._wait(pid, folder, began_s)
        finally:
            end_children(slot, spared=ours)  # what the agents started and left behind
            _mask(folder.output, 0)
            _cut(folder.output, OUTPUT_HEAD_BYTES, OUTPUT_TAIL_BYTES)
        trouble = stack.trouble()
        self._unfit |= bool(trouble)
        death = "; ".join(words for words in (trouble, death) if words)
        wall_s = time.monotonic() - began_s
        self._end_judging()
        if death or not (folder.path / "verdict.json").exists():
            self._judging = Judging(folder, wall_s=wall_s, death=death, registry=self._registry)
            self.answer({"ended": folder.path.name, "wall_s": wall_s, "death": death})
        else:
            self.answer({"done": folder.path.name})

    def _sound_stack(self) -> Stack:
        """The stack; a new one if a server of the old one died or froze, or a fault would not heal on it."""
        if self._stack is not None and (self._unfit or self._stack.dead()):
            old, self._stack = self._stack, None
            old.close()
        if self._stack is None:
            self._stack, self._unfit = Stack.open(self._environment, target=self._target), False
        return self._stack

    def _wait(self, pid: int, folder: CellFolder, began_s: float) -> str:
        """Wait for the child; how it died, in words, or nothing."""
        masked = 0
        ended = os.pidfd_open(pid)
        try:
            limit_s = CELL_GRACE_S + 2 * self._scheduled_s(folder)
            while True:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    code = os.waitstatus_to_exitcode(status)
                    self._unfit |= code in (_UNFIT, _UNWRITABLE)
                    return _words_of(code, folder)
                masked = _mask(folder.output, masked)
                _cut(folder.output, OUTPUT_HEAD_BYTES, OUTPUT_TAIL_BYTES)
                if time.monotonic() - began_s > limit_s:
                    _kill(pid)
                    return f"the cell did not end within {limit_s:.0f} s and was killed"
                if not self._listen(ended, limit_s=_POLL_S):
                    raise _Stopped
        except BaseException:
            _kill(pid)
            raise
        finally:
            os.close(ended)

    def _scheduled_s(self, folder: CellFolder) -> float:
        spec = CellSpec.from_json(read_json(folder.path / "cell.json"))
        scenario = self._registry.scenario(spec.scenario)
        ends = [window.stop_s for window in plan_of(spec, scenario, self._registry)]
        return max([scenario.scheduled_s, *ends])


async def _warm_up(registry: Registry) -> None:
    """One turn of each agent, in memory: what is imported late, or compiled at first use, is so once and not in each
    cell.
    """
    for name in registry.agents:
        agent = registry.agent(name)
        turn = Turn(f"{name}.u0.0/t1", f"{name}.u0.0", "hello")
        config: RunnableConfig = {"configurable": {"thread_id": turn.thread_id}}
        graph = builder_of(agent).compile(checkpointer=InMemorySaver())
        await graph.ainvoke(agent.turn_input(turn), config, durability="async")
        async for _ in graph.aget_state_history(config):
            pass


def _judge_once(registry: Registry) -> None:
    """Judge a cell in which nothing happened: what judging imports and compiles late is there before the first fork."""
    scenario, strategy = next(iter(registry.scenarios)), next(iter(registry.strategies))
    nowhere: dict[str, Json] = {"name": "end"}
    with tempfile.TemporaryDirectory(prefix="poolproof-warm-") as place:
        folder = CellFolder(Path(place))
        folder.write_spec(CellSpec(id="warm", scenario=scenario, strategy=strategy))
        writer = HistoryWriter(folder.history, {"cell": "warm"})
        writer.append(OpType.INFO, "phase", "runner", nowhere, time_s=0.0)
        writer.close()
        tree = (Checkpoint("c", None, "input", -1),)
        folder.write_facts(Facts(threads={"t": ThreadFacts(thread="t", agent="a", exists=True, turns=(), tree=tree)}))
        folder.write_result(judge_folder(folder, registry=registry))


def _words_of(code: int, folder: CellFolder) -> str:
    """How a cell's process died, in words; nothing if its records are whole."""
    if code in (0, _UNFIT):
        return ""
    if code == _BUG:
        return f"{OWN_BUG}: the cell's process failed, see {folder.output}"
    if code == _UNWRITABLE:
        said = (str(op.value["text"]) for op in read_history(folder.history).points("harness_error"))
        return next(said, f"could not write {folder.history}, not even its last words: the disk is full")
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
    return f"the cell's process ended with {how}"


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _child(
    folder: CellFolder, stack: Stack, registry: Registry, stock: Stock, slot: int, unloaded: Callable[[], None]
) -> NoReturn:
    """The cell's own process: never returns, never runs the slot's cleaning up."""
    status = 1
    try:
        die_with(slot, signal.SIGKILL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _redirect(folder.output)
        status = _run(folder, stack, registry, stock, unloaded)
    except Exception:  # noqa: BLE001 - our own bug: the traceback goes to the cell's log
        traceback.print_exc()
        status = _BUG
    except BaseException:  # noqa: BLE001 - whatever it is, it goes to the cell's log and the status says so
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _redirect(log: Path) -> None:
    """Whatever an agent prints goes to the cell's log, never to a pipe that somebody waits for; the slot keeps it
    short.
    """
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    faulthandler.enable()


def _mask(log: Path, begin: int) -> int:
    """Secrets that got past Python's streams (a child's output, a bare write) do not stay in the log."""
    try:
        if begin and log.stat().st_size <= begin:
            return 0 if log.stat().st_size < begin else begin
        with log.open("r+b") as file:
            return mask(file, begin)
    except OSError:
        return begin


def _cut(log: Path, head_bytes: int, tail_bytes: int) -> None:
    """Keep the beginning of a log, and its end, where it has grown to twice that; whoever appends to it goes on."""
    try:
        size = log.stat().st_size
        if size <= 2 * (head_bytes + tail_bytes):
            return
        with log.open("r+b") as file:
            file.seek(size - tail_bytes)
            tail = file.read(tail_bytes)
            left_out = size - head_bytes - tail_bytes
            file.truncate(head_bytes)
        with log.open("ab") as file:
            file.write(b"\n[poolproof left out %d bytes here]\n" % left_out + tail)
    except OSError:
        return  # it is not there yet, or the disk is full: the cell goes on


def _run(folder: CellFolder, stack: Stack, registry: Registry, stock: Stock, unloaded: Callable[[], None]) -> int:
    """Run the cell and leave its records; 0 if they are whole. The slot judges them."""
    began_s = time.monotonic()
    spec = CellSpec.from_json(read_json(folder.path / "cell.json"))
    writer: _Sink | None = None
    try:
        job = _job(spec, registry, stock)
        groups: list[Json] = list(GROUPS)
        agents: list[Json] = list(job.agents)
        header: dict[str, Json] = {"cell": spec.id, "seed": spec.seed, "groups": groups, "agents": agents}
        nursery = nursery_of(job)
        writer = _Sink(folder.history, header, unloaded)
        try:
            cell = run_cell(job, stack, writer, give_up=_give_up, logs=folder.logs, nursery=nursery)
            facts = asyncio.run(cell)
        finally:
            writer.close()
            if nursery is not None:
                nursery.close()
        folder.write_facts(facts)
        return _UNFIT if writer.unsound else 0
    except MissingComponent as error:
        folder.write_facts(Facts(complete=False))
        folder.write_result(unrun(folder, Verdict.SKIP, f"{error}. {error.fix}", registry=registry))
    except ComponentError as error:
        folder.write_facts(Facts(complete=False))
        if writer is None or not writer.rows:
            result = unrun(folder, Verdict.ERROR, str(error), registry=registry)
        else:  # what was found before stands
            result = settle(folder, wall_s=time.monotonic() - began_s, death=str(error), registry=registry)
        folder.write_result(result)
        return _UNFIT
    return 0


class _Sink(HistoryWriter):
    """``unsound`` once a component failed or a fault would not heal: the stack is of no more use then. Ends the process
    when the history cannot be written. ``unloaded`` is called once, when no more calls are made.
    """

    unsound = False

    def __init__(self, path: Path, header: Mapping[str, Json], unloaded: Callable[[], None]) -> None:
        super().__init__(path, header)
        self._unloaded: Callable[[], None] | None = unloaded

    def append(
        self,
        type: OpType,  # noqa: A002 - the row's own word
        f: str,
        process: str,
        value: dict[str, Json],
        *,
        time_s: float,
        call: int | None = None,
        error: ErrorInfo | None = None,
    ) -> Op:
        """See HistoryWriter."""
        self.unsound |= f == "harness_error" and value.get("kind") in ("component", "heal")
        try:
            op = super().append(type, f, process, value, time_s=time_s, call=call, error=error)
        except ComponentError:
            if self.unwritable:  # what cannot be recorded proves nothing: the cell ends here
                os._exit(_UNWRITABLE)
            raise
        if f == "phase" and value["name"] in _LOAD_ENDS and self._unloaded is not None:
            unloaded, self._unloaded = self._unloaded, None
            unloaded()
        return op


def _job(spec: CellSpec, registry: Registry, stock: Stock) -> Job:
    scenario = registry.scenario(spec.scenario)
    agents = {registry.agent(name).name: (lambda name=name: registry.agent(name)) for name in spec.agents}
    return Job(
        spec=spec,
        scenario=scenario,
        strategy=registry.strategy(spec.strategy),
        agents=agents,
        plan=plan_of(spec, scenario, registry),
        stock=stock,
    )


def _give_up(reason: str) -> NoReturn:
    """The event loop is dead; the history says so, and only the process's end is left."""
    print(reason, file=sys.stderr, flush=True)
    os._exit(75)


def main() -> None:
    """``python -m harness.slot_process '{"environment": ..., "parent": PID}'``."""
    options = json.loads(sys.argv[1])
    die_with(int(options["parent"]), signal.SIGTERM)
    adopt_orphans()
    answers = os.dup(1)
    os.set_inheritable(answers, False)
    os.dup2(2, 1)  # nothing that is printed by accident may look like an answer
    sys.stdout, sys.stderr = RedactedStream(sys.stdout), RedactedStream(sys.stderr)

    def stop(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _Stopped

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    process = SlotProcess(str(options["environment"]), answers)
    with contextlib.suppress(_Stopped, BrokenPipeError):
        try:
            process.serve()
        except Exception as error:  # noqa: BLE001 - the user is told in one sentence, by whoever started us
            process.answer({"bug": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()})
            sys.exit(70)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the interpreter is about to end: no order to stop any more


if __name__ == "__main__":
    main()
