"""The slot's own process: opens the stack, imports everything once, forks a child for each cell.

Started by ``slot.Slot`` as ``python -m harness.slot_process OPTIONS``. Commands come as JSON lines on standard input,
answers go as JSON lines to standard output; the end of the input is the order to stop. The kernel ends this process
when its parent ends, and each cell when this process ends.
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
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver

from harness.core.agent import Turn
from harness.core.cell import CellSpec
from harness.core.errors import ComponentError, MissingComponent
from harness.core.facts import Facts
from harness.core.verdict import Json, Verdict
from harness.driving.replica import builder_of
from harness.environments.processes import die_with
from harness.environments.stack import Stack
from harness.registry import Registry, default_registry
from harness.runner import GROUPS, Job, run_cell
from harness.store import CellFolder, HistoryWriter, read_json
from harness.verdicts import judge_folder, plan_of, unrun

#: A cell may take this long beyond twice what its scenario schedules, in seconds; then its process is killed.
CELL_GRACE_S = 150.0
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

    def answer(self, message: Mapping[str, Json]) -> None:
        """One JSON line to whoever started us."""
        os.write(self._answers, json.dumps(message).encode() + b"\n")

    def serve(self) -> None:
        """Open the stack, then run cells until the input ends."""
        try:
            self._open()
        except MissingComponent as error:
            self.answer({"failed": str(error), "fix": error.fix})
            return
        except ComponentError as error:
            self.answer({"failed": str(error)})
            return
        try:
            while (command := self._command()) is not None:
                self._cell(CellFolder(Path(str(command["cell"]))))
        finally:
            if self._stack is not None:
                self._stack.close()

    def _open(self) -> None:
        self._stack = Stack.open(self._environment, note=lambda text: self.answer({"note": text}))
        _ = self._registry.strategies, self._registry.agents, self._registry.scenarios, self._registry.faults
        asyncio.run(_warm_up(self._registry))
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
            chunk = os.read(0, 65536)
            if not chunk:
                return None
            self._commands += chunk

    def _cell(self, folder: CellFolder) -> None:
        """Fork, wait within the limit, judge what is left if the child could not."""
        began_s = time.monotonic()
        assert self._stack is not None
        if self._stack.dead():
            self._renew()
        slot = os.getpid()
        pid = os.fork()
        if pid == 0:
            _child(folder, self._stack, self._registry, slot)
        death = self._wait(pid, folder, began_s)
        dead = self._stack.dead()
        if dead:
            death = f"{' and '.join(dead)} died while the cell ran" + (f"; {death}" if death else "")
        if death or not (folder.path / "verdict.json").exists():
            wall_s = time.monotonic() - began_s
            text = death or "the cell's process left no verdict"
            folder.write_result(judge_folder(folder, wall_s=wall_s, death=text, registry=self._registry))
        self.answer({"done": folder.path.name})

    def _renew(self) -> None:
        """A stack of which a server died is thrown away."""
        assert self._stack is not None
        self._stack.close()
        self._stack = Stack.open(self._environment)

    def _wait(self, pid: int, folder: CellFolder, began_s: float) -> str:
        """Wait for the child; how it died, in words, or nothing."""
        try:
            limit_s = CELL_GRACE_S + 2 * self._scheduled_s(folder)
            while True:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    code = os.waitstatus_to_exitcode(status)
                    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
                    return "" if code == 0 else f"the cell's process ended with {how}"
                if time.monotonic() - began_s > limit_s:
                    _kill(pid)
                    return f"the cell did not end within {limit_s:.0f} s and was killed"
                if select.select([0], [], [], _POLL_S)[0]:
                    chunk = os.read(0, 65536)
                    if not chunk:
                        raise _Stopped
                    self._commands += chunk
        except BaseException:
            _kill(pid)
            raise

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


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _child(folder: CellFolder, stack: Stack, registry: Registry, slot: int) -> NoReturn:
    """The cell's own process: never returns, never runs the slot's cleaning up."""
    status = 1
    try:
        die_with(slot, signal.SIGKILL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _redirect(folder.logs / "output.log")
        status = _run(folder, stack, registry)
    except BaseException:  # noqa: BLE001 - whatever it is, it goes to the cell's log and the status says so
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _redirect(log: Path) -> None:
    """Whatever an agent prints goes to the cell's log, never to a pipe that somebody waits for."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    faulthandler.enable()


def _run(folder: CellFolder, stack: Stack, registry: Registry) -> int:
    """Run the cell and judge it; 0 if a verdict was written."""
    began_s = time.monotonic()
    spec = CellSpec.from_json(read_json(folder.path / "cell.json"))
    try:
        job = _job(spec, registry)
        groups: list[Json] = list(GROUPS)
        agents: list[Json] = list(job.agents)
        header: dict[str, Json] = {"cell": spec.id, "seed": spec.seed, "groups": groups, "agents": agents}
        writer = HistoryWriter(folder.history, header)
        try:
            facts = asyncio.run(run_cell(job, stack, writer, give_up=_give_up, logs=folder.logs))
        finally:
            writer.close()
        folder.write_facts(facts)
        folder.write_result(judge_folder(folder, wall_s=time.monotonic() - began_s, registry=registry))
    except MissingComponent as error:
        folder.write_facts(Facts(complete=False))
        folder.write_result(unrun(folder, Verdict.SKIP, f"{error}. {error.fix}", registry=registry))
    except ComponentError as error:
        folder.write_facts(Facts(complete=False))
        folder.write_result(unrun(folder, Verdict.ERROR, str(error), registry=registry))
    return 0


def _job(spec: CellSpec, registry: Registry) -> Job:
    scenario = registry.scenario(spec.scenario)
    agents = {registry.agent(name).name: (lambda name=name: registry.agent(name)) for name in spec.agents}
    return Job(
        spec=spec,
        scenario=scenario,
        strategy=registry.strategy(spec.strategy),
        agents=agents,
        plan=plan_of(spec, scenario, registry),
    )


def _give_up(reason: str) -> NoReturn:
    """The event loop is dead; the history says so, and only the process's end is left."""
    print(reason, file=sys.stderr, flush=True)
    os._exit(75)


def main() -> None:
    """``python -m harness.slot_process '{"environment": ..., "parent": PID}'``."""
    options = json.loads(sys.argv[1])
    die_with(int(options["parent"]), signal.SIGTERM)
    answers = os.dup(1)
    os.set_inheritable(answers, False)
    os.dup2(2, 1)  # nothing that is printed by accident may look like an answer

    def stop(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _Stopped

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(_Stopped, BrokenPipeError):
        SlotProcess(str(options["environment"]), answers).serve()


if __name__ == "__main__":
    main()
