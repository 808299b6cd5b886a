"""3D printing: each turn models a part and slices it for the printer.

Its database habit is size: every turn replaces a mesh of 1 MiB that no compression makes smaller, so saves take long,
reads at the start of a turn carry it back, and a fault that cuts a message in the middle finds a middle to cut.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from langgraph.graph import START, StateGraph

from .base import BaseAgent, ChatState, think, turn_in
from .scripted_model import question_in

MESH_BYTES = 1 << 20


class _State(ChatState):
    mesh: bytes
    mesh_info: dict[str, str]  # "turn" that the mesh was made for, "checksum"


class ThreeDPCustomAgent(BaseAgent):
    """model_part -> slice_part, which answers."""

    name: ClassVar[str] = "ThreeDPCustomAgent"

    def graph(self) -> StateGraph[Any, Any, Any, Any]:
        builder = StateGraph(_State)
        builder.add_sequence([("model_part", _model_part), ("slice_part", _slice_part)])
        builder.add_edge(START, "model_part")
        return builder

    def nodes_of(self, turn_id: str) -> Sequence[str]:
        return ("model_part", "slice_part")

    def problems_in(self, values: Mapping[str, Any]) -> Sequence[str]:
        mesh: bytes = values.get("mesh") or b""
        info: Mapping[str, str] = values.get("mesh_info") or {}
        turn = info.get("turn")
        problems = [*super().problems_in(values), *self.misplaced(values, "mesh", turn)]
        if not mesh and turn is None:
            return problems
        if len(mesh) != MESH_BYTES:
            problems.append(f"mesh: {len(mesh)} bytes, not {MESH_BYTES}")
        if (checksum := _checksum(mesh)) != info.get("checksum"):
            problems.append(f"mesh: its checksum is {checksum}, but mesh_info has {info.get('checksum')}")
        elif turn is not None and mesh != _mesh_of(turn):
            problems.append(f"mesh: not the one that turn {turn} makes")
        return problems


async def _model_part(state: _State) -> dict[str, Any]:
    question, turn = question_in(state["messages"]), turn_in(state)
    await think("model_part", question)
    # Together some 7 ms of work: short enough for the loop, but a pause in the middle lets others in.
    mesh = _mesh_of(turn)
    await asyncio.sleep(0)
    return {
        "mesh": mesh,
        "mesh_info": {"turn": turn, "checksum": _checksum(mesh)},
        "effects": [f"{turn}/model_part"],
    }


async def _slice_part(state: _State) -> dict[str, Any]:
    return {
        "messages": [await think("slice_part", question_in(state["messages"]))],
        "effects": [f"{turn_in(state)}/slice_part"],
    }


def _mesh_of(turn_id: str) -> bytes:
    return random.Random(turn_id).randbytes(MESH_BYTES)  # noqa: S311 - the same on every run is the point


def _checksum(mesh: bytes) -> str:
    return hashlib.blake2b(mesh, digest_size=16).hexdigest()
