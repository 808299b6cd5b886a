"""Project management: a plan that a human approves twice, first its scope, then its budget.

Its database habit is waiting: a turn is three calls with two interrupts between them, so what was asked and what was
answered live in pending writes, and the replica that resumes is rarely the one that asked.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

from .base import BaseAgent, ChatState, Node, think, turn_in
from .scripted_model import question_in

#: The two gates, in order; each waits for a human.
GATES = ("approve_scope", "approve_budget")


class _State(ChatState):
    approvals: Annotated[list[dict[str, str]], operator.add]  # "turn" and "gate" that asked; "value" that was answered


class ProjectBodhiAgent(BaseAgent):
    """draft_plan -> approve_scope (waits) -> approve_budget (waits) -> publish, which answers.

    A gate is answered with the id of its turn. Any other value is kept as it came, for ``problems_in`` to report: it
    means that one turn's resume has answered another turn's question.
    """

    name: ClassVar[str] = "ProjectBodhiAgent"

    def graph(self) -> StateGraph[Any, Any, Any, Any]:
        builder = StateGraph(_State)
        gates = [(gate, _approval(gate)) for gate in GATES]
        builder.add_sequence([("draft_plan", _draft_plan), *gates, ("publish", _publish)])
        builder.add_edge(START, "draft_plan")
        return builder

    def nodes_of(self, turn_id: str) -> Sequence[str]:
        return ("draft_plan", *GATES, "publish")

    def problems_in(self, values: Mapping[str, Any]) -> Sequence[str]:
        problems = list(super().problems_in(values))
        turns, approvals = self.turns_in(values), values.get("approvals") or ()
        for approval in approvals:
            turn, gate, value = approval["turn"], approval["gate"], approval["value"]
            if turn not in turns:
                problems.append(f"approvals: {gate} of turn {turn}, which the state does not hold")
            if value != turn:
                problems.append(f"approvals: {gate} of turn {turn} was answered with {value!r}")
        for turn in dict.fromkeys(self.answers_in(values)):
            open_gates = set(GATES) - {approval["gate"] for approval in approvals if approval["turn"] == turn}
            if open_gates:
                problems.append(f"turn {turn} is answered without {', '.join(sorted(open_gates))}")
        return problems


async def _draft_plan(state: _State) -> dict[str, Any]:
    await think("draft_plan", question_in(state["messages"]))
    return {"effects": [f"{turn_in(state)}/draft_plan"]}


def _approval(gate: str) -> Node[_State]:
    async def approve(state: _State) -> dict[str, Any]:
        # What stands before interrupt() runs again at the resume, so nothing that takes time or counts stands there.
        turn = turn_in(state)
        value = interrupt({"turn": turn, "gate": gate})
        await think(gate, question_in(state["messages"]))
        return {
            "approvals": [{"turn": turn, "gate": gate, "value": str(value)}],
            "effects": [f"{turn}/{gate}"],
        }

    return approve


async def _publish(state: _State) -> dict[str, Any]:
    return {
        "messages": [await think("publish", question_in(state["messages"]))],
        "effects": [f"{turn_in(state)}/publish"],
    }
