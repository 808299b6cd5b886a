"""Planted: two requests of one conversation run at the same time, and nothing makes the second wait for the first.

A double click, or a second tab. LangGraph leaves this to the service: "Double texting is a feature of LangSmith
Deployment. It is not available in the LangGraph open source framework" (docs.langchain.com/langsmith/double-texting).
Both runs begin from the same checkpoint and both are acknowledged; the branch with the older checkpoint id is never
read again. The mistake is the missing lock: the same pool with one writer for each conversation loses nothing.
"""

from __future__ import annotations

from harness.core.verdict import Guarantee
from harness.pools.controls.planted.one_pool import OnePool


class TwoWriters(OnePool):
    """A sound pool, and no lock for a conversation."""

    name = "two_writers"
    breaks = frozenset({Guarantee.NO_LOST_TURN, Guarantee.ISOLATION})
