"""A user's own graph as an agent under test.

Taken as it stands: a subclass of AgentUnderTest, any class with ``name`` and ``graph``, a graph (compiled or not), or
a function without arguments that builds one. Refused, before anything starts: a graph that cannot be driven or judged.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from langgraph.channels.delta import DeltaChannel
from langgraph.graph import StateGraph
from langgraph.graph.state import CompiledStateGraph

from harness.core.agent import AgentUnderTest
from harness.core.errors import UsageError, kind_of

#: What a graph without a ``messages`` channel must write itself.
_OWN_STATE = ("turn_input", "turns_in", "answers_in")


def agent_from(value: object, name: str, where: str) -> AgentUnderTest:
    """An agent made from what ``name`` stands for at ``where``; raises UsageError if it cannot be one."""
    cls = _agent_class(value, name, where)
    if not isinstance(getattr(cls, "name", None), str) or not cls.name.isidentifier():
        raise UsageError(f"{where}: {cls.__name__} has no name; write name = ... with letters, digits and _")
    missing = sorted(cls.__abstractmethods__)
    if missing:
        raise UsageError(f"{where}: {cls.__name__} lacks the method {', '.join(missing)}")
    try:
        agent = cls()
    except TypeError as error:
        raise UsageError(f"{where}: {cls.__name__} must be made without arguments ({error})") from error
    _check_graph(agent, where)
    return agent


def _agent_class(value: object, name: str, where: str) -> type[AgentUnderTest]:
    if isinstance(value, StateGraph | CompiledStateGraph):
        return _around(lambda: value, name)
    if isinstance(value, type):
        if issubclass(value, AgentUnderTest):
            return value
        lacking = [attribute for attribute in ("name", "graph") if not hasattr(value, attribute)]
        if lacking:
            raise UsageError(f"{where}: class {value.__name__} lacks {' and '.join(lacking)}")
        try:
            return type(value.__name__, (value, AgentUnderTest), {"__module__": value.__module__})
        except TypeError as error:
            raise UsageError(f"{where}: class {value.__name__} cannot be an agent: {error}") from error
    if callable(value) and not inspect.iscoroutinefunction(value):
        try:
            inspect.signature(value).bind()
        except (TypeError, ValueError) as error:
            raise UsageError(f"{where}: {name} must build the graph without arguments ({error})") from error
        return _around(value, name)
    kind = "an async function" if callable(value) else kind_of(value)
    raise UsageError(
        f"{where}: {name} is {kind}; allowed: a graph, a function that builds one, or a class with name and graph"
    )


def _around(build: Callable[[], Any], name: str) -> type[AgentUnderTest]:
    class GraphAgent(AgentUnderTest):
        """A bare graph over a ``messages`` channel."""

        def graph(self) -> StateGraph[Any, Any, Any, Any] | CompiledStateGraph[Any, Any, Any, Any]:
            built: StateGraph[Any, Any, Any, Any] = build()
            return built

    GraphAgent.name = name
    GraphAgent.__name__ = name
    return GraphAgent


def _check_graph(agent: AgentUnderTest, where: str) -> None:
    try:
        graph = agent.graph()
        if not isinstance(graph, StateGraph | CompiledStateGraph):
            raise TypeError(f"it is a {type(graph).__name__}, not a StateGraph or a compiled one")
        compiled = graph if isinstance(graph, CompiledStateGraph) else graph.compile()
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise UsageError(
            f"{where}: the graph of {agent.name} cannot be built: {type(error).__name__}: {text}"
        ) from error
    parts = [("", compiled), *((f" in subgraph {name}", sub) for name, sub in compiled.get_subgraphs(recurse=True))]
    for part, pregel in parts:
        for channel, kind in getattr(pregel, "channels", {}).items():
            if isinstance(kind, DeltaChannel):
                raise UsageError(
                    f"{where}: the graph of {agent.name} has a DeltaChannel, {channel!r}{part}: a checkpoint then "
                    "holds only changes, so that no single row can prove what was stored; use an ordinary reducer"
                )
    inherited = [n for n in _OWN_STATE if getattr(type(agent), n) is getattr(AgentUnderTest, n)]
    if "messages" not in compiled.channels and inherited:
        raise UsageError(
            f"{where}: the graph of {agent.name} has no 'messages' channel: it must write {', '.join(inherited)} itself"
        )
