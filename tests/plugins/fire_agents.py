"""Plug-in file for the tests in tests/fire: agents that hit the process they run in, each on a graph of one node."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from typing import Any, ClassVar

from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph

from harness import AgentUnderTest
from harness.driving import watchdog

#: Turns that go well before the damage: more than the gate needs.
CALM_TURNS = 40


class Echo(AgentUnderTest):
    """Answers each question with the question. Those below do their damage in ``misbehave``, once a turn."""

    name = "Echo"
    turns: ClassVar[int] = 0

    def graph(self) -> StateGraph[Any, Any, Any, Any]:
        builder = StateGraph(MessagesState)
        builder.add_node("answer", self.answer)
        builder.add_edge(START, "answer")
        return builder

    async def answer(self, state: MessagesState) -> dict[str, Any]:
        cls = type(self)
        cls.turns += 1
        self.misbehave(cls.turns)
        return {"messages": [AIMessage(f"You said: {state['messages'][-1].text}")]}

    def misbehave(self, turn: int) -> None:
        """Nothing, here."""


class Exits(Echo):
    """Ends its process in the middle of a turn."""

    name = "Exits"

    def misbehave(self, turn: int) -> None:
        if turn == CALM_TURNS:
            os._exit(7)


class Deadlocks(Echo):
    """Blocks the event loop for good. The watchdog's patience is shortened, so that the test need not wait 30 s."""

    name = "Deadlocks"

    def misbehave(self, turn: int) -> None:
        if turn == CALM_TURNS:
            watchdog.DEAD_LOOP_S = 2.0
            wait_for_a_lock_that_nobody_gives_back()


def wait_for_a_lock_that_nobody_gives_back() -> None:
    time.sleep(3600)


class Prints(Echo):
    """Prints 100 MiB, and something at the end."""

    name = "Prints"

    def misbehave(self, turn: int) -> None:
        if turn == 1:
            os.write(1, b"the first line\n")
        if turn == CALM_TURNS:
            for _ in range(1600):
                os.write(1, b"x" * 65535 + b"\n")
                time.sleep(0)
            os.write(1, b"the last line\n")


class Leaks(Echo):
    """Each turn leaves open files, a thread that never ends and, at first, two processes behind."""

    name = "Leaks"
    kept: ClassVar[list[Any]] = []

    def misbehave(self, turn: int) -> None:
        self.kept.extend([open(os.devnull), socket.socket()])  # noqa: SIM115 - what is to be contained
        if turn <= CALM_TURNS:
            thread = threading.Thread(target=threading.Event().wait)
            thread.start()
            self.kept.append(thread)
        if turn <= 2:
            self.kept.append(subprocess.Popen(["sleep", "3599"], start_new_session=True))


class ShiftsTheClock(Echo):
    """The wall clock jumps by an hour, back and forth, at each turn."""

    name = "ShiftsTheClock"
    real_time = staticmethod(time.time)

    def misbehave(self, turn: int) -> None:
        ahead_s = 3600.0 if turn % 2 else -3600.0
        real = self.real_time
        time.time = lambda: real() + ahead_s
        time.time_ns = lambda: int((real() + ahead_s) * 1e9)
