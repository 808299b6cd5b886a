"""One living replica of an agent: its graph, compiled with the saver that the strategy gave it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from harness.core.agent import AgentUnderTest
from harness.core.errors import UsageError
from harness.driving.recorder import Recorder
from harness.driving.saver import queued_calls, recording

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph import StateGraph
    from langgraph.graph.state import CompiledStateGraph

#: An instance of an agent and its graph, compiled and never run.
Made: TypeAlias = "tuple[AgentUnderTest, CompiledStateGraph[Any, Any, Any, Any]]"


class Replica:
    """Implements ``core.pool.AgentHandle``. ``agent`` is this replica's own instance of the agent's class, and so is
    ``graph``, which is compiled here unless it was before.
    """

    def __init__(
        self,
        agent: AgentUnderTest,
        group: str,
        recorder: Recorder,
        graph: CompiledStateGraph[Any, Any, Any, Any] | None = None,
    ) -> None:
        self.agent = agent
        self.group = group
        self._recorder = recorder
        self._graph: CompiledStateGraph[Any, Any, Any, Any] = compiled(agent) if graph is None else graph

    @property
    def name(self) -> str:
        """The agent's name."""
        return self.agent.name

    @property
    def replica(self) -> str:
        """``group/agent``."""
        return f"{self.group}/{self.agent.name}"

    @property
    def graph(self) -> CompiledStateGraph[Any, Any, Any, Any]:
        """The compiled graph; its checkpointer is whatever was assigned last."""
        return self._graph

    @property
    def checkpointer(self) -> BaseCheckpointSaver[Any]:
        """The recording saver that the graph has now."""
        saver: Any = self._graph.checkpointer
        if saver is None or isinstance(saver, bool):
            raise RuntimeError(f"{self.replica} has no saver: the strategy gave {saver!r}")
        found: BaseCheckpointSaver[Any] = saver
        return found

    @checkpointer.setter
    def checkpointer(self, saver: BaseCheckpointSaver[Any]) -> None:
        self._graph.checkpointer = recording(saver, self._recorder, self.replica)

    @property
    def queued(self) -> int:
        """Saver calls that wait behind another one of this replica's saver."""
        return 0 if self._graph.checkpointer is None else queued_calls(self.checkpointer)


def compiled(agent: AgentUnderTest) -> CompiledStateGraph[Any, Any, Any, Any]:
    """The agent's graph, compiled, without a checkpointer yet. Raises UsageError."""
    graph: CompiledStateGraph[Any, Any, Any, Any] = builder_of(agent).compile()
    return graph


def builder_of(agent: AgentUnderTest) -> StateGraph[Any, Any, Any, Any]:
    """The agent's graph as a builder: a compiled graph is taken apart so that it can be compiled with our saver."""
    graph: Any = agent.graph()
    builder = getattr(graph, "builder", graph)
    if not hasattr(builder, "compile"):
        raise UsageError(f"agent {agent.name}: graph() gave {graph!r}; allowed: a StateGraph or a compiled one")
    found: StateGraph[Any, Any, Any, Any] = builder
    return found
