"""What a LangGraph graph needs to be driven and judged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

if TYPE_CHECKING:
    from langgraph.graph import StateGraph
    from langgraph.graph.state import CompiledStateGraph


@dataclass(frozen=True, slots=True)
class Turn:
    """One user request. ``id`` names its thread: ``<thread>/t<number>``; every attempt of the turn has the same id."""

    id: str
    thread_id: str
    text: str


class AgentUnderTest(ABC):
    """A graph and how to read its state. A graph over a ``messages`` channel needs only ``name`` and ``graph``."""

    name: ClassVar[str]

    @abstractmethod
    def graph(self) -> StateGraph[Any, Any, Any, Any] | CompiledStateGraph[Any, Any, Any, Any]:
        """The graph, with sync or async nodes. A compiled one is compiled again from its ``builder``."""

    def turn_input(self, turn: Turn) -> Any:
        """The input for a turn; by default a HumanMessage whose id is the turn's."""
        return {"messages": [HumanMessage(content=turn.text, id=turn.id)]}

    def resume_input(self, turn: Turn) -> Any:
        """What answers an interrupt of this turn; by default the turn's id."""
        return turn.id

    def turns_in(self, values: Mapping[str, Any]) -> Sequence[str]:
        """The turn ids that this state holds, in order."""
        return [str(m.id) for m in _messages(values) if isinstance(m, HumanMessage)]

    def answers_in(self, values: Mapping[str, Any]) -> Sequence[str]:
        """The ids of the turns that were answered, in order; a turn answered twice stands twice.

        By default each AIMessage without tool calls answers the last human message before it. ``add_messages`` merges
        equal ids, so a turn that was sent twice shows only as a second answer.
        """
        answers: list[str] = []
        last: str | None = None
        for message in _messages(values):
            if isinstance(message, HumanMessage):
                last = str(message.id)
            elif isinstance(message, AIMessage) and not message.tool_calls and last is not None:
                answers.append(last)
        return answers

    def effects_in(self, values: Mapping[str, Any]) -> Sequence[str]:
        """Entries ``<turn>/<node>`` (turn ids hold a slash themselves: split at the last) of an append-only
        ``effects`` channel.
        """
        effects = values.get("effects") or ()
        return [str(entry) for entry in effects]

    def problems_in(self, values: Mapping[str, Any]) -> Sequence[str]:
        """Torn or mixed state, in words; empty when the state is whole."""
        return ()


def _messages(values: Mapping[str, Any]) -> Sequence[BaseMessage]:
    messages: Sequence[BaseMessage] = values.get("messages") or ()
    return messages
