"""One Postgres process that may be stopped, killed, held in its recovery and paused, and that comes back as it was."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from harness.core.environment import Shutdown
from harness.core.errors import ComponentError
from harness.core.verdict import Json
from harness.environments.listening import Listening
from harness.environments.postgres import accepts
from harness.environments.processes import Child, children_of

_FREEZER = Path(__file__).with_name("freezer.py")
_END_LIMIT_S = 12.0
_READY_LIMIT_S = 20.0
_HOLD_LIMIT_S = 5.0
#: Recovery may end before it can be held; then it is crashed again, so often.
_HOLD_TRIES = 4
_FREEZE_LIMIT_S = 8.0
_CLOSE_LIMIT_S = 1.5
_POLL_S = 0.01
_SIGNALS = {Shutdown.FAST: signal.SIGINT, Shutdown.IMMEDIATE: signal.SIGQUIT, Shutdown.KILL: signal.SIGKILL}


class Node:
    """A running server on ``data``; ``launch`` starts it again on a port. Used on the main thread's loop only."""

    def __init__(self, listening: Listening, data: Path, launch: Callable[[int], Child]) -> None:
        self.data = data
        self._listening = listening
        self._launch = launch
        self._stopping = False
        self._holding: Future[int | None] | None = None
        self._freezer: subprocess.Popen[bytes] | None = None

    @property
    def child(self) -> Child:
        return self._listening.child

    @property
    def port(self) -> int:
        """It keeps its port for as long as it is not closed."""
        return self._listening.port.number

    async def stop(self, how: Shutdown) -> Mapping[str, Json]:
        """End the process, and wait until nothing of it is left."""
        await self.resume()
        await self._let_go()
        self._stopping = True
        child = self.child
        below = children_of(child.pid) if child.popen.poll() is None else frozenset()
        if child.popen.returncode is None:
            child.popen.send_signal(_SIGNALS[how])
        if how is Shutdown.KILL:
            for pid in below:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        stop_s = time.monotonic() + _END_LIMIT_S
        # a backend that outlives its postmaster holds the shared memory, and the next start would refuse
        while child.popen.poll() is None or any(_runs(pid) for pid in below):
            if time.monotonic() > stop_s:
                raise ComponentError(f"Postgres (pid {child.pid}) had not stopped after {_END_LIMIT_S:g} s")
            await asyncio.sleep(_POLL_S)
        self._stopping = False
        return {"server": "stopped", "how": how.value, "status": child.popen.returncode}

    async def start(self) -> None:
        """Start it if it does not run, end a recovery that is held, and wait until it accepts connections."""
        await self._let_go()
        if self._stopping:  # a stop that was cancelled goes on by itself, and looks ready for a moment yet
            await self.stop(Shutdown.IMMEDIATE)
        if not self.child.alive():
            self._start()
        stop_s = time.monotonic() + _READY_LIMIT_S
        while not accepts(self.data, self.child.pid):
            if not self.child.alive():
                raise ComponentError(f"Postgres does not start again; end of its log:\n{self.child.tail()}")
            if time.monotonic() > stop_s:
                raise ComponentError(f"Postgres does not accept connections {_READY_LIMIT_S:g} s after its start")
            await asyncio.sleep(_POLL_S)

    async def start_held(self) -> Mapping[str, Json]:
        """Start it and stop its recovery in the middle: connections are told that it is starting up."""
        for _ in range(_HOLD_TRIES):
            self._start()
            pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hold-recovery")
            self._holding = pool.submit(_hold_recovery, self.child, self.data)
            pool.shutdown(wait=False)
            held = await asyncio.shield(asyncio.wrap_future(self._holding))
            if held is not None:
                return {"server": "starting up", "held": held}
            await self.stop(Shutdown.KILL)
        raise ComponentError(f"Postgres recovered {_HOLD_TRIES} times before it could be held in its recovery")

    async def pause(self, role: str = "") -> Mapping[str, Json]:
        """Hold every process of the server where it is, or just the sessions that ``role`` has then."""
        argv = [sys.executable, "-I", "-S", str(_FREEZER), str(self.child.pid), *filter(None, [role])]
        self._freezer = subprocess.Popen(  # noqa: ASYNC220 - a fork, some 20 ms
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/", start_new_session=True
        )
        told = self._freezer.stdout
        assert told is not None
        try:
            async with asyncio.timeout(_FREEZE_LIMIT_S):
                line = await asyncio.to_thread(told.readline)
        except TimeoutError:
            line = b""
        if not line.strip().isdigit() or int(line) == 0:
            await self.resume()
            what = f"no session of {role} stands still" if role else "its processes do not stand still"
            raise ComponentError(f"Postgres could not be paused: {what}")
        return {"server": "paused", "processes": int(line)}

    async def resume(self) -> None:
        """Let them go on. Idempotent."""
        freezer, self._freezer = self._freezer, None
        if freezer is None:
            return
        assert freezer.stdin is not None
        assert freezer.stdout is not None
        freezer.stdin.close()
        try:
            await asyncio.to_thread(freezer.wait, _FREEZE_LIMIT_S)
        except subprocess.TimeoutExpired as error:
            self._freezer = freezer
            raise ComponentError("Postgres does not go on: what holds it does not end") from error
        freezer.stdout.close()

    def close(self) -> None:
        """End it for good, whatever state it is in, and give its port back. Blocking, bounded; idempotent."""
        if self._freezer is not None:
            for pipe in (self._freezer.stdin, self._freezer.stdout):
                assert pipe is not None
                pipe.close()
            self._freezer.wait(_FREEZE_LIMIT_S)
            self._freezer = None
        if self._holding is not None:
            _continue(self._holding.result(_HOLD_LIMIT_S + 1))
            self._holding = None
        self._listening.stop(_CLOSE_LIMIT_S)

    def _start(self) -> None:
        self._listening = Listening(self._launch(self.port), self._listening.port)

    async def _let_go(self) -> None:
        """End a recovery that is held. Who was cancelled while it was to be held has left a thread that still tries."""
        if self._holding is not None:
            _continue(await asyncio.shield(asyncio.wrap_future(self._holding)))
            self._holding = None


def _continue(held: int | None) -> None:
    if held is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(held, signal.SIGCONT)


def _runs(pid: int) -> bool:
    """A zombie is over: its memory is free."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _hold_recovery(postmaster: Child, data: Path) -> int | None:
    """Stop the startup process as soon as there is one; its pid, or None if recovery was over before. Blocking.

    It lives for milliseconds when there is little to redo, so this looks as often as it can.
    """
    stop_s = time.monotonic() + _HOLD_LIMIT_S
    while time.monotonic() < stop_s and postmaster.alive():
        for pid in _children(postmaster.pid):
            with contextlib.suppress(OSError):
                if b"startup" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGSTOP)
                    return pid if _stands_still(pid) and not accepts(data, postmaster.pid) else None
        if accepts(data, postmaster.pid):
            return None
    return None


def _children(parent: int) -> Sequence[int]:
    """The kernel's own list where it keeps one: looking through all processes takes too long here."""
    try:
        return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    except OSError:
        return list(children_of(parent))


def _stands_still(pid: int) -> bool:
    stop_s = time.monotonic() + _HOLD_LIMIT_S
    while time.monotonic() < stop_s:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state in "Tt":
            return True
        if state in "ZX":
            return False
    return False
