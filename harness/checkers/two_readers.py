"""The final state through its two readers, which share no code: where they agree, and who of them saw what.

What one reader sees broken is broken, whatever the other says; that they disagree is told with it. Where nothing is
broken and they disagree all the same, one of them is wrong, so nothing was decided.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.facts import ThreadFacts


def seen_by(agent: bool, sql: bool) -> str:
    """Who of the two saw it, in words; at least one did."""
    if agent and sql:
        return "both readers see it"
    return "a fresh agent sees it, plain SQL does not" if agent else "plain SQL sees it, a fresh agent does not"


def turns_disagree(thread: ThreadFacts) -> str:
    """How the readers contradict each other about the turns of a thread; empty if they do not, or one did not look.

    Where plain SQL only looks for ids in raw bytes, ids that it finds beyond the agent's may be quotations.
    """
    if thread.turns is None or thread.sql_turns is None:
        return ""
    exact = thread.sql_exact
    agree = thread.turns == thread.sql_turns if exact else set(thread.turns) <= set(thread.sql_turns)
    return "" if agree else _words(thread, "turns", thread.turns, thread.sql_turns)


def work_disagrees(thread: ThreadFacts) -> str:
    """The same about answers, effects and interrupts that wait."""
    if thread.turns is None:
        return ""
    if thread.sql_exact:
        if thread.answers != thread.sql_answers:
            return _words(thread, "answers", thread.answers, thread.sql_answers)
        if thread.effects != thread.sql_effects:
            return _words(thread, "effects", thread.effects, thread.sql_effects)
    if thread.sql_waiting is not None and bool(thread.waiting) != bool(thread.sql_waiting):
        return (
            f"the two readers disagree on thread {thread.thread}: a fresh agent sees {len(thread.waiting)} interrupts "
            f"wait, plain SQL {thread.sql_waiting}"
        )
    return ""


def _words(thread: ThreadFacts, what: str, agent: Sequence[str], sql: Sequence[str]) -> str:
    by_agent, by_sql = frozenset(agent), frozenset(sql)
    odd = [f"{item} only by the agent" for item in agent if item not in by_sql]
    odd = odd or [f"{item} only by SQL" for item in sql if item not in by_agent]
    odd = odd or ["the same ones, in another order or number"]
    return (
        f"the two readers disagree on the {what} of thread {thread.thread}: a fresh agent sees {len(agent)}, "
        f"plain SQL {len(sql)}; {odd[0]}"
    )
