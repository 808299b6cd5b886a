"""What was made ahead is given out once, and only where it was asked for; the rest is made when it is wanted."""

from __future__ import annotations

from typing import Any

import pytest

from harness.driving.database import GroupDatabase
from harness.driving.group import Group, StrategyBroken
from harness.driving.replica import Replica
from harness.driving.stock import Stock
from harness.pools.self_healing import SelfHealing
from tests.driving.rows import recorder
from tests.driving.small_agent import SmallAgent


class Other(SmallAgent):
    name = "Other"


class Unmakeable(SmallAgent):
    name = "Unmakeable"

    def graph(self) -> Any:
        raise ValueError("no such model")


def test_what_was_made_ahead_is_taken_once_and_then_made_afresh() -> None:
    stock, first, second = Stock(), SmallAgent(), SmallAgent()
    stock.add(first)
    stock.add(second)
    taken = [next(stock.take({"SmallAgent": SmallAgent})) for _ in range(3)]
    assert {id(agent) for agent, _ in taken[:2]} == {id(first), id(second)}
    assert taken[2][0] not in (first, second)
    assert len({id(graph) for _, graph in taken}) == 3, "two replicas would share a graph"


def test_only_what_is_asked_for_is_given_in_the_order_asked() -> None:
    stock, ours = Stock(), SmallAgent()
    stock.add(ours)
    (other, _), (small, _) = stock.take({"Other": Other, "SmallAgent": SmallAgent})
    assert isinstance(other, Other)
    assert small is ours


def test_a_replica_runs_on_the_graph_that_came_with_its_agent() -> None:
    stock = Stock()
    stock.add(SmallAgent())
    ((agent, graph),) = stock.take({"SmallAgent": SmallAgent})
    record, _ = recorder()
    assert Replica(agent, "g0", record, graph).graph is graph
    assert Replica(agent, "g0", record).graph is not graph


def test_an_agent_that_cannot_be_made_breaks_the_group_in_words() -> None:
    record, _ = recorder()
    database = GroupDatabase("host=127.0.0.1", 24, "g0", record)
    with pytest.raises(StrategyBroken, match="of group g0 could not be made: ValueError: no such model"):
        Group.made(database, SelfHealing, Stock().take({"Unmakeable": Unmakeable}), record)
