"""Plug-ins for the tests of security: a quiet scenario, and strategies that give the password away."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import traceback
import urllib.parse
from typing import Any

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg.conninfo import conninfo_to_dict

from harness import AgentHandle, Degraded, PoolStrategy, Reply, Request, Scenario
from harness.core.scenario import Bounds
from harness.workloads.closed_loop import ClosedLoop

#: So quiet that a busy machine does not show.
QUIET = Scenario(
    name="secretive/quiet",
    title="Two users, no fault",
    why="The least that a cell can do.",
    question=1,
    load=ClosedLoop(users_n=2, think_min_ms=30.0, think_max_ms=60.0, fork_every=0, delete_share=0.0),
    baseline=True,
    gate_s=0.5,
    tail_s=0.5,
    bounds=Bounds(deadline_s=60.0, budget=6),
)


class QuietPool(PoolStrategy):
    """A pool as the documentation shows it."""

    name = "quiet_pool"

    async def open(self) -> None:
        self.pool = self.database.pool(min_size=1, max_size=3, timeout=50.0)
        await self.pool.open()

    async def close(self) -> None:
        await self.pool.close()

    async def checkpointer(self, agent: AgentHandle) -> Any:
        return AsyncPostgresSaver(self.pool)


class RaisesIt(QuietPool):
    """Its error holds the conninfo."""

    name = "raises_it"

    async def open(self) -> None:
        raise ValueError(f"cannot connect with {self.database.conninfo}")

    async def close(self) -> None: ...


class SaysItEverywhere(QuietPool):
    """In replies, errors with causes and groups, logs, prints, bare writes, a child's output; in every spelling."""

    name = "says_it_everywhere"
    calls = 0

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        password = str(conninfo_to_dict(self.database.conninfo)["password"])
        SaysItEverywhere.calls += 1
        if SaysItEverywhere.calls == 1:
            _say(password, self.database.conninfo)
        if SaysItEverywhere.calls % 4 == 0:
            return Degraded(f"no {password}", 0.1)
        if SaysItEverywhere.calls % 4 == 1:
            cause = KeyError(repr(self.database.conninfo))
            group = ExceptionGroup(password, [ValueError(json.dumps(password)), OSError(urllib.parse.quote(password))])
            raise RuntimeError(f"{'x' * 490}{password}") from (cause if SaysItEverywhere.calls % 8 == 1 else group)
        return await request()

    def stats(self) -> dict[str, int]:
        raise RuntimeError(self.database.conninfo)


class DiesWithIt(QuietPool):
    """The process ends in the middle of a call, with the password as its last words."""

    name = "dies_with_it"

    async def serve(self, agent: AgentHandle, request: Request) -> Reply:
        _say(str(conninfo_to_dict(self.database.conninfo)["password"]), self.database.conninfo)
        os.kill(os.getpid(), signal.SIGSEGV)
        return await request()


def _say(password: str, conninfo: str) -> None:
    words = f"{password} {conninfo!r} {json.dumps(conninfo)} {urllib.parse.quote_plus(password)}"
    print(words, flush=True)
    print(words, file=sys.stderr, flush=True)
    logging.getLogger("team").error("connected as %s", words)
    os.write(1, f"bare write {words}\n".encode())
    subprocess.run([sys.executable, "-c", "import sys; print(sys.stdin.read())"], input=words.encode(), check=True)
    try:
        raise ValueError(words)
    except ValueError:
        traceback.print_exc()
    thread = threading.Thread(target=lambda: int(words))
    thread.start()
    thread.join()
