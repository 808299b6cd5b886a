"""The team's ``BaseAgent`` with the pool strategy taken out, and what its five agents have in common.

In the team's own code this class holds ``_shared_pool``, builds ``AsyncPostgresSaver(BaseAgent._shared_pool)``, and
``_recreate_pool`` closes the pool that living agents still use. Here everything about pools is a
:class:`~harness.core.pool.PoolStrategy` that is handed in: ``chat`` and ``restore_session`` look as they did, and the
question "what if the database times out?" has one place to be answered, ``PoolStrategy.serve``.
"""

from __future__ import annotations

import logging
import operator
from abc import abstractmethod
from collections.abc import Awaitable, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Protocol, TypedDict, TypeVar

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.graph import add_messages

from harness.core.agent import AgentUnderTest
from harness.core.pool import AgentHandle, PoolStrategy, Reply, Request

from .scripted_model import ScriptedModel, question_in

_State = TypeVar("_State", contravariant=True)

_log = logging.getLogger("poolproof.agents")


class ChatState(TypedDict):
    """What every agent's state has. ``effects`` is append-only, one entry ``<turn>/<node>`` per node that was saved."""

    messages: Annotated[list[AnyMessage], add_messages]
    effects: Annotated[list[str], operator.add]


class Node(Protocol[_State]):
    """A node: the state in, what it adds or replaces out."""

    def __call__(self, state: _State) -> Awaitable[dict[str, Any]]: ...


def turn_in(state: ChatState) -> str:
    """The id of the turn that the graph is working on."""
    return str(question_in(state["messages"]).id)


async def think(node: str, question: HumanMessage) -> AIMessage:
    """What the model says at ``node``; takes that node's time."""
    return await _model(node).ainvoke([question])


@cache
def _model(node: str) -> ScriptedModel:
    return ScriptedModel(node=node)


class BaseAgent(AgentUnderTest):
    """One agent of the team. Subclasses give a ``name``, a ``graph`` and the ``nodes_of`` a turn."""

    _pools: PoolStrategy
    _handle: AgentHandle

    # -- the service: what the team's callers use -----------------------------------------------------------------

    def attach(self, pools: PoolStrategy, handle: AgentHandle) -> None:
        """Hand in the pool strategy, and the living replica whose saver it keeps."""
        self._pools = pools
        self._handle = handle

    async def chat(self, request: Request) -> Reply:
        """Answer one turn. What the strategy raises is what the caller sees."""
        await self._ensure_pool_health()
        return await self._pools.serve(self._handle, request)

    async def restore_session(self, request: Request) -> Reply:
        """What the thread holds, for a user who comes back; ``request.kind`` is "restore".

        Raises ValueError for any other kind: a turn must not slip through the reading door.
        """
        if request.kind != "restore":
            raise ValueError(f"restore_session got a request of kind {request.kind!r}; allowed: 'restore'")
        return await self.chat(request)

    async def _ensure_pool_health(self) -> None:
        """The check before each request. A failing check is no answer to a caller: ``serve`` decides what is."""
        try:
            await self._pools.ensure_healthy()
        except Exception as error:  # noqa: BLE001 - whatever the check raises, the request itself comes next
            _log.warning("%s: health check failed: %s: %s", self.name, type(error).__name__, error)

    async def _recreate_pool(self) -> None:
        """The operator's lever, as in the team's code."""
        await self._pools.recreate()

    # -- the judge: what a sound state looks like -----------------------------------------------------------------

    @abstractmethod
    def nodes_of(self, turn_id: str) -> Sequence[str]:
        """The nodes whose effects stand in the state once ``turn_id`` is answered, in any order."""

    def problems_in(self, values: Mapping[str, Any]) -> Sequence[str]:
        """Torn or mixed state, in words. Half turns are sound, and so are doubled entries: those are duplicates.

        Subclasses add what they know of their own channels.
        """
        turns = self.turns_in(values)
        effects = [entry.rpartition("/") for entry in self.effects_in(values)]
        threads = sorted({turn.rpartition("/")[0] for turn in turns})
        problems = [] if len(threads) < 2 else [f"the state holds turns of several threads: {', '.join(threads)}"]
        for turn in sorted({turn for turn, _, _ in effects} - set(turns)):
            problems.append(f"effects of turn {turn}, which the state does not hold")
        for turn in dict.fromkeys(self.answers_in(values)):
            found, due = {node for owner, _, node in effects if owner == turn}, set(self.nodes_of(turn))
            if missing := sorted(due - found):
                problems.append(f"turn {turn} is answered without the effects of {', '.join(missing)}")
            if surplus := sorted(found - due):
                problems.append(f"turn {turn} has effects that it cannot have: {', '.join(surplus)}")
        return [*problems, *_mixed_answers(values)]

    def misplaced(self, values: Mapping[str, Any], channel: str, turn: str | None) -> Sequence[str]:
        """Problems of a channel that each turn replaces: it must belong to the newest answered turn, or one after.

        ``turn`` is the turn that the channel's value claims to belong to, None when the channel is empty.
        """
        turns = list(self.turns_in(values))
        answered = [turns.index(turn) for turn in self.answers_in(values)]
        if turn is None:
            return [f"{channel}: nothing, though turn {turns[max(answered)]} is answered"] if answered else []
        if turn not in turns:
            return [f"{channel}: belongs to turn {turn}, which the state does not hold"]
        if answered and turns.index(turn) < max(answered):
            return [f"{channel}: belongs to turn {turn}, though turn {turns[max(answered)]} is answered"]
        return []


def _mixed_answers(values: Mapping[str, Any]) -> list[str]:
    problems, last = [], None
    for message in values.get("messages") or ():
        if isinstance(message, HumanMessage):
            last = message.id
        elif isinstance(message, AIMessage) and (claimed := message.response_metadata.get("turn")) != last:
            problems.append(f"turn {last} is answered with the answer to {claimed}")
    return problems
