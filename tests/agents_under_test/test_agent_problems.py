"""``problems_in`` sees torn and mixed state: real sound states, damaged by hand one thing at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver

from agents_under_test.base import BaseAgent
from agents_under_test.formulation_assistant import FormulationAssistant
from agents_under_test.project_bodhi_agent import ProjectBodhiAgent
from agents_under_test.supervisor_agent import SupervisorAgent
from agents_under_test.three_dp_custom_agent import ThreeDPCustomAgent
from agents_under_test.trial_analysis_agent import TrialAnalysisAgent
from tests.agents_under_test.agents_driving import AGENTS, assert_whole, compiled, stored, take, turns_of

pytestmark = pytest.mark.slow

Values = dict[str, Any]
Damage = Callable[[Values], object]


async def _sound(agent: BaseAgent) -> Values:
    """The state after two turns, t0 and t1."""
    saver, turns = InMemorySaver(), turns_of(agent, "x", 2)
    for turn in turns:
        await take(compiled(agent, saver), agent, turn)
    values = await stored(saver, turns[0])
    assert_whole(agent, values, turns)
    return copy.deepcopy(values)


def _turn(agent: type[BaseAgent], number: int, user: str = "u0.x") -> str:
    return f"{agent.name}.{user}/t{number}"


@pytest.mark.parametrize("agent_class", AGENTS)
async def test_effects_answers_and_threads_that_do_not_fit(agent_class: type[BaseAgent]) -> None:
    agent = agent_class()
    sound = await _sound(agent)
    first, foreign = _turn(agent_class, 0), _turn(agent_class, 0, "u7.x")
    node = agent.nodes_of(first)[0]

    def drop_effect(values: Values) -> None:
        values["effects"].remove(f"{first}/{node}")

    def mix_answers(values: Values) -> None:
        answers = [message for message in values["messages"] if isinstance(message, AIMessage)]
        answers[0].response_metadata, answers[1].response_metadata = (
            answers[1].response_metadata,
            answers[0].response_metadata,
        )

    damages: list[tuple[Damage, str]] = [
        (drop_effect, f"turn {first} is answered without the effects of {node}"),
        (lambda v: v["effects"].append(f"{first}/elsewhere"), f"turn {first} has effects that it cannot have"),
        (lambda v: v["effects"].append(f"{foreign}/{node}"), f"effects of turn {foreign}, which the state does not"),
        (lambda v: v["messages"].append(HumanMessage("hello", id=foreign)), "turns of several threads"),
        (mix_answers, f"turn {first} is answered with the answer to {_turn(agent_class, 1)}"),
    ]
    for damage, complaint in damages:
        values = copy.deepcopy(sound)
        damage(values)
        assert any(complaint in problem for problem in agent.problems_in(values)), complaint


@pytest.mark.parametrize("agent_class", AGENTS)
async def test_an_empty_state_and_a_turn_without_any_answer_are_no_problem(agent_class: type[BaseAgent]) -> None:
    agent = agent_class()
    assert list(agent.problems_in({})) == []
    values = await _sound(agent)
    values["messages"].append(HumanMessage("still open", id=_turn(agent_class, 2)))
    assert list(agent.problems_in(values)) == []
    assert list(agent.problems_in({"messages": [HumanMessage("still open", id=_turn(agent_class, 0))]})) == []


async def _complaints(agent: BaseAgent, damage: Damage) -> str:
    values = await _sound(agent)
    damage(values)
    return "\n".join(agent.problems_in(values))


_T0, _T1, _T9 = (_turn(SupervisorAgent, number) for number in (0, 1, 9))


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda v: v.pop("findings"), f"findings: nothing, though turn {_T1} is answered"),
        (lambda v: v["findings"].update(turn=_T0), f"findings: belongs to turn {_T0}, though turn {_T1} is answered"),
        (lambda v: v["findings"].update(turn=_T9), f"findings: belongs to turn {_T9}, which the state does not hold"),
        (lambda v: v["findings"].pop("chart_agent"), f"findings: turn {_T1} is answered without those of chart_agent"),
    ],
)
async def test_supervisor_findings(damage: Damage, complaint: str) -> None:
    assert complaint in await _complaints(SupervisorAgent(), damage)


_M0, _M1, _M9 = (_turn(ThreeDPCustomAgent, number) for number in (0, 1, 9))


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda v: v.update(mesh=v["mesh"][:-1] + bytes([v["mesh"][-1] ^ 1])), "mesh: its checksum is"),
        (lambda v: v.update(mesh=v["mesh"][:-1]), "mesh: 1048575 bytes, not 1048576"),
        (lambda v: v.pop("mesh"), "mesh: 0 bytes"),
        (lambda v: v.pop("mesh_info"), f"mesh: nothing, though turn {_M1} is answered"),
        (lambda v: v["mesh_info"].update(turn=_M9), f"mesh: belongs to turn {_M9}, which the state does not hold"),
        (lambda v: v["mesh_info"].update(turn=_M0), f"mesh: not the one that turn {_M0} makes"),
    ],
)
async def test_three_dp_meshes(damage: Damage, complaint: str) -> None:
    assert complaint in await _complaints(ThreeDPCustomAgent(), damage)


_B0, _B9 = (_turn(ProjectBodhiAgent, number) for number in (0, 9))


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda v: v["approvals"].pop(0), f"turn {_B0} is answered without approve_scope"),
        (lambda v: v["approvals"][0].update(value=_B9), f"approve_scope of turn {_B0} was answered with '{_B9}'"),
        (lambda v: v["approvals"][0].update(turn=_B9), f"approve_scope of turn {_B9}, which the state does not hold"),
    ],
)
async def test_bodhi_approvals(damage: Damage, complaint: str) -> None:
    assert complaint in await _complaints(ProjectBodhiAgent(), damage)


_A0, _A9 = (_turn(TrialAnalysisAgent, number) for number in (0, 9))


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda v: v["results"].pop(3), f"turn {_A0} is answered with 0 of arm_3 instead of one each"),
        (lambda v: v["results"].append(v["results"][3]), f"turn {_A0} is answered with 2 of arm_3 instead of one each"),
        (lambda v: v["results"][3].update(turn=_A9), f"results: arm_3 of turn {_A9}, which the state does not hold"),
        (lambda v: v["results"][3].update(effect_size=-1), f"arm_3 of turn {_A0} has an effect size that this turn"),
    ],
)
async def test_trial_results(damage: Damage, complaint: str) -> None:
    assert complaint in await _complaints(TrialAnalysisAgent(), damage)


_F0, _F1 = (_turn(FormulationAssistant, number) for number in (0, 1))


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda v: v["formula"].update(round=1), f"formula: refined 1 times, but turn {_F1} takes"),
        (lambda v: v["formula"].update(round=7), f"formula: refined 7 times, but turn {_F1} takes"),
        (lambda v: v["formula"].update(turn=_F0), f"formula: belongs to turn {_F0}, though turn {_F1} is answered"),
        (lambda v: v.pop("formula"), f"formula: nothing, though turn {_F1} is answered"),
    ],
)
async def test_formulas(damage: Damage, complaint: str) -> None:
    assert complaint in await _complaints(FormulationAssistant(), damage)


async def test_a_resume_that_answers_another_turns_gate_is_seen_in_the_state() -> None:
    class Careless(ProjectBodhiAgent):
        def resume_input(self, turn: Any) -> str:
            return "of another turn"

    agent, saver = Careless(), InMemorySaver()
    turn = turns_of(agent, "careless", 1)[0]
    await take(compiled(agent, saver), agent, turn)
    problems = agent.problems_in(await stored(saver, turn))
    assert [problem for problem in problems if "was answered with 'of another turn'" in problem] == list(problems)
    assert len(problems) == 2
