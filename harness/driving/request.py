"""One call of a user, as the strategy sees it: perform it, ask what is stored, or bring it to its end.

One attempt at a time. Starting another first cancels the one before and waits until it is dead: an abandoned attempt
that lives on writes checkpoints with newer ids and so hides later turns that were acknowledged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from langgraph.types import Command

from harness.core.history import OpType
from harness.core.pool import Answered, Reply
from harness.core.workload import Action
from harness.driving.awaits import watched
from harness.driving.exceptions import describe
from harness.driving.group import cancel_hard
from harness.driving.recorder import Call, Recorder
from harness.driving.replica import Replica
from harness.pools.finish_turn import finish_turn, stored_turns

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

#: How long an attempt may take to die, in seconds.
SETTLE_LIMIT_S = 20.0
#: How far back a fork looks for the checkpoint before its target.
FORK_LOOKBACK = 60


class DrivenRequest:
    """Implements ``core.pool.Request`` on one replica."""

    def __init__(
        self,
        replica: Replica,
        action: Action,
        *,
        durability: str,
        deadline_s: float,
        recorder: Recorder,
        call: Call,
        errors: tuple[type[BaseException], ...],
    ) -> None:
        self._replica = replica
        self._action = action
        self._durability = durability
        self._deadline_s = deadline_s
        self._recorder = recorder
        self._call = call
        self._errors = errors
        self._attempt_task: asyncio.Task[Reply] | None = None
        self._attempts = 0

    @property
    def kind(self) -> str:
        """turn, restore, resume, fork or delete."""
        return self._action.kind

    @property
    def thread_id(self) -> str:
        """The conversation."""
        return self._action.turn.thread_id

    @property
    def turn_id(self) -> str:
        """The same for every attempt."""
        return self._action.turn.id

    @property
    def deadline_s(self) -> float:
        """Seconds from the call's beginning within which ``serve`` must answer."""
        return self._deadline_s

    async def __call__(self) -> Reply:
        """Perform the request on the agent's graph as it stands.

        A user who repeats a turn says so (the turn's id is the same), and a service that is told so does not send it
        again but brings it to its end. What a strategy repeats within one call is its own business, and is sent
        again.
        """
        if self._action.attempt > 1 and not self._attempts:
            return await self.finish()
        return await self._attempt("send", self._send)

    async def finish(self) -> Reply:
        """Bring the request to its end whatever an earlier attempt left behind."""
        return await self._attempt("finish", self._finish)

    async def stored(self) -> tuple[str, ...]:
        """The turn ids that are really stored."""
        return await stored_turns(self._replica.checkpointer, self.thread_id, self._replica.agent.turns_in)

    @property
    def settled(self) -> bool:
        """True if no attempt is alive."""
        return self._attempt_task is None or self._attempt_task.done()

    async def settle(self) -> bool:
        """Cancel what is still alive and wait, bounded, until it is dead; false if it would not die. Callable from
        any loop.
        """
        task = self._attempt_task
        if task is None or task.done():
            return True
        home = task.get_loop()
        if home is asyncio.get_running_loop():
            return await cancel_hard(task, SETTLE_LIMIT_S)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(cancel_hard(task, SETTLE_LIMIT_S), home))

    async def _attempt(self, step: str, work: Callable[[], Coroutine[Any, Any, Reply]]) -> Reply:
        if not await self.settle():
            raise TimeoutError("the attempt before this one would not end")
        self._attempts += 1
        row = self._recorder.invoke(
            "attempt", self._call.process, {"parent": self._call.number, "n": self._attempts, "step": step}
        )
        self._attempt_task = asyncio.ensure_future(self._recorded(row, work))
        self._attempt_task.add_done_callback(partial(self._ended, row))
        return await self._attempt_task  # cancelling us cancels it

    def _ended(self, row: Call, task: asyncio.Task[Reply]) -> None:
        """Take the exception of an attempt that nobody may wait for; one that was cancelled first has no row yet."""
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            self._recorder.complete(row, OpType.INFO, error=describe(error, self._errors))

    async def _recorded(self, row: Call, work: Callable[[], Coroutine[Any, Any, Reply]]) -> Reply:
        try:
            reply = await watched(work())
        except BaseException as error:
            self._recorder.complete(row, OpType.INFO, error=describe(error, self._errors))
            raise
        self._recorder.complete(row, OpType.OK)
        return reply

    @property
    def _config(self) -> RunnableConfig:
        return {"configurable": {"thread_id": self.thread_id}}

    async def _send(self) -> Reply:
        steps: Mapping[str, Callable[[], Coroutine[Any, Any, Reply]]] = {
            "turn": self._turn,
            "resume": self._resume,
            "restore": self._restore,
            "fork": self._fork,
            "delete": self._delete,
        }
        return await steps[self.kind]()

    async def _finish(self) -> Reply:
        if self.kind not in ("turn", "resume"):
            return await self._send()  # a read, or an order that is idempotent by construction
        agent, turn = self._replica.agent, self._action.turn
        values = await finish_turn(
            self._replica.graph,
            self._replica.checkpointer,
            thread_id=self.thread_id,
            turn_id=self.turn_id,
            kind=self.kind,
            turn_input=lambda: agent.turn_input(turn),
            resume_input=lambda: agent.resume_input(turn),
            turns_in=agent.turns_in,
            answers_in=agent.answers_in,
            interrupts=self._interrupts,
            durability=self._durability,
        )
        return self._reply(values)

    @property
    def _interrupts(self) -> tuple[str, ...]:
        return tuple(self._action.target.split(",")) if self._action.target else ()

    async def _turn(self) -> Reply:
        return await self._invoke(self._replica.agent.turn_input(self._action.turn))

    async def _resume(self) -> Reply:
        value = self._replica.agent.resume_input(self._action.turn)
        return await self._invoke(Command(resume=dict.fromkeys(self._interrupts, value)))

    async def _invoke(self, what: Any) -> Reply:
        durability: Any = self._durability
        values = await self._replica.graph.ainvoke(what, self._config, durability=durability)
        return self._reply(values)

    async def _restore(self) -> Reply:
        """What the post's ``restore_session`` shows; channel values only, since pending writes may yet be dropped."""
        return Answered("", await self.stored())

    async def _fork(self) -> Reply:
        """Take back ``target``: copy the newest finished checkpoint that does not hold it. Nothing to do if it is
        gone.
        """
        turns_in, graph, target = self._replica.agent.turns_in, self._replica.graph, self._action.target
        now = await self.stored()
        if target not in now:
            return Answered("", now)
        seen = [snapshot async for snapshot in graph.aget_state_history(self._config, limit=FORK_LOOKBACK)]
        for snapshot in seen:
            kept = tuple(turns_in(snapshot.values))
            if target not in kept and not snapshot.next and kept:
                await graph.aupdate_state(snapshot.config, None, as_node="__copy__")
                return Answered("", kept)
        return Answered("", now)

    async def _delete(self) -> Reply:
        await self._replica.checkpointer.adelete_thread(self.thread_id)
        return Answered("")

    def _reply(self, values: Any) -> Answered:
        state: Mapping[str, Any] = values if isinstance(values, Mapping) else {}
        interrupts = state.get("__interrupt__") or ()
        answers = [m for m in state.get("messages") or () if isinstance(m, AIMessage)]
        return Answered(
            text=str(answers[-1].content) if answers and not interrupts else "",
            turns=tuple(self._replica.agent.turns_in(state)),
            waiting=tuple(str(interrupt.id) for interrupt in interrupts),
        )
