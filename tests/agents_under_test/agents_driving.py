"""What the tests of the agents share: the five agents, a saver that fails when it is told to, and ways to drive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command
from psycopg import AsyncConnection
from psycopg.rows import DictRow
from psycopg_pool import AsyncConnectionPool

from agents_under_test.base import BaseAgent
from agents_under_test.formulation_assistant import FormulationAssistant
from agents_under_test.project_bodhi_agent import ProjectBodhiAgent
from agents_under_test.supervisor_agent import SupervisorAgent
from agents_under_test.three_dp_custom_agent import ThreeDPCustomAgent
from agents_under_test.trial_analysis_agent import TrialAnalysisAgent
from harness.core.agent import Turn

AGENTS: tuple[type[BaseAgent], ...] = (
    SupervisorAgent,
    ThreeDPCustomAgent,
    ProjectBodhiAgent,
    TrialAnalysisAgent,
    FormulationAssistant,
)

Pool = AsyncConnectionPool[AsyncConnection[DictRow]]
Graph = CompiledStateGraph[Any, Any, Any, Any]
Values = dict[str, Any]

#: A checkpoint id that names none: what is pinned to it starts from nothing.
NOTHING = "00000000-0000-6000-8000-000000000000"


class SaverFailed(Exception):
    """What FailingSaver raises."""


class FailingSaver(AsyncPostgresSaver):
    """Counts its calls, and fails at call number ``at`` of ``method``, before or after the database has it."""

    def __init__(self, pool: Pool, method: str = "", at: int = 0, *, landed: bool = False) -> None:
        super().__init__(pool)
        self.calls: Counter[str] = Counter()
        self._fails = (method, at)
        self._landed = landed

    def _call(self, method: str) -> bool:
        self.calls[method] += 1
        failing = (method, self.calls[method]) == self._fails
        if failing and not self._landed:
            raise SaverFailed(f"{method} number {self.calls[method]}: lost")
        return failing

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        failing = self._call("aput")
        saved = await super().aput(config, checkpoint, metadata, new_versions)
        if failing:
            raise SaverFailed("aput: landed, but its answer is lost")
        return saved

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        failing = self._call("aput_writes")
        await super().aput_writes(config, writes, task_id, task_path)
        if failing:
            raise SaverFailed("aput_writes: landed, but its answer is lost")

    async def aget_tuple(self, config: RunnableConfig) -> Any:
        self._call("aget_tuple")
        return await super().aget_tuple(config)


def turns_of(agent: BaseAgent, conversation: str, count: int) -> list[Turn]:
    """The first ``count`` turns of a thread of this agent."""
    thread = f"{agent.name}.u0.{conversation}"
    return [Turn(f"{thread}/t{number}", thread, f"question {number}") for number in range(count)]


def turns_like(agent: BaseAgent, conversation: str, turns: Sequence[Turn]) -> list[Turn]:
    """Turns of another thread that take as many nodes as ``turns`` do, one more appended: how often Formulation
    refines depends on the turn's id.
    """
    sizes = [len(agent.nodes_of(turn.id)) for turn in turns]
    for suffix in range(1000):
        found = turns_of(agent, f"{conversation}.{suffix}", len(turns) + 1)
        if [len(agent.nodes_of(turn.id)) for turn in found[:-1]] == sizes:
            return found
    raise AssertionError(f"no thread of 1000 has turns of {sizes} nodes")


def config_of(turn: Turn, checkpoint_id: str | None = None) -> RunnableConfig:
    pinned = {} if checkpoint_id is None else {"checkpoint_id": checkpoint_id}
    return {"configurable": {"thread_id": turn.thread_id, "checkpoint_ns": "", **pinned}}


def compiled(agent: BaseAgent, saver: BaseCheckpointSaver[Any]) -> Graph:
    graph = agent.graph()
    assert not isinstance(graph, CompiledStateGraph)
    return graph.compile(checkpointer=saver)


async def answer_interrupts(graph: Graph, agent: BaseAgent, turn: Turn, out: Values, durability: Any) -> Values:
    """Resume, by the interrupt's id, until none is left."""
    while waiting := out.get("__interrupt__"):
        resume: Command[Any] = Command(resume={waiting[0].id: agent.resume_input(turn)})
        out = await graph.ainvoke(resume, config_of(turn), durability=durability)
    return out


async def take(graph: Graph, agent: BaseAgent, turn: Turn, durability: Any = "async") -> Values:
    """One turn from its input to its answer."""
    out = await graph.ainvoke(agent.turn_input(turn), config_of(turn), durability=durability)
    return await answer_interrupts(graph, agent, turn, out, durability)


async def finish(graph: Graph, agent: BaseAgent, turn: Turn, durability: Any = "async") -> Values:
    """Bring the turn to its end, whatever a failed attempt left: what a strategy's retry does."""
    assert isinstance(graph.checkpointer, BaseCheckpointSaver)
    seen = await graph.checkpointer.aget_tuple(config_of(turn))
    if seen is not None and turn.id in agent.turns_in(seen.checkpoint["channel_values"]):
        out = await graph.ainvoke(None, config_of(turn), durability=durability)
    else:
        base = NOTHING if seen is None else str(seen.config["configurable"]["checkpoint_id"])
        out = await graph.ainvoke(agent.turn_input(turn), config_of(turn, base), durability=durability)
    return await answer_interrupts(graph, agent, turn, out, durability)


async def stored(saver: BaseCheckpointSaver[Any], turn: Turn) -> Values:
    """The channel values of the thread's newest checkpoint; empty when it has none."""
    seen = await saver.aget_tuple(config_of(turn))
    return {} if seen is None else dict(seen.checkpoint["channel_values"])


def assert_whole(agent: BaseAgent, values: Mapping[str, Any], turns: Sequence[Turn]) -> None:
    """Every turn stands once and in order, is answered once, and has each effect once; and no problem is seen."""
    ids = [turn.id for turn in turns]
    assert list(agent.turns_in(values)) == ids
    assert list(agent.answers_in(values)) == ids
    effects = list(agent.effects_in(values))
    assert sorted(effects) == sorted(f"{turn}/{node}" for turn in ids for node in agent.nodes_of(turn))
    assert list(agent.problems_in(values)) == []
