"""No turn was done twice."""

from __future__ import annotations

from collections.abc import Iterator

from harness.checkers.conversations import Conversation, doubles
from harness.checkers.flaws import Flaw, decide
from harness.checkers.reading import read
from harness.core.facts import Facts, ThreadFacts
from harness.core.history import History
from harness.core.scenario import Bounds
from harness.core.verdict import Checker, Finding, Guarantee, Verdict


class NoDuplicateTurn(Checker):
    """FAIL for a turn that has two answers, or an entry of the append-only effects channel that stands twice (D2), a
    turn id that stands twice in one list (D1), and an interrupt that was answered twice or got lost (I1).

    Exactly once is a promise about the state: nodes that ran twice without leaving a trace there are not counted. An
    interrupt is lost if a thread's last call left it waiting and the final state waits for nothing.
    """

    guarantee = Guarantee.NO_DUPLICATE_TURN

    def check(self, history: History, facts: Facts, bounds: Bounds) -> Finding:
        """See the class."""
        conversations = read(history).conversations
        flaws: list[Flaw] = []
        for conversation in conversations.values():
            flaws += _in_replies(conversation)
            thread = facts.threads.get(conversation.thread)
            if thread is not None:
                flaws += _interrupt_lost(conversation, thread)
        for thread in facts.threads.values():
            flaws += _in_state(thread, conversations.get(thread.thread))
        if not facts.complete or facts.problems:
            why = facts.problems[0] if facts.problems else "they were not completed"
            flaws.append(Flaw(Verdict.INVALID, f"the final reads failed, so twice cannot be told from once: {why}"))
        turns = sum(len(thread.turns or ()) for thread in facts.threads.values())
        if not turns and not flaws:
            flaws.append(Flaw(Verdict.INVALID, "no thread holds a turn, so nothing could stand twice"))
        doubled = sum(flaw.code in ("D1", "D2") for flaw in flaws)
        return decide(
            self.guarantee,
            flaws,
            f"{turns:,} turns in the final state, each once, none answered twice",
            {"doubled": doubled},
        )


def _in_state(thread: ThreadFacts, conversation: Conversation | None) -> Iterator[Flaw]:
    sent = conversation.sent if conversation is not None else {}

    def flaw(code: str, turn: str, words: str) -> Flaw:
        return Flaw(Verdict.FAIL, f"{code}: {words}", (sent[turn],) if turn in sent else (), code)

    for turn in dict.fromkeys(doubles(thread.turns or ())):
        yield flaw("D1", turn, f"turn {turn} stands more than once in its thread's list")
    for turn in dict.fromkeys(doubles(thread.answers)):
        yield flaw("D2", turn, f"turn {turn} was answered more than once")
    for entry in dict.fromkeys(doubles(thread.effects)):
        yield flaw("D2", entry.rpartition("/")[0], f"effect {entry} stands more than once")


def _in_replies(conversation: Conversation) -> Iterator[Flaw]:
    for turn, call in conversation.doubled:
        yield Flaw(Verdict.FAIL, f"D1: turn {turn} stands more than once in a reply: {call}", call.rows, "D1")
    for interrupt, call in conversation.resumed_twice:
        yield Flaw(Verdict.FAIL, f"I1: interrupt {interrupt} was resumed twice: {call}", call.rows, "I1")


def _interrupt_lost(conversation: Conversation, thread: ThreadFacts) -> Iterator[Flaw]:
    if conversation.parked and thread.turns is not None and not thread.waiting:
        words = f"I1: thread {thread.thread} was left waiting for interrupt {conversation.parked[0]}, and waits no more"
        yield Flaw(Verdict.FAIL, words, (conversation.shown_at,) if conversation.shown_at >= 0 else (), "I1")
