"""A turn is finished exactly once, whatever the first attempt left: every saver call of it fails in every way.

On a real Postgres: the n-th save of the first attempt is lost, or lands while its answer is lost, or lands late, or the
attempt is cancelled there; and everything after it works, or fails too. Then another replica finishes the turn,
finishes it again, and takes the next turn.
"""

from __future__ import annotations

import asyncio
import itertools
import operator
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import END, START, StateGraph, add_messages
from langgraph.types import Command, Send, interrupt
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from harness.environments.cell import CellEnvironment
from harness.pools.deadline import BoundedSaver, hard_deadline
from harness.pools.finish_turn import TurnSuperseded, finish_turn, stored_turns

Pool = AsyncConnectionPool[AsyncConnection[DictRow]]
WAYS = ("lost", "landed", "late_before", "late_during", "late_after", "cancelled")


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]
    effects: Annotated[list[str], operator.add]


def _turn(state: State) -> str:
    return str([m.id for m in state["messages"] if isinstance(m, HumanMessage)][-1])


async def _plan(state: State) -> dict[str, Any]:
    return {"effects": [f"{_turn(state)}/plan"]}


async def _answer(state: State) -> dict[str, Any]:
    turn = _turn(state)
    return {"messages": [AIMessage(content=turn)], "effects": [f"{turn}/answer"]}


async def _ask(state: State) -> dict[str, Any]:
    turn = _turn(state)
    said = interrupt("may I?")
    return {"effects": [f"{turn}/ask={said}"]}


async def _part(part: Any) -> dict[str, Any]:
    return {"effects": [part["of"]]}


def _fan_out(state: State) -> list[Send]:
    return [Send("part", {"of": f"{_turn(state)}/part{n}"}) for n in range(3)]


def _two_nodes() -> StateGraph[Any, Any, Any, Any]:
    return StateGraph(State).add_sequence([("plan", _plan), ("answer", _answer)]).add_edge(START, "plan")


def _map_reduce() -> StateGraph[Any, Any, Any, Any]:
    part: Any = _part  # its state is what Send gives it
    graph = StateGraph(State).add_node("plan", _plan).add_node("part", part).add_node("answer", _answer)
    graph.add_edge(START, "plan").add_conditional_edges("plan", _fan_out, ["part"])
    return graph.add_edge("part", "answer").add_edge("answer", END)


def _asking() -> StateGraph[Any, Any, Any, Any]:
    sequence = [("plan", _plan), ("ask", _ask), ("answer", _answer)]
    return StateGraph(State).add_sequence(sequence).add_edge(START, "plan")


GRAPHS: Mapping[str, tuple[Callable[[], StateGraph[Any, Any, Any, Any]], tuple[str, ...]]] = {
    "two_nodes": (_two_nodes, ("plan", "answer")),
    "map_reduce": (_map_reduce, ("plan", "part0", "part1", "part2", "answer")),
    "asking": (_asking, ("plan", "ask=yes", "answer")),
}


def turns_in(values: Mapping[str, Any]) -> list[str]:
    return [str(m.id) for m in values.get("messages") or () if isinstance(m, HumanMessage)]


def answers_in(values: Mapping[str, Any]) -> list[str]:
    return [str(m.content) for m in values.get("messages") or () if isinstance(m, AIMessage)]


class Lost(Exception):
    """What the faulty saver raises."""


