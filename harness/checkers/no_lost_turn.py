"""What was acknowledged is there: at the end, by two readers, and in every reply that began after it."""

from __future__ import annotations

from collections.abc import Iterator

from harness.checkers.anomalies import Case, evidence, flaws
from harness.checkers.conversations import Conversation, Lapse
from harness.checkers.flaws import Flaw, decide
from harness.checkers.reading import read
from harness.checkers.two_readers import seen_by, turns_disagree
from harness.core.facts import Facts, ThreadFacts
from harness.core.history import History
from harness.core.scenario import Bounds
from harness.core.verdict import Anomaly, Checker, Finding, Guarantee, Json, Verdict

_LAPSES = {
    Anomaly.S1: "was acknowledged and is missing in a reply that began afterwards",
    Anomaly.R2: "was shown by an earlier reply and is gone in a later one",
    Anomaly.N1: "does not stand where the reply before showed it",
}
#: Turns and disagreements listed in the details.
_LISTED = 40


class NoLostTurn(Checker):
    """FAIL for each acknowledged turn that is gone, hidden or unanswered at the end, or missing in a later reply.

    A turn is acknowledged by an ``ok`` turn, its answer by an ``ok`` turn or resume that left nothing waiting. Turns
    that a fork or a delete was asked to drop are excused, also when that call's outcome is unknown. Codes: L1 gone, L2
    hidden (some checkpoint of the thread still holds it), H1 no answer in the state, S1 missing in a later reply, R2
    shown and then gone, N1 a reply that is not an extension of the one before. What one of the two readers of the
    final state misses is missing. INVALID if the final reads are not whole, or if the readers disagree, unless a loss
    is proven anyway.
    """

    guarantee = Guarantee.NO_LOST_TURN

    def check(self, history: History, facts: Facts, bounds: Bounds) -> Finding:
        """See the class."""
        reading = read(history)
        cases: list[Case] = []
        unread: list[str] = []
        lost: set[str] = set()
        for conversation in reading.conversations.values():
            cases += [_lapse(lapse, conversation) for lapse in conversation.lapses]
            if not conversation.required and not conversation.shown_in_doubt:
                continue
            thread = facts.threads.get(conversation.thread)
            if thread is None or thread.turns is None or thread.sql_turns is None:
                unread.append(conversation.thread)
            if thread is not None:
                gone = list(_gone(conversation, thread))
                lost.update(case.turn for case in gone)
                cases += gone
                cases += _unanswered(conversation, thread)
                if not gone and not conversation.lapses:  # what a reply showed wrongly is told of already
                    cases += _displaced(conversation, thread)
        acknowledged = sum(len(conversation.required) for conversation in reading.conversations.values())
        disagree = [words for words in map(turns_disagree, facts.threads.values()) if words]
        found = flaws(cases, reading) + [Flaw(Verdict.INVALID, words) for words in disagree]
        if unread or facts.problems or not facts.complete:
            found.append(Flaw(Verdict.INVALID, _unread(unread, facts)))
        if not acknowledged and not found:
            found.append(Flaw(Verdict.INVALID, "no acknowledged turn was left to be looked for"))
        details: dict[str, Json] = {
            "acknowledged": acknowledged,
            "lost": len(lost),
            "lost_turns": list(sorted(lost)[:_LISTED]),
            "disagreements": list(disagree[:_LISTED]),
            **evidence(cases, reading, facts),
        }
        kept = f"all {acknowledged:,} acknowledged turns are in their threads, by a fresh agent and by SQL"
        return decide(self.guarantee, found, kept, details)


def _lapse(lapse: Lapse, conversation: Conversation) -> Case:
    code = Anomaly(lapse.code)
    words = f"turn {lapse.turn} {_LAPSES[code]}: {lapse.read}"
    sent = conversation.first_row(lapse.turn) if code is Anomaly.R2 else ()
    return Case(code, conversation.thread, lapse.turn, words, (*sent, lapse.since, *lapse.read.rows))


def _gone(conversation: Conversation, thread: ThreadFacts) -> Iterator[Case]:
    """What the final reads do not find."""
    agent = None if thread.turns is None else set(thread.turns)
    sql = None if thread.sql_turns is None else set(thread.sql_turns)
    ever: set[str] | None = None
    for turn, row in conversation.required.items():
        if (agent is None or turn in agent) and (sql is None or turn in sql):
            continue
        ever = set(thread.history_turns) if ever is None else ever
        yield _loss(conversation, turn, row, agent, sql, turn in ever)
    for turn in sorted(conversation.shown_in_doubt - agent) if agent is not None else ():
        words = f"turn {turn} {_LAPSES[Anomaly.R2]}: the final read of a fresh agent"
        rows = (*conversation.first_row(turn), conversation.shown_at)
        yield Case(Anomaly.R2, conversation.thread, turn, words, rows)


def _loss(
    conversation: Conversation, turn: str, row: int, agent: set[str] | None, sql: set[str] | None, ever: bool
) -> Case:
    """L1 or L2; a turn that one reader does find was neither lost nor hidden for that one, and that is told."""
    by_agent, by_sql = agent is None or turn in agent, sql is None or turn in sql
    hidden = ever and not by_agent and (sql is None or not by_sql)
    words = (
        f"acknowledged turn {turn} is hidden: an older checkpoint holds it, the newest does not"
        if hidden
        else f"acknowledged turn {turn} is gone from its thread"
    )
    if agent is not None and sql is not None and by_agent != by_sql:
        words += f", and the two readers disagree: {seen_by(by_agent, by_sql)}"
    return Case(Anomaly.L2 if hidden else Anomaly.L1, conversation.thread, turn, words, (row,))


def _displaced(conversation: Conversation, thread: ThreadFacts) -> Iterator[Case]:
    """N1: everything is there, but not as the last reply showed it."""
    turn = conversation.displaced(thread.turns or ()) if thread.turns is not None else ""
    if turn:
        words = f"turn {turn} {_LAPSES[Anomaly.N1]}: the final read of a fresh agent"
        yield Case(Anomaly.N1, conversation.thread, turn, words, (conversation.shown_at,))


def _unanswered(conversation: Conversation, thread: ThreadFacts) -> Iterator[Case]:
    """H1: a reader sees the turn, and not its acknowledged answer."""
    if thread.turns is None or not conversation.answered:
        return
    lacking = set(thread.turns).difference(thread.answers)
    stored = set(thread.sql_turns or ()).difference(thread.sql_answers) if thread.sql_exact else lacking
    for turn, row in conversation.answered.items():
        if turn in lacking or turn in stored:
            words = f"turn {turn} was answered, and its state holds no answer"
            if (turn in lacking) != (turn in stored):
                words += f", and the two readers disagree: {seen_by(turn not in lacking, turn not in stored)}"
            yield Case(Anomaly.H1, conversation.thread, turn, words, (row,))


def _unread(unread: list[str], facts: Facts) -> str:
    why = facts.problems[0] if facts.problems else "they were not completed"
    if unread:
        return f"the final reads left out {len(unread):,} threads that hold acknowledged turns ({unread[0]}): {why}"
    return f"the final reads failed: {why}"
