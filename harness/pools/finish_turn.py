"""Bring a turn to its end, exactly once in the stored state, whatever an earlier attempt left behind.

An exception never proves that a turn did not happen: the answer may be lost after the database has committed, and a
save that was given up on may still land. Sending the turn again doubles it in one case of five. So look first at what
is stored, and then do one of four things:

- the turn is stored: ``ainvoke(None)``. It completes a half turn, runs nothing on a finished one, and returns the
  interrupt that waits;
- it is not stored: send it, pinned to the checkpoint that was just read, so that a save that lands late cannot be built
  upon; on an empty thread pinned to an id that names no checkpoint;
- an interrupt that is to be answered still waits: answer it, by its id;
- another turn stands behind ours and ours has no answer: nothing can be done without damage, so say so.

Never pin ``ainvoke(None)``: with a checkpoint id it is time travel and runs finished nodes again. The state is read
from the saver, for ``aget_state`` also shows writes that the next input drops. The earlier attempt must be dead, and
one thread must have one writer. Exactly once is a promise about the state: the code of a node may run twice.

Plain LangGraph: copy this file into your service.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langgraph.types import Command

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
    from langgraph.graph.state import CompiledStateGraph

#: Names no checkpoint: a run pinned to it begins from nothing, even if something lands meanwhile.
NOTHING = "00000000-0000-6000-8000-000000000000"
_INTERRUPT = "__interrupt__"

InState = Callable[[Mapping[str, Any]], Sequence[str]]


class TurnSuperseded(RuntimeError):
    """Another turn was stored after ours, and ours has no answer: it cannot be completed any more."""


async def stored_turns(saver: BaseCheckpointSaver[Any], thread_id: str, turns_in: InState) -> tuple[str, ...]:
    """The ids of the turns that the thread's newest checkpoint holds, in order. Raises whatever the saver raises."""
    newest = await _newest(saver, thread_id)
    return tuple(turns_in(newest.checkpoint["channel_values"])) if newest else ()


async def finish_turn(
    graph: CompiledStateGraph[Any, Any, Any, Any],
    saver: BaseCheckpointSaver[Any],
    *,
    thread_id: str,
    turn_id: str,
    kind: str,
    turn_input: Callable[[], Any],
    resume_input: Callable[[], Any],
    turns_in: InState,
    answers_in: InState,
    interrupts: Sequence[str] = (),
    durability: str = "async",
) -> dict[str, Any]:
    """Finish the turn ``turn_id`` of ``thread_id`` and return the state, with ``__interrupt__`` if the run waits.

    ``kind`` is "turn" (``turn_input()`` is what was to be sent) or "resume" (``resume_input()`` is the answer to each
    of ``interrupts``, or to every interrupt that waits if none is named). ``turns_in`` and ``answers_in`` read
    channel values: the ids of the turns that they hold, and of those that have their answer.

    Raises TurnSuperseded, and whatever graph and saver raise: then the turn is still in doubt, and this may be called
    again.
    """
    if kind not in ("turn", "resume"):
        raise ValueError(f"kind is {kind!r}; allowed: turn, resume")
    newest = await _newest(saver, thread_id)
    values: Mapping[str, Any] = newest.checkpoint["channel_values"] if newest else {}
    turns = list(turns_in(values))
    if turn_id not in turns and kind == "turn":
        base = newest.config["configurable"]["checkpoint_id"] if newest else NOTHING
        return await _run(graph, turn_input(), thread_id, durability, base)
    if not turns or turns[-1] != turn_id:
        if turn_id in answers_in(values):
            return dict(values)  # finished long ago; what the thread does now is another turn's business
        behind = repr(turns[-1]) if turns else "no turn"
        raise TurnSuperseded(f"thread {thread_id}: {behind} is stored last, and {turn_id!r} has no answer")
    if kind == "resume" and newest is not None:
        pending = _pending_interrupts(newest)
        ours = [waiting for waiting in interrupts or pending if waiting in pending]
        if ours:
            answer: Any = Command(resume=dict.fromkeys(ours, resume_input()))
            return await _run(graph, answer, thread_id, durability)
    return await _run(graph, None, thread_id, durability)


async def _newest(saver: BaseCheckpointSaver[Any], thread_id: str) -> CheckpointTuple | None:
    return await saver.aget_tuple({"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}})


def _pending_interrupts(newest: CheckpointTuple) -> list[str]:
    """Ids of the interrupts whose write stands beside the checkpoint, in order."""
    found: dict[str, None] = {}
    for _, channel, value in newest.pending_writes or ():
        if channel == _INTERRUPT:
            for interrupt in value if isinstance(value, Sequence) else (value,):
                found[str(interrupt.id)] = None
    return list(found)


async def _run(
    graph: CompiledStateGraph[Any, Any, Any, Any], what: Any, thread_id: str, durability: Any, base: str | None = None
) -> dict[str, Any]:
    config: RunnableConfig = {"configurable": {"thread_id": thread_id}}
    if base is not None:
        config["configurable"]["checkpoint_id"] = base
    state: dict[str, Any] = await graph.ainvoke(what, config, durability=durability)
    return state
