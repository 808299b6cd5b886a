"""Graphs compiled ahead of their use: a slot makes them once, and each cell, forked from it, finds its own unused.

Making the graphs of the five agents takes a replica group some 30 ms, which every cell would pay twice. What is taken
from a stock was never run: the slot's process only compiles it, and a forked process takes from its own copy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

from harness.core.agent import AgentUnderTest
from harness.driving.replica import Made, compiled


class Stock:
    """Agents with their graphs, by the agent's name; an empty stock compiles whatever is asked for."""

    def __init__(self) -> None:
        self._made: defaultdict[str, list[Made]] = defaultdict(list)

    def add(self, agent: AgentUnderTest) -> None:
        """Compile the graph of ``agent``, a fresh instance that nobody else uses."""
        self._made[agent.name].append((agent, compiled(agent)))

    def take(self, agents: Mapping[str, Callable[[], AgentUnderTest]]) -> Iterator[Made]:
        """One of each agent, never the same twice. ``agents`` makes by its name what is not there any more; whatever
        that raises comes out of the iterator.
        """
        for name, make in agents.items():
            if self._made[name]:
                yield self._made[name].pop()
            else:
                agent = make()
                yield agent, compiled(agent)