class FaultySaver(AsyncPostgresSaver):
    """Its ``at``-th save goes wrong in ``way``; ``after`` says that those after it fail too."""

    def __init__(self, pool: Pool, at: int = 0, way: str = "lost", *, after: bool = False) -> None:
        super().__init__(pool)
        self.saves = 0
        self.late: list[Callable[[], Awaitable[Any]]] = []
        self.to_cancel: asyncio.Task[Any] | None = None
        self._at, self._way, self._after = at, way, after

    async def _save(self, save: Callable[[], Awaitable[Any]]) -> Any:
        self.saves += 1
        if self.saves != self._at:
            if self._after and self.saves > self._at > 0:
                raise Lost("everything after it")
            return await save()
        if self._way == "landed":
            await save()
        elif self._way != "lost":
            self.late.append(save)
        if self._way == "cancelled":
            assert self.to_cancel is not None
            self.to_cancel.cancel()
            await asyncio.sleep(0.01)
        raise Lost(self._way)

    async def aput(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        put = super().aput
        return await self._save(lambda: put(config, checkpoint, metadata, new_versions))

    async def aput_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
        put = super().aput_writes
        await self._save(lambda: put(config, writes, task_id, task_path))

    async def land(self) -> None:
        while self.late:
            await self.late.pop()()


def landing(base: type[AsyncPostgresSaver], pool: Pool, faulty: FaultySaver) -> AsyncPostgresSaver:
    """Whatever was late lands right after its first read: between the look and what is built on it."""

    class LandingSaver(base):  # type: ignore[misc, valid-type]
        async def aget_tuple(self, config: Any) -> Any:
            seen = await super().aget_tuple(config)
            await faulty.land()
            return seen

    saver: AsyncPostgresSaver = LandingSaver(pool)
    return saver


@pytest.fixture
async def pool(cell_env: CellEnvironment) -> AsyncIterator[Pool]:
    kwargs = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    pool: Pool = AsyncConnectionPool(cell_env.admin.conninfo(), min_size=2, max_size=4, open=False, kwargs=kwargs)
    async with pool:
        yield pool


class Thread:
    """One thread of one graph, under one durability."""

    def __init__(self, graph: str, name: str, durability: str) -> None:
        self.builder, self.nodes = GRAPHS[graph][0](), GRAPHS[graph][1]
        self.asks = graph == "asking"
        self.name = name
        self.durability: Any = durability
        self.config: Any = {"configurable": {"thread_id": name}}

    async def send(self, saver: AsyncPostgresSaver, what: Any) -> dict[str, Any]:
        out: dict[str, Any] = await self.builder.compile(saver).ainvoke(what, self.config, durability=self.durability)
        return out

    async def take(self, saver: AsyncPostgresSaver, turn: str) -> None:
        out = await self.send(saver, {"messages": [HumanMessage(content="?", id=turn)]})
        if self.asks:
            await self.send(saver, Command(resume={out["__interrupt__"][0].id: "yes"}))

    async def finish(
        self, saver: AsyncPostgresSaver, turn: str, kind: str = "turn", ids: Sequence[str] = ()
    ) -> dict[str, Any]:
        work = partial(
            finish_turn,
            self.builder.compile(saver),
            saver,
            thread_id=self.name,
            turn_id=turn,
            kind=kind,
            turn_input=lambda: {"messages": [HumanMessage(content="?", id=turn)]},
            resume_input=lambda: "yes",
            turns_in=turns_in,
            answers_in=answers_in,
            interrupts=ids,
            durability=self.durability,
        )
        return await hard_deadline(work, 30.0)  # a BoundedSaver reads once where another one reads twice

    async def broken(self, saver: FaultySaver, what: Any) -> None:
        """A first attempt that goes wrong; dead when this returns, all its saves included."""
        task = saver.to_cancel = asyncio.create_task(self.send(saver, what))
        await asyncio.wait({task}, timeout=10.0)
        assert task.done()
        assert task.cancelled() or isinstance(task.exception(), Lost), "the attempt went well"
        await asyncio.sleep(0.02)

    async def assert_whole(self, pool: Pool, turns: Sequence[str]) -> None:
        seen = await AsyncPostgresSaver(pool).aget_tuple(self.config)
        assert seen is not None
        values = seen.checkpoint["channel_values"]
        assert turns_in(values) == list(turns)
        assert answers_in(values) == list(turns)
        assert sorted(values["effects"]) == sorted(f"{turn}/{node}" for turn in turns for node in self.nodes)


async def _count_saves(thread: Thread, pool: Pool, what: Callable[[FaultySaver], Awaitable[Any]]) -> int:
    saver = FaultySaver(pool)
    await what(saver)
    return saver.saves


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["async", "sync", "exit"])
@pytest.mark.parametrize("graph", GRAPHS)
async def test_a_turn_is_finished_once_whatever_is_left_of_it(pool: Pool, graph: str, durability: str) -> None:
    probe = Thread(graph, "probe", durability)
    saves = await _count_saves(probe, pool, lambda saver: probe.send(saver, {"messages": [HumanMessage("?", id="p")]}))
    assert saves >= 1
    for case, (n, way, after) in enumerate(itertools.product(range(1, saves + 1), WAYS, (False, True))):
        old = (case // 2 + n) % 2 == 0  # every way meets old threads and fresh ones, and both savers
        base = (AsyncPostgresSaver, BoundedSaver)[(case // 4 + n) % 2]
        thread = Thread(graph, f"{n}.{way}.{after}.{old}", durability)
        turns = ["a", "b", "c"] if old else ["b", "c"]
        if old:
            await thread.take(AsyncPostgresSaver(pool), "a")
        faulty = FaultySaver(pool, n, way, after=after)
        await thread.broken(faulty, {"messages": [HumanMessage(content="?", id="b")]})
        if way == "late_before":
            await faulty.land()
        other = landing(base, pool, faulty) if way == "late_during" else base(pool)
        out = await thread.finish(other, "b")
        await faulty.land()
        if thread.asks:
            ids = [waiting.id for waiting in out["__interrupt__"]]
            assert [waiting.id for waiting in (await thread.finish(other, "b"))["__interrupt__"]] == ids
            await thread.finish(base(pool), "b", "resume", ids)
            await thread.finish(base(pool), "b", "resume", ids)
        again = await thread.finish(base(pool), "b")
        assert answers_in(again)[-1] == "b"
        assert await stored_turns(other, thread.name, turns_in) == tuple(turns[:-1])
        await thread.take(AsyncPostgresSaver(pool), "c")
        await thread.assert_whole(pool, turns)


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["async", "sync", "exit"])
async def test_a_resume_is_finished_once_whatever_is_left_of_it(pool: Pool, durability: str) -> None:
    probe = Thread("asking", "probe", durability)
    out = await probe.send(AsyncPostgresSaver(pool), {"messages": [HumanMessage("?", id="p")]})
    resume: Any = Command(resume={out["__interrupt__"][0].id: "yes"})
    saves = await _count_saves(probe, pool, lambda saver: probe.send(saver, resume))
    for case, (n, way, after) in enumerate(itertools.product(range(1, saves + 1), WAYS, (False, True))):
        base = (AsyncPostgresSaver, BoundedSaver)[(case // 2 + n) % 2]
        thread = Thread("asking", f"{n}.{way}.{after}", durability)
        out = await thread.send(AsyncPostgresSaver(pool), {"messages": [HumanMessage("?", id="b")]})
        ids = [waiting.id for waiting in out["__interrupt__"]]
        faulty = FaultySaver(pool, n, way, after=after)
        await thread.broken(faulty, Command(resume={ids[0]: "yes"}))
        if way == "late_before":
            await faulty.land()
        other = landing(base, pool, faulty) if way == "late_during" else base(pool)
        done = await thread.finish(other, "b", "resume", ids)
        assert not done.get("__interrupt__")
        await faulty.land()
        await thread.finish(AsyncPostgresSaver(pool), "b", "resume", ids)
        await thread.take(AsyncPostgresSaver(pool), "c")
        await thread.assert_whole(pool, ["b", "c"])


async def test_a_resume_never_answers_another_turns_interrupt(pool: Pool) -> None:
    thread, saver = Thread("asking", "t", "async"), AsyncPostgresSaver(pool)
    first = await thread.send(saver, {"messages": [HumanMessage("?", id="a")]})
    await thread.send(saver, {"messages": [HumanMessage("?", id="b")]})
    with pytest.raises(TurnSuperseded, match="'b' is stored last, and 'a' has no answer"):
        await thread.finish(saver, "a", "resume", [first["__interrupt__"][0].id])
    with pytest.raises(TurnSuperseded):
        await thread.finish(saver, "a")
    waits = await thread.finish(saver, "b")
    assert len(waits["__interrupt__"]) == 1


async def test_an_old_finished_turn_is_left_alone(pool: Pool) -> None:
    thread, saver = Thread("two_nodes", "t", "async"), FaultySaver(pool)
    await thread.take(saver, "a")
    await thread.take(saver, "b")
    saves = saver.saves
    assert answers_in(await thread.finish(saver, "a")) == ["a", "b"]
    assert answers_in(await thread.finish(saver, "b")) == ["a", "b"]
    assert saver.saves == saves


async def test_a_resume_answers_whatever_waits_if_no_id_is_known(pool: Pool) -> None:
    thread, saver = Thread("asking", "t", "async"), AsyncPostgresSaver(pool)
    await thread.send(saver, {"messages": [HumanMessage("?", id="a")]})
    await thread.finish(saver, "a", "resume")
    await thread.assert_whole(pool, ["a"])


async def test_an_empty_thread_has_no_turns_and_nothing_to_resume(pool: Pool) -> None:
    thread, saver = Thread("asking", "t", "async"), AsyncPostgresSaver(pool)
    assert await stored_turns(saver, "t", turns_in) == ()
    with pytest.raises(TurnSuperseded, match="no turn is stored last"):
        await thread.finish(saver, "a", "resume")
    with pytest.raises(ValueError, match="allowed: turn, resume"):
        await thread.finish(saver, "a", "fork")
