"""What was acknowledged is there: at the end, by two readers, and in every reply that began after it."""

from __future__ import annotations

from collections.abc import Iterator

from harness.checkers.conversations import Conversation, Lapse
from harness.checkers.flaws import Flaw, decide
from harness.checkers.reading import read
from harness.core.facts import Facts, ThreadFacts
from harness.core.history import History
from harness.core.scenario import Bounds
from harness.core.verdict import Checker, Finding, Guarantee, Verdict

_LAPSES = {
    "S1": "was acknowledged and is missing in a reply that began afterwards",
    "R2": "was shown by an earlier reply and is gone in a later one",
    "N1": "does not stand where the reply before showed it",
}


class NoLostTurn(Checker):
    """FAIL for each acknowledged turn that is gone, hidden or unanswered at the end, or missing in a later reply.

    A turn is acknowledged by an ``ok`` turn, its answer by an ``ok`` turn or resume that left nothing waiting. Turns
    that a fork or a delete was asked to drop are excused, also when that call's outcome is unknown. Codes: L1 gone, L2
    hidden (some checkpoint of the thread still holds it), H1 no answer in the state, S1 missing in a later reply, R2
    shown and then gone, N1 a reply that is not an extension of the one before. INVALID if the final reads are not
    whole, unless a loss is proven anyway.
    """

    guarantee = Guarantee.NO_LOST_TURN

    def check(self, history: History, facts: Facts, bounds: Bounds) -> Finding:
        """See the class."""
        conversations = read(history).conversations
        flaws: list[Flaw] = []
        unread: list[str] = []
        lost: set[str] = set()
        for conversation in conversations.values():
            flaws += [_lapse(lapse) for lapse in conversation.lapses]
            if not conversation.required and not conversation.shown_in_doubt:
                continue
            thread = facts.threads.get(conversation.thread)
            if thread is None or thread.turns is None or thread.sql_turns is None:
                unread.append(conversation.thread)
            if thread is not None:
                gone = list(_gone(conversation, thread))
                lost |= {turn for turn, _ in gone}
                flaws += [flaw for _, flaw in gone]
                flaws += _unanswered(conversation, thread)
        acknowledged = sum(len(conversation.required) for conversation in conversations.values())
        if unread or facts.problems or not facts.complete:
            flaws.append(Flaw(Verdict.INVALID, _unread(unread, facts)))
        if not acknowledged and not flaws:
            flaws.append(Flaw(Verdict.INVALID, "no acknowledged turn was left to be looked for"))
        return decide(
            self.guarantee,
            flaws,
            f"all {acknowledged:,} acknowledged turns are in their threads, by a fresh agent and by SQL",
            {"acknowledged": acknowledged, "lost": len(lost), "lost_turns": list(sorted(lost)[:40])},
        )


def _lapse(lapse: Lapse) -> Flaw:
    words = f"{lapse.code}: turn {lapse.turn} {_LAPSES[lapse.code]}: {lapse.read}"
    return Flaw(Verdict.FAIL, words, (lapse.since, *lapse.read.rows), lapse.code)


def _gone(conversation: Conversation, thread: ThreadFacts) -> Iterator[tuple[str, Flaw]]:
    """(turn, flaw) of what the final reads do not find."""
    required = conversation.required
    if thread.turns is not None:
        held, ever = set(thread.turns), None
        for turn in [turn for turn in required if turn not in held]:
            ever = set(thread.history_turns) if ever is None else ever
            hidden = turn in ever
            words = (
                f"L2: acknowledged turn {turn} is hidden: an older checkpoint holds it, the newest does not"
                if hidden
                else f"L1: acknowledged turn {turn} is gone from its thread"
            )
            yield turn, _loss(conversation, turn, words, "L2" if hidden else "L1")
        for turn in sorted(conversation.shown_in_doubt - held):
            words = f"R2: turn {turn} {_LAPSES['R2']}: the final read of a fresh agent"
            yield turn, Flaw(Verdict.FAIL, words, (conversation.sent.get(turn, 0), conversation.shown_at), "R2")
    if thread.sql_turns is not None:
        found = set(thread.sql_turns)
        for turn in [turn for turn in required if turn not in found]:
            if thread.turns is None or turn in thread.turns:
                words = f"L1: acknowledged turn {turn} is not found by SQL in the newest checkpoint"
                yield turn, _loss(conversation, turn, words, "L1")


def _unanswered(conversation: Conversation, thread: ThreadFacts) -> Iterator[Flaw]:
    """H1: the turn is there, its acknowledged answer is not."""
    if thread.turns is None or len(conversation.answered) == 0:
        return
    held, answers = set(thread.turns), set(thread.answers)
    for turn in conversation.answered:
        if turn in held and turn not in answers:
            words = f"H1: turn {turn} was answered, and its state holds no answer"
            yield _loss(conversation, turn, words, "H1")


def _loss(conversation: Conversation, turn: str, words: str, code: str) -> Flaw:
    return Flaw(Verdict.FAIL, words, (conversation.sent[turn], conversation.required[turn]), code)


def _unread(unread: list[str], facts: Facts) -> str:
    why = facts.problems[0] if facts.problems else "they were not completed"
    if unread:
        return f"the final reads left out {len(unread):,} threads that hold acknowledged turns ({unread[0]}): {why}"
    return f"the final reads failed: {why}"
