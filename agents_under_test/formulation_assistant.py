"""Formulation: a recipe is refined until it is good enough, and its author likes to go back.

Its database habits are a loop, two or three saves of the same channel in a turn, and time travel: users take a turn
back with ``update_state``, which copies an old checkpoint to the top, so threads of this agent have siblings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypedDict

from langgraph.graph import START, StateGraph

from .base import BaseAgent, ChatState, think, turn_in
from .scripted_model import draw, question_in


class _Formula(TypedDict):
    turn: str
    round: int  # refinements so far


class _State(ChatState):
    formula: _Formula


class FormulationAssistant(BaseAgent):
    """propose -> refine, two or three times -> recommend, which answers."""

    name: ClassVar[str] = "FormulationAssistant"

    def graph(self) -> StateGraph[Any, Any, Any, Any]:
        builder = StateGraph(_State)
        builder.add_node("propose", _propose)
        builder.add_node("refine", _refine)
        builder.add_node("recommend", _recommend)
        builder.add_edge(START, "propose")
        builder.add_edge("propose", "refine")
        builder.add_conditional_edges("refine", _good_enough, ["refine", "recommend"])
        return builder

    def nodes_of(self, turn_id: str) -> Sequence[str]:
        return ("propose", *(f"refine_{number}" for number in range(1, _rounds(turn_id) + 1)), "recommend")

    def problems_in(self, values: Mapping[str, Any]) -> Sequence[str]:
        formula: Mapping[str, Any] = values.get("formula") or {}
        turn = formula.get("turn")
        problems = [*super().problems_in(values), *self.misplaced(values, "formula", turn)]
        if turn is None:
            return problems
        done, due = formula["round"], _rounds(turn)
        if done > due or (done < due and turn in self.answers_in(values)):
            problems.append(f"formula: refined {done} times, but turn {turn} takes {due}")
        return problems


async def _propose(state: _State) -> dict[str, Any]:
    turn = turn_in(state)
    await think("propose", question_in(state["messages"]))
    return {"formula": _Formula(turn=turn, round=0), "effects": [f"{turn}/propose"]}


async def _refine(state: _State) -> dict[str, Any]:
    turn, number = turn_in(state), state["formula"]["round"] + 1
    await think(f"refine_{number}", question_in(state["messages"]))
    return {"formula": _Formula(turn=turn, round=number), "effects": [f"{turn}/refine_{number}"]}


def _good_enough(state: _State) -> str:
    return "recommend" if state["formula"]["round"] >= _rounds(turn_in(state)) else "refine"


async def _recommend(state: _State) -> dict[str, Any]:
    return {
        "messages": [await think("recommend", question_in(state["messages"]))],
        "effects": [f"{turn_in(state)}/recommend"],
    }


def _rounds(turn_id: str) -> int:
    return 2 + draw(turn_id, "rounds", 2)
