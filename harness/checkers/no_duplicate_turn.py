"""No turn was done twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.checkers.anomalies import Case, evidence, flaws
from harness.checkers.conversations import Conversation, doubles
from harness.checkers.flaws import Flaw, decide
from harness.checkers.reading import read
from harness.checkers.two_readers import seen_by, work_disagrees
from harness.core.facts import Facts, ThreadFacts
from harness.core.history import History
from harness.core.scenario import Bounds
from harness.core.verdict import Anomaly, Checker, Finding, Guarantee, Json, Verdict

#: Disagreements listed in the details.
_LISTED = 40


class NoDuplicateTurn(Checker):
    """FAIL for a turn that has two answers, or an entry of the append-only effects channel that stands twice (D2), a
    turn id that stands twice in one list (D1), and an interrupt that was answered twice or got lost (I1).

    Exactly once is a promise about the state: nodes that ran twice without leaving a trace there are not counted. An
    interrupt is lost if a thread's last call left it waiting and the final state waits for nothing. What one of the
    two readers of the final state sees twice stands twice. INVALID if the final reads are not whole, or if the readers
    disagree about answers, effects or interrupts.
    """

    guarantee = Guarantee.NO_DUPLICATE_TURN

    def check(self, history: History, facts: Facts, bounds: Bounds) -> Finding:
        """See the class."""
        reading = read(history)
        conversations = reading.conversations
        cases: list[Case] = []
        for conversation in conversations.values():
            cases += _in_replies(conversation)
            thread = facts.threads.get(conversation.thread)
            if thread is not None:
                cases += _interrupt_lost(conversation, thread)
        for thread in facts.threads.values():
            cases += _in_state(thread, conversations.get(thread.thread) or Conversation(thread.thread))
        disagree = [words for words in map(work_disagrees, facts.threads.values()) if words]
        found = flaws(cases, reading) + [Flaw(Verdict.INVALID, words) for words in disagree]
        if not facts.complete or facts.problems:
            why = facts.problems[0] if facts.problems else "they were not completed"
            found.append(Flaw(Verdict.INVALID, f"the final reads failed, so twice cannot be told from once: {why}"))
        turns = sum(len(thread.turns or ()) for thread in facts.threads.values())
        if not turns and not found:
            found.append(Flaw(Verdict.INVALID, "no thread holds a turn, so nothing could stand twice"))
        details: dict[str, Json] = {
            "doubled": sum(case.code is not Anomaly.I1 for case in cases),
            "disagreements": list(disagree[:_LISTED]),
            **evidence(cases, reading, facts),
        }
        kept = f"{turns:,} turns in the final state, each once, none answered twice"
        return decide(self.guarantee, found, kept, details)


def _in_state(thread: ThreadFacts, conversation: Conversation) -> Iterator[Case]:
    def case(code: Anomaly, turn: str, words: str) -> Case:
        return Case(code, thread.thread, turn, words, conversation.first_row(turn))

    for turn, told in _twice(thread, thread.turns or (), thread.sql_turns or ()):
        yield case(Anomaly.D1, turn, f"turn {turn} stands more than once in its thread's list{told}")
    for turn, told in _twice(thread, thread.answers, thread.sql_answers):
        yield case(Anomaly.D2, turn, f"turn {turn} was answered more than once{told}")
    for entry, told in _twice(thread, thread.effects, thread.sql_effects):
        yield case(Anomaly.D2, entry.rpartition("/")[0], f"effect {entry} stands more than once{told}")


def _twice(thread: ThreadFacts, agent: Sequence[str], sql: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(item, what is to be told of the readers) for each item that one of them sees more than once."""
    by_agent, by_sql = set(doubles(agent)), set(doubles(sql)) if thread.sql_exact else set()
    for item in sorted(by_agent | by_sql):
        differ = thread.sql_exact and (item in by_agent) != (item in by_sql)
        yield item, f"; the two readers disagree: {seen_by(item in by_agent, item in by_sql)}" if differ else ""


def _in_replies(conversation: Conversation) -> Iterator[Case]:
    for turn, call in conversation.doubled:
        words = f"turn {turn} stands more than once in a reply: {call}"
        yield Case(Anomaly.D1, conversation.thread, turn, words, call.rows)
    for interrupt, first, second in conversation.resumed_twice:
        words = f"interrupt {interrupt} was resumed twice: {second}"
        yield Case(Anomaly.I1, conversation.thread, second.turn, words, (*first.rows, *second.rows))


def _interrupt_lost(conversation: Conversation, thread: ThreadFacts) -> Iterator[Case]:
    if not conversation.parked or thread.turns is None or (thread.waiting and thread.sql_waiting != 0):
        return
    words = f"thread {thread.thread} was left waiting for interrupt {conversation.parked[0]}, and waits no more"
    if thread.waiting or thread.sql_waiting:
        words += f"; the two readers disagree: {seen_by(bool(thread.waiting), bool(thread.sql_waiting))}"
    yield Case(Anomaly.I1, conversation.thread, "", words, (conversation.parked_at,))
