"""Threads hold their own turns, all of them in order, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from harness.checkers.conversations import Conversation
from harness.checkers.flaws import Flaw, decide
from harness.checkers.reading import read
from harness.core.facts import Facts, ThreadFacts
from harness.core.history import History
from harness.core.scenario import Bounds
from harness.core.verdict import Checker, Finding, Guarantee, Verdict

_Threads = Mapping[str, Conversation]


class Isolation(Checker):
    """FAIL for content in the wrong place. Codes: X1 a turn of another thread; Q1 a turn that nobody sent, or rows of
    a thread that nobody used; R1 a turn whose every call certainly failed and that is there; O1 an order that
    contradicts who was answered before whom began; Z1 a deleted thread that came back; T1 a torn or mixed state, or a
    broken chain of checkpoints that hides an acknowledged turn; P1 a fork that nobody asked for and that hides one.

    Forks, orphan writes and dangling parents that hide nothing are normal after a fault: they are measures.
    """

    guarantee = Guarantee.ISOLATION

    def check(self, history: History, facts: Facts, bounds: Bounds) -> Finding:
        """See the class."""
        threads = read(history).conversations
        flaws: list[Flaw] = []
        for conversation in threads.values():
            flaws += _in_replies(conversation, threads)
        for name, thread in facts.threads.items():
            conversation = threads.get(name) or Conversation(name)
            flaws += _in_state(conversation, thread, threads)
            flaws += _failed(conversation, thread)
            flaws += _order(conversation, thread)
            flaws += _risen(conversation, thread)
            flaws += _hidden(conversation, thread)
            flaws += [Flaw(Verdict.FAIL, f"T1: thread {name}: {words}", (), "T1") for words in thread.problems]
        flaws += [
            Flaw(Verdict.FAIL, f"Q1: the tables hold rows of thread {name!r}, which nobody used", (), "Q1")
            for name in facts.table_threads
            if name not in threads
        ]
        if not facts.complete or facts.problems:
            why = facts.problems[0] if facts.problems else "they were not completed"
            flaws.append(Flaw(Verdict.INVALID, f"the final reads failed, so strangers cannot be seen: {why}"))
        if not threads:
            flaws.append(Flaw(Verdict.INVALID, "nobody called, so there are no threads to keep apart"))
        return decide(self.guarantee, flaws, f"{len(threads):,} threads, each with its own turns in order")


def _in_state(conversation: Conversation, thread: ThreadFacts, threads: _Threads) -> Iterator[Flaw]:
    held = set(thread.turns or ()).union(thread.answers, thread.sql_turns or (), thread.history_turns)
    held.update(entry.rpartition("/")[0] for entry in thread.effects)
    for turn in sorted(held.difference(conversation.sent)):
        yield _stranger(turn, conversation.thread, threads, "the final state", ())


def _in_replies(conversation: Conversation, threads: _Threads) -> Iterator[Flaw]:
    for turn, call in conversation.sightings.items():
        if turn not in conversation.sent:
            yield _stranger(turn, conversation.thread, threads, f"a reply ({call})", call.rows)
    for turn, call in conversation.risen:
        yield Flaw(Verdict.FAIL, f"Z1: turn {turn} came back after its thread was deleted: {call}", call.rows, "Z1")
    for turn, call in conversation.failed.items():
        if turn not in conversation.possible and turn in conversation.sightings:
            shown = conversation.sightings[turn]
            words = f"R1: turn {turn} certainly failed, and a reply shows it: {shown}"
            yield Flaw(Verdict.FAIL, words, (*call.rows, *shown.rows), "R1")


def _stranger(turn: str, thread: str, threads: _Threads, where: str, evidence: Iterable[int]) -> Flaw:
    """A turn that this thread was never sent: another thread's (X1), or nobody's (Q1)."""
    owner = turn.rpartition("/")[0]
    if owner != thread and owner in threads:
        sent = threads[owner].sent.get(turn)
        rows = (*evidence, *(() if sent is None else (sent,)))
        return Flaw(Verdict.FAIL, f"X1: thread {thread} holds {turn}, a turn of {owner}, in {where}", rows, "X1")
    return Flaw(Verdict.FAIL, f"Q1: thread {thread} holds {turn!r}, which nobody sent, in {where}", (*evidence,), "Q1")


def _failed(conversation: Conversation, thread: ThreadFacts) -> Iterator[Flaw]:
    never = [turn for turn in conversation.failed if turn not in conversation.possible]
    if not never:
        return
    held = set(thread.turns or ()).union(thread.answers, thread.sql_turns or (), thread.history_turns)
    for turn in never:
        if turn in held:
            words = f"R1: turn {turn} certainly failed (no save of it was ever begun), and the final state holds it"
            yield Flaw(Verdict.FAIL, words, conversation.failed[turn].rows, "R1")


def _order(conversation: Conversation, thread: ThreadFacts) -> Iterator[Flaw]:
    """O1: of two turns, the one acknowledged before the other was first sent stands after it."""
    acknowledged_first: tuple[int, str] | None = None
    for turn in reversed(thread.turns or ()):
        sent = conversation.sent.get(turn)
        if sent is not None and acknowledged_first is not None and acknowledged_first[0] < sent:
            index, earlier = acknowledged_first
            words = f"O1: turn {earlier} was acknowledged before {turn} was sent, and stands after it"
            yield Flaw(Verdict.FAIL, words, (index, sent), "O1")
        index_of = conversation.required.get(turn)
        if index_of is not None and (acknowledged_first is None or index_of < acknowledged_first[0]):
            acknowledged_first = (index_of, turn)


def _risen(conversation: Conversation, thread: ThreadFacts) -> Iterator[Flaw]:
    """Z1: the thread was deleted and is there all the same, whole or in part."""
    if conversation.deleted is not None and thread.exists:
        words = f"Z1: thread {thread.thread} was deleted, and the tables hold rows of it"
        yield Flaw(Verdict.FAIL, words, conversation.deleted.rows, "Z1")
        return
    for turn in thread.turns or ():
        if turn in conversation.buried:
            words = f"Z1: turn {turn} was deleted with its thread, and the final state holds it"
            yield Flaw(Verdict.FAIL, words, (conversation.sent.get(turn, 0),), "Z1")


def _hidden(conversation: Conversation, thread: ThreadFacts) -> Iterator[Flaw]:
    """P1 and T1, where they hide an acknowledged turn."""
    forked = thread.forks > conversation.forks
    if thread.turns is None or not (forked or thread.dangling_parents):
        return
    held, ever = set(thread.turns), set(thread.history_turns)
    for turn, index in conversation.required.items():
        if turn in held:
            continue
        if forked and turn in ever:
            yield Flaw(Verdict.FAIL, f"P1: a fork that nobody asked for hides acknowledged turn {turn}", (index,), "P1")
        if thread.dangling_parents:
            words = f"T1: acknowledged turn {turn} is missing, and a checkpoint names a parent that does not exist"
            yield Flaw(Verdict.FAIL, words, (index,), "T1")
