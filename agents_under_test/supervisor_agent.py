"""Analytics: a supervisor hands each question through four sub-agents, every one a graph of its own.

Its database habit is nesting: the sub-agent that reads the data saves each step under a namespace of its own, so a
fault can fall between a sub-agent's save and its parent's. The others would save only if they were interrupted: with
four that save each step a turn makes 36 saver calls, one after the other. The supervisor is the routing between the
sub-agents, not a node: it decides from the state alone, and costs no save of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypedDict

from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import END, START, StateGraph
from langgraph.types import Durability

from .base import BaseAgent, ChatState, Node, think, turn_in
from .scripted_model import question_in

#: In the order in which the supervisor asks them: three hops from one to another. The last one writes the answer.
SUB_AGENTS = ("data_agent", "stats_agent", "chart_agent", "report_agent")
#: The one that saves each step; ``exit`` makes a sub-graph keep nothing of a run that went well.
SAVING = "data_agent"


class _State(ChatState):
    findings: dict[str, str]  # "turn": whose findings these are; every other key a sub-agent, and what it found


class _Task(TypedDict):
    question: HumanMessage


class _SubState(_Task):
    finding: AIMessage


class SupervisorAgent(BaseAgent):
    """data_agent -> stats_agent -> chart_agent -> report_agent."""

    name: ClassVar[str] = "SupervisorAgent"

    def graph(self) -> StateGraph[Any, Any, Any, Any]:
        builder = StateGraph(_State)
        for sub_agent in SUB_AGENTS:
            builder.add_node(sub_agent, _delegate(sub_agent))
            builder.add_conditional_edges(sub_agent, _supervise, [*SUB_AGENTS[1:], END])
        builder.add_edge(START, SUB_AGENTS[0])
        return builder

    def nodes_of(self, turn_id: str) -> Sequence[str]:
        return SUB_AGENTS

    def problems_in(self, values: Mapping[str, Any]) -> Sequence[str]:
        findings: Mapping[str, str] = values.get("findings") or {}
        turn = findings.get("turn")
        problems = [*super().problems_in(values), *self.misplaced(values, "findings", turn)]
        if turn in self.answers_in(values) and (missing := [name for name in SUB_AGENTS if name not in findings]):
            problems.append(f"findings: turn {turn} is answered without those of {', '.join(missing)}")
        return problems


def _supervise(state: _State) -> str:
    """The next sub-agent that has not reported on this turn yet."""
    return next((name for name in SUB_AGENTS if name not in state["findings"]), END)


def _delegate(sub_agent: str) -> Node[_State]:
    """The node that asks ``sub_agent``; the first one opens the turn's findings afresh, whatever a half turn left."""

    async def work(state: _Task) -> dict[str, AIMessage]:
        return {"finding": await think(sub_agent, state["question"])}

    team_member = StateGraph(_SubState, input_schema=_Task).add_node("work", work).add_edge(START, "work").compile()
    durability: Durability | None = None if sub_agent == SAVING else "exit"  # None: as the parent's

    async def delegate(state: _State) -> dict[str, Any]:
        turn = turn_in(state)
        task = _Task(question=question_in(state["messages"]))
        finding: AIMessage = (await team_member.ainvoke(task, durability=durability))["finding"]
        known = {"turn": turn} if sub_agent == SUB_AGENTS[0] else state["findings"]
        update: dict[str, Any] = {
            "findings": {**known, sub_agent: str(finding.content)},
            "effects": [f"{turn}/{sub_agent}"],
        }
        return update | {"messages": [finding]} if sub_agent == SUB_AGENTS[-1] else update

    return delegate
