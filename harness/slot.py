"""One slot: a process that owns a stack (Postgres, Toxiproxy) and runs cells on it, one after the other.

The slot's process imports everything once, starts the stack, and forks a child for each cell; while a cell is judged
the next one runs. Nothing of it outlives the harness: the kernel ends the slot when its parent ends, and everything
below when the slot ends. This module is the side of the campaign and the pytest plug-in.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.core.cell import CellSpec
from harness.core.errors import ComponentError, MissingComponent
from harness.core.record import CellResult
from harness.core.verdict import Json
from harness.environments.target_dsn import Target
from harness.judge import OWN_BUG
from harness.store import CellFolder, read_result

#: A stack must stand within this many seconds; the first one of a machine may have to build Toxiproxy.
START_LIMIT_S = 900.0
STOP_LIMIT_S = 8.0
_POLL_S = 0.2


class SlotBug(Exception):
    """The slot's own process failed: our bug. Its traceback is a note of this."""


@dataclass(slots=True)
class _Begun:
    """A cell without a result. ``loaded`` as long as its users make calls. Once it ``ended`` it waits for its verdict
    alone; ``death`` says how it died, if so.
    """

    spec: CellSpec
    folder: CellFolder
    began_s: float
    loaded: bool = True
    ended: bool = False
    wall_s: float = 0.0
    death: str = ""

    def left(self, message: Mapping[str, Json]) -> None:
        """Take in that it has left the stack to the next cell."""
        wall_s = message["wall_s"]
        assert isinstance(wall_s, int | float)
        self.ended, self.wall_s, self.death = True, float(wall_s), str(message["death"])


