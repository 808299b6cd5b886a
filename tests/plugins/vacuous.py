"""Plug-in file for the tests of vacuity: faults that do nothing, loads that are not there, a way past the proxy.

Every one of them makes a cell that proves nothing, and must not pass; so does a machine that stands still.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import psycopg
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg.conninfo import make_conninfo

from harness import AgentHandle, Capability, Effect, Environment, PoolStrategy, Scenario, Witness
from harness.core.fault import Window
from harness.core.scenario import Bounds
from harness.core.workload import Action, Outcome, User
from harness.faults.proxy_down import ProxyDown, closed_port
from harness.workloads.closed_loop import ClosedLoop

STOOD_STILL_S = 1.2


class _Shape:
    """What the faults here have in common."""

    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.TOXIPROXY})
    usable: ClassVar[bool] = False
    effect: ClassVar[Effect] = Effect.DISTURBS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    @property
    def delay_ms(self) -> float:
        return 0.0


@dataclass(frozen=True, kw_only=True)
class InstallsNothing(_Shape):
    """Does nothing; with ``boasts`` it says that it did."""

    boasts: bool = False
    kind: ClassVar[str] = "installs_nothing"

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        return self._active()

    @asynccontextmanager
    async def _active(self) -> AsyncIterator[Witness]:
        yield Witness({"toxic": "stands"} if self.boasts else {})


@dataclass(frozen=True, kw_only=True)
class StopsTheMachine(_Shape):
    """Closes the proxy's port, and stops this very process for a while, as a machine does that is paused."""

    kind: ClassVar[str] = "stops_the_machine"

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        return self._active(env)

    @asynccontextmanager
    async def _active(self, env: Environment) -> AsyncIterator[Witness]:
        code = (
            "import os, signal, time; time.sleep(0.4); "
            f"os.kill({os.getpid()}, signal.SIGSTOP); time.sleep({STOOD_STILL_S}); "
            f"os.kill({os.getpid()}, signal.SIGCONT)"
        )
        async with closed_port(env) as witness:
            with subprocess.Popen([sys.executable, "-c", code]):  # noqa: ASYNC220 - leaving waits for it
                yield witness


@dataclass(frozen=True, kw_only=True)
class Leaves(ClosedLoop):
    """Users who make a few calls and are never seen again."""

    calls: int = 5

    def users(self, *, seed: int, agents: Sequence[str], groups: Sequence[str]) -> Sequence[User]:
        return [_Leaver(user, self.calls) for user in super().users(seed=seed, agents=agents, groups=groups)]


class _Leaver:
    def __init__(self, user: User, calls: int) -> None:
        self._user = user
        self._left = calls

    @property
    def name(self) -> str:
        return self._user.name

    def next(self, last: Outcome | None) -> Action | None:
        self._left -= 1
        return self._user.next(last) if self._left >= 0 else None


def _scenario(
    name: str, load: ClosedLoop, *windows: Window, baseline: bool = False, recover_s: float = 3.0
) -> Scenario:
    return Scenario(
        name=f"vacuous/{name}",
        title="Nothing is proved",
        why="So that a run which proves nothing is seen to say so.",
        question=1,
        load=load,
        plan=windows,
        baseline=baseline,
        gate_s=0.8,
        tail_s=0.5,
        bounds=Bounds(deadline_s=4.0, recover_s=recover_s, recover_why="nobody is left to recover"),
    )


UNSAID = _scenario("unsaid", ClosedLoop(), Window(InstallsNothing(), 0.0, 1.0))
UNFELT = _scenario("unfelt", ClosedLoop(), Window(InstallsNothing(boasts=True), 0.0, 1.0))
DESERTED = _scenario("deserted", Leaves(), Window(ProxyDown(), 4.0, 5.0), recover_s=1.0)
TWO_USERS = _scenario("two_users", ClosedLoop(users_n=2), Window(ProxyDown(), 0.0, 1.0))
STILL = _scenario("still", ClosedLoop(), baseline=True)
STOPPED = _scenario("stopped", ClosedLoop(), Window(StopsTheMachine(), 0.0, 2.5))
RUNNING = _scenario("running", ClosedLoop(), Window(ProxyDown(), 0.0, 2.5))


class PlainPool(PoolStrategy):
    """A pool as the documentation shows it."""

    name = "plain_pool"

    async def conninfo(self) -> str:
        return self.database.conninfo

    async def open(self) -> None:
        self.pool = self.database.pool(conninfo=await self.conninfo(), min_size=1, max_size=4)
        await self.pool.open()

    async def close(self) -> None:
        await self.pool.close()

    async def checkpointer(self, agent: AgentHandle) -> Any:
        return AsyncPostgresSaver(self.pool)


class PastTheProxy(PlainPool):
    """Asks the database where it really is, and goes there."""

    name = "past_the_proxy"

    async def conninfo(self) -> str:
        async with await psycopg.AsyncConnection.connect(self.database.conninfo) as connection:
            row = await (await connection.execute("SELECT host(inet_server_addr()), inet_server_port()")).fetchone()
        assert row is not None
        return make_conninfo(self.database.conninfo, host=row[0], port=row[1])
