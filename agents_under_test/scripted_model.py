"""A chat model without a network: the same question at the same node always gets the same answer after the same time.

The answer is drawn from the last human message and the node's name, and so is the time that it takes. What is never
the same twice is the message's id: a turn that was answered twice must show as two messages, and ``add_messages``
would merge equal ids into one.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult

#: What a node takes, in milliseconds, both ends included.
SHORTEST_MS, LONGEST_MS = 5, 50


def draw(turn_id: str, node: str, below: int) -> int:
    """A number from 0 to ``below`` - 1 that depends on the turn and the node only, the same on every machine."""
    digest = hashlib.blake2b(f"{turn_id}|{node}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % below


def duration_ms(turn_id: str, node: str) -> int:
    """How long ``node`` takes in ``turn_id``, in milliseconds."""
    return SHORTEST_MS + draw(turn_id, node, LONGEST_MS - SHORTEST_MS + 1)


def question_in(messages: Sequence[BaseMessage | AnyMessage]) -> HumanMessage:
    """The last human message: the turn that is being answered. Its id is the turn's id.

    Raises ValueError when there is none: somebody ran the graph without a turn.
    """
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            return message
    raise ValueError(f"no human message among {len(messages)} messages: send the turn as a HumanMessage with its id")


class ScriptedModel(BaseChatModel):
    """Answers as ``node``. The answer's ``response_metadata`` says which turn it answers and which node wrote it."""

    node: str

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        """The answer at once: the sync way in has no clock that it may wait on."""
        question = question_in(messages)
        turn_id = str(question.id)
        mark = draw(turn_id, f"{self.node}|{question.content}", 10_000)
        answer = AIMessage(
            content=f"{self.node}: {question.content} ({mark:04d})",
            response_metadata={"turn": turn_id, "node": self.node},
        )
        return ChatResult(generations=[ChatGeneration(message=answer)])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        await asyncio.sleep(duration_ms(str(question_in(messages).id), self.node) / 1000)
        return self._generate(messages)
