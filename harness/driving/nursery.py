"""Forks the replica processes of one cell: a small process of its own, with everything imported and no thread.

A cell's process has an event loop, threads and open connections, and a fork of it would share them all. So the cell
forks the nursery before it has any of these, and the nursery forks a replica whenever it is told to. The kernel ends
the nursery when the cell ends, and each replica, one that stands still too, when the nursery ends. Orders and news are
JSON, one packet each; a replica's end of its channel comes with the order.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from typing import NoReturn

from harness.core.errors import ComponentError
from harness.core.verdict import Json
from harness.environments.processes import die_with

#: What a replica runs; it never returns. It gets its order and its end of the channel.
Live = Callable[[Mapping[str, Json], socket.socket], NoReturn]
#: What the cell hears: ``{"started": name, "pid": ...}`` and ``{"ended": name, "status": ...}``, as waitpid has it.
News = Callable[[Mapping[str, Json]], None]

_PACKET_BYTES = 65536
_END_LIMIT_S = 3.0
_LOOK_S = 1.0


class Nursery:
    """The cell's handle. Made by :meth:`fork`; :meth:`attend` on the cell's loop before the first :meth:`start`."""

    def __init__(self, pid: int, control: socket.socket) -> None:
        self._pid = pid
        self._control = control
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def fork(cls, live: Live) -> Nursery:
        """Call it on the main thread, before there is a loop, a thread or an open connection."""
        control, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            control.close()
            _never_return(lambda: _tend(parent, there, live))
        there.close()
        return cls(pid, control)

    def attend(self, news: News) -> None:
        """Have ``news`` called on the running loop for each process that started or ended."""
        self._loop = asyncio.get_running_loop()
        self._control.setblocking(False)
        self._loop.add_reader(self._control.fileno(), self._hear, news)

    def _hear(self, news: News) -> None:
        with contextlib.suppress(BlockingIOError):
            while packet := self._control.recv(_PACKET_BYTES):
                news(json.loads(packet))
            assert self._loop is not None
            self._loop.remove_reader(self._control.fileno())  # it is gone; whoever waits for a process has a bound

    def start(self, order: Mapping[str, Json]) -> socket.socket:
        """Have a replica forked; ``order["name"]`` names it. Our end of its channel. Raises ComponentError."""
        here, there = socket.socketpair()
        try:
            socket.send_fds(self._control, [json.dumps({"start": dict(order)}).encode()], [there.fileno()])
        except OSError as error:
            here.close()
            raise ComponentError(f"the replicas' parent process takes no orders: {error}") from error
        finally:
            there.close()
        return here

    def signal(self, name: int, number: signal.Signals) -> None:
        """Send a signal to replica ``name``, if it still runs: its parent cannot hit anybody else."""
        try:
            self._control.send(json.dumps({"signal": name, "number": int(number)}).encode())
        except OSError as error:
            raise ComponentError(f"the replicas' parent process takes no orders: {error}") from error

    def close(self) -> None:
        """End it and all of its replicas. Blocking, bounded; idempotent."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._control.fileno())
        self._loop = None
        if self._control.fileno() < 0:
            return
        self._control.close()
        stop_s = time.monotonic() + _END_LIMIT_S
        while os.waitpid(self._pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > stop_s:
                os.kill(self._pid, signal.SIGKILL)  # its replicas go with it
                os.waitpid(self._pid, 0)
                return
            time.sleep(0.005)


def _never_return(step: Callable[[], None]) -> NoReturn:
    """What a forked process does, and then it ends without its parent's cleaning up."""
    status = 70
    try:
        step()
        status = 0
    except BaseException:  # noqa: BLE001 - there is nobody above to catch it: it goes to the cell's log
        traceback.print_exc()
    finally:
        os._exit(status)


def _tend(parent: int, control: socket.socket, live: Live) -> None:
    """The nursery's own life: until the cell closes its end."""
    die_with(parent, signal.SIGKILL)
    nursery = os.getpid()
    replicas: dict[int, tuple[int, int]] = {}  # pidfd -> (name, pid)
    while True:
        ready: list[int] = select.select([control.fileno(), *replicas], [], [], _LOOK_S)[0]
        for ended in replicas.keys() & set(ready):
            name, pid = replicas.pop(ended)
            os.close(ended)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            _tell(control, {"ended": name, "pid": pid, "status": status})
        if control.fileno() not in ready:
            continue
        packet, channels, _, _ = socket.recv_fds(control, _PACKET_BYTES, 1)
        if not packet:
            break
        order = json.loads(packet)
        if "start" in order:
            channel = socket.socket(fileno=channels[0])
            pid = os.fork()
            if pid == 0:
                control.close()
                for other in replicas:
                    os.close(other)
                _never_return(partial(_become, nursery, order["start"], channel, live))
            channel.close()
            replicas[os.pidfd_open(pid)] = (order["start"]["name"], pid)
            _tell(control, {"started": order["start"]["name"], "pid": pid})
        else:
            for pidfd, (name, _) in replicas.items():
                if name == order["signal"]:
                    signal.pidfd_send_signal(pidfd, order["number"])
    for pidfd, (_, pid) in replicas.items():
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitpid(pid, 0)


def _become(nursery: int, order: Mapping[str, Json], channel: socket.socket, live: Live) -> None:
    die_with(nursery, signal.SIGKILL)
    live(order, channel)


def _tell(control: socket.socket, news: Mapping[str, Json]) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the cell is gone, and we are about to be
        control.send(json.dumps(news).encode())