class Slot:
    """See the module. Start it from the main thread; use :meth:`run`, or :meth:`begin` while it is :attr:`free`, and
    :meth:`poll` as long as a result is :attr:`due`.
    """

    def __init__(self, popen: subprocess.Popen[bytes], environment: str, note: Callable[[str], None]) -> None:
        self._popen = popen
        self._environment = environment
        self._note = note
        self._buffer = b""
        #: In the order in which they were begun: one that is judged, one that runs.
        self._begun: list[_Begun] = []
        self._died: Exception | None = None
        self.components: tuple[Mapping[str, Json], ...] = ()
        self.missing: Mapping[str, str] = {}
        self.ready = False

    @classmethod
    def start(
        cls,
        environment: str = "auto",
        *,
        note: Callable[[str], None] = lambda _: None,
        target: Target | None = None,
    ) -> Slot:
        """Start a slot and wait until its stack stands. Raises MissingComponent or ComponentError."""
        slot = cls.launch(environment, note=note, target=target)
        try:
            slot.wait_ready()
        except BaseException:
            slot.close()
            raise
        return slot

    @classmethod
    def launch(
        cls,
        environment: str = "auto",
        *,
        note: Callable[[str], None] = lambda _: None,
        target: Target | None = None,
    ) -> Slot:
        """Start a slot and do not wait: several come up side by side. Then :meth:`wait_ready`.

        ``target`` goes through the pipe: others may read a process's arguments, and its environment.
        """
        options = json.dumps({"environment": environment, "parent": os.getpid()})
        popen = subprocess.Popen(
            [sys.executable, "-P", "-m", "harness.slot_start", "harness.slot_process", options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_slot_environment(),
            start_new_session=True,  # Ctrl-C is the campaign's to handle
        )
        slot = cls(popen, environment, note)
        if target is not None:
            slot._send({"target": target.to_json()})
        return slot

    def wait_ready(self, *, until: Callable[[], bool] = lambda: False) -> None:
        """Wait, bounded, until the stack stands, or ``until`` says that nobody wants it any more.

        Raises what kept it from standing.
        """
        stop_s = time.monotonic() + START_LIMIT_S
        while not self.ready and not until():
            message = self._message(_POLL_S)
            if message is None:
                if time.monotonic() > stop_s:
                    raise ComponentError(f"the stack did not stand within {START_LIMIT_S:g} s")
                continue
            if "failed" in message:
                text, fix = str(message["failed"]), str(message.get("fix") or "")
                raise MissingComponent(text, fix) if fix else ComponentError(text)
            if message.get("ready"):
                self._take_ready(message)

    def _take_ready(self, message: Mapping[str, Json]) -> None:
        components, missing = message.get("components"), message.get("missing")
        self.components = tuple(c for c in components if isinstance(c, dict)) if isinstance(components, list) else ()
        self.missing = {k: str(v) for k, v in missing.items()} if isinstance(missing, dict) else {}
        self.ready = True

    def fileno(self) -> int:
        """For ``select``: readable when a message waits, or the slot died."""
        assert self._popen.stdout is not None
        return self._popen.stdout.fileno()

    @property
    def pid(self) -> int:
        """The slot's process."""
        return self._popen.pid

    def run(self, spec: CellSpec, folder: CellFolder) -> CellResult:
        """Run one cell and return it judged; bounded by the slot's own limit for cells."""
        self.begin(spec, folder)
        return self.result()

    def result(self) -> CellResult:
        """The next result, when it is there."""
        while True:
            select.select([self], [], [], 5.0)
            result = self.poll()
            if result is not None:
                return result

    @property
    def running(self) -> CellSpec | None:
        """The cell that has the stack, if any."""
        return next((cell.spec for cell in self._begun if not cell.ended), None)

    @property
    def loaded(self) -> CellSpec | None:
        """The cell that puts load on the machine, if any: its users make calls, or will."""
        return next((cell.spec for cell in self._begun if cell.loaded and not cell.ended), None)

    @property
    def free(self) -> bool:
        """True if a cell can begin: none runs. The one before may be judged still."""
        return self.running is None

    @property
    def due(self) -> bool:
        """True if a cell has begun and :meth:`poll` has not given its result."""
        return bool(self._begun)

    def begin(self, spec: CellSpec, folder: CellFolder) -> None:
        """Write ``cell.json`` and start the cell; :meth:`poll` gives its result, after that of the one before."""
        assert self.free, "one cell at a time"
        folder.write_spec(spec)
        self._begun.append(_Begun(spec, folder, time.monotonic()))
        self._send({"cell": str(folder.path.resolve())})

    def poll(self) -> CellResult | None:
        """The next result, if it is there; call again until it is None. If the slot died, what the histories show.

        Raises ComponentError if a verdict could not be written.
        """
        while self._begun:
            try:
                message = self._message(0.0) if self._died is None else None
            except (ComponentError, SlotBug) as error:
                self._died = error
            if self._died is not None:
                return self._posthumous(self._begun.pop(0), self._died)
            if message is None:
                return None
            if "unloaded" in message:
                self._begun[-1].loaded = False
            elif "ended" in message:
                self._begun[-1].left(message)
            elif "done" in message:
                cell = self._begun.pop(0)
                if "trouble" in message:
                    raise ComponentError(str(message["trouble"]))
                return read_result(cell.folder.path)
        return None

    def _posthumous(self, cell: _Begun, error: Exception) -> CellResult:
        """The result of a cell whose slot died: it is held against the last that was begun, the others had ended."""
        from harness.verdicts import settle  # it imports langgraph

        if self._begun:
            return settle(cell.folder, wall_s=cell.wall_s, death=cell.death)
        _keep_notes(error, cell.folder)
        wall_s = cell.wall_s if cell.ended else time.monotonic() - cell.began_s
        return settle(cell.folder, wall_s=wall_s, death=cell.death or str(error))

    @property
    def dead(self) -> bool:
        """True if the slot's process is no more."""
        return self._popen.poll() is not None

    def ask_to_end(self) -> None:
        """Tell the slot to end, and do not wait: several end side by side. Then :meth:`close`."""
        if self._popen.poll() is None:
            self._popen.terminate()

    def close(self) -> None:
        """End the slot, its cell and its stack; bounded, idempotent."""
        self.ask_to_end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(STOP_LIMIT_S)
        self.kill()

    def kill(self) -> None:
        """End the slot at once: the kernel ends its cell and its servers with it. Its folders stay, see ``leases``."""
        popen = self._popen
        if popen.poll() is None:
            popen.kill()
            popen.wait(STOP_LIMIT_S)
        for pipe in (popen.stdin, popen.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _send(self, message: Mapping[str, Json]) -> None:
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write(json.dumps(message).encode() + b"\n")
            self._popen.stdin.flush()
        except BrokenPipeError:
            return  # the slot died: poll says so

    def _message(self, limit_s: float) -> Mapping[str, Json] | None:
        """The next message, notes passed on; None if none came in ``limit_s``. ComponentError if the slot died."""
        stop_s = time.monotonic() + limit_s
        while True:
            line, found, rest = self._buffer.partition(b"\n")
            if found:
                self._buffer = rest
                message = json.loads(line)
                if "bug" in message:
                    bug = SlotBug(f"{OWN_BUG}: {message['bug']}")
                    bug.add_note(str(message["traceback"]))
                    self._popen.wait(STOP_LIMIT_S)
                    raise bug
                if "note" not in message:
                    return dict(message)
                self._note(str(message["note"]))
                continue
            if not select.select([self], [], [], max(0.0, stop_s - time.monotonic()))[0]:
                return None
            chunk = os.read(self.fileno(), 65536)
            if not chunk:
                raise ComponentError(f"a slot's process (pid {self.pid}) ended with status {self._popen.wait(5.0)}")
            self._buffer += chunk


def _keep_notes(error: Exception, folder: CellFolder) -> None:
    """The traceback of a slot that failed goes where the cell's output is, for whoever is to find the bug."""
    notes = "\n".join(getattr(error, "__notes__", ()))
    with contextlib.suppress(OSError), folder.output.open("a", encoding="utf-8") as log:
        log.write(notes)


def _slot_environment() -> dict[str, str]:
    """Ours, with strict msgpack: no stored byte may name a class that was not allowed. It is read at import."""
    here = str(Path(__file__).resolve().parent.parent)
    paths = [here, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **os.environ,
        "LANGGRAPH_STRICT_MSGPACK": os.environ.get("LANGGRAPH_STRICT_MSGPACK") or "true",
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "PYTHONUNBUFFERED": "1",
    }
