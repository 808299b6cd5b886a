"""Trial analysis: the arms of a trial are analysed side by side, then reduced to one answer.

Its database habit is width: eight tasks of one step save their writes at the same moment, so a fault can let some of
them through and not the others, and what was half done has to be completed without counting an arm twice.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, TypedDict

from langchain_core.messages import HumanMessage
from langgraph.graph import START, StateGraph
from langgraph.types import Send

from .base import BaseAgent, ChatState, think, turn_in
from .scripted_model import draw, question_in

ARMS = tuple(f"arm_{number}" for number in range(8))


class _State(ChatState):
    results: Annotated[list[dict[str, str | int]], operator.add]  # "turn", "arm", "effect_size"


class _Arm(TypedDict):
    question: HumanMessage
    arm: str


class TrialAnalysisAgent(BaseAgent):
    """design_study -> analyse_arm, eight at once -> reduce, which answers."""

    name: ClassVar[str] = "TrialAnalysisAgent"

    def graph(self) -> StateGraph[Any, Any, Any, Any]:
        builder = StateGraph(_State)
        builder.add_node("design_study", _design_study)
        builder.add_node("analyse_arm", _analyse_arm, input_schema=_Arm)
        builder.add_node("reduce", _reduce)
        builder.add_edge(START, "design_study")
        builder.add_conditional_edges("design_study", _fan_out, ["analyse_arm"])
        builder.add_edge("analyse_arm", "reduce")
        return builder

    def nodes_of(self, turn_id: str) -> Sequence[str]:
        return ("design_study", *ARMS, "reduce")

    def problems_in(self, values: Mapping[str, Any]) -> Sequence[str]:
        problems = list(super().problems_in(values))
        turns, results = self.turns_in(values), values.get("results") or ()
        found: Counter[tuple[str, str]] = Counter()
        for result in results:
            turn, arm = str(result["turn"]), str(result["arm"])
            found[turn, arm] += 1
            if turn not in turns:
                problems.append(f"results: {arm} of turn {turn}, which the state does not hold")
            if result["effect_size"] != _effect_size(turn, arm):
                problems.append(f"results: {arm} of turn {turn} has an effect size that this turn cannot give")
        for turn in dict.fromkeys(self.answers_in(values)):
            if wrong := [f"{found[turn, arm]} of {arm}" for arm in ARMS if found[turn, arm] != 1]:
                problems.append(f"turn {turn} is answered with {', '.join(wrong)} instead of one each")
        return problems


async def _design_study(state: _State) -> dict[str, Any]:
    await think("design_study", question_in(state["messages"]))
    return {"effects": [f"{turn_in(state)}/design_study"]}


def _fan_out(state: _State) -> list[Send]:
    question = question_in(state["messages"])
    return [Send("analyse_arm", _Arm(question=question, arm=arm)) for arm in ARMS]


async def _analyse_arm(state: _Arm) -> dict[str, Any]:
    question, arm = state["question"], state["arm"]
    await think(arm, question)
    turn = str(question.id)
    return {
        "results": [{"turn": turn, "arm": arm, "effect_size": _effect_size(turn, arm)}],
        "effects": [f"{turn}/{arm}"],
    }


async def _reduce(state: _State) -> dict[str, Any]:
    return {
        "messages": [await think("reduce", question_in(state["messages"]))],
        "effects": [f"{turn_in(state)}/reduce"],
    }


def _effect_size(turn_id: str, arm: str) -> int:
    return draw(turn_id, f"{arm}|effect_size", 1000)
