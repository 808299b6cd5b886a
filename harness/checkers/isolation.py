"""Threads hold their own turns, all of them in order, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from harness.checkers.anomalies import Case, evidence, flaws
from harness.checkers.conversations import Conversation
from harness.checkers.flaws import Flaw, decide
from harness.checkers.reading import Reading, read
from harness.core.facts import Facts, ThreadFacts
from harness.core.history import History, OpType
from harness.core.scenario import Bounds
from harness.core.verdict import Anomaly, Checker, Finding, Guarantee, Verdict

_Threads = Mapping[str, Conversation]


class Isolation(Checker):
    """FAIL for content in the wrong place. Codes: X1 a turn of another thread; Q1 a turn that nobody sent, or rows of
    a thread that nobody used; R1 a turn whose every call certainly failed and that is there; O1 an order that
    contradicts who was answered before whom began; Z1 a deleted thread that came back; T1 a torn or mixed state, or a
    broken chain of checkpoints that hides an acknowledged turn; P1 a fork that nobody asked for and that hides one.

    Both readers of the final state are asked, and so are older checkpoints and pending writes. Forks, orphan writes
    and dangling parents that hide nothing are normal after a fault: they are measures.
    """

    guarantee = Guarantee.ISOLATION

    def check(self, history: History, facts: Facts, bounds: Bounds) -> Finding:
        """See the class."""
        reading = read(history)
        threads = reading.conversations
        cases: list[Case] = []
        for conversation in threads.values():
            cases += _in_replies(conversation, threads)
        for name, thread in facts.threads.items():
            conversation = threads.get(name) or Conversation(name)
            cases += _in_state(conversation, thread, threads)
            cases += _order(conversation, thread)
            if _is_late_rest(conversation, thread, reading):
                continue
            cases += _risen(conversation, thread)
            cases += _hidden(conversation, thread)
            cases += [Case(Anomaly.T1, name, "", f"thread {name}: {words}") for words in thread.problems]
        cases += [
            Case(Anomaly.Q1, name, "", f"the tables hold rows of thread {name!r}, which nobody used")
            for name in facts.table_threads
            if name not in threads
        ]
        found = flaws(cases, reading)
        if not facts.complete or facts.problems:
            why = facts.problems[0] if facts.problems else "they were not completed"
            found.append(Flaw(Verdict.INVALID, f"the final reads failed, so strangers cannot be seen: {why}"))
        if not threads:
            found.append(Flaw(Verdict.INVALID, "nobody called, so there are no threads to keep apart"))
        kept = f"{len(threads):,} threads, each with its own turns in order"
        return decide(self.guarantee, found, kept, evidence(cases, reading, facts))


# -- strangers ----------------------------------------------------------------------------------------------------


def _places(thread: ThreadFacts) -> dict[str, Sequence[str]]:
    """Where turn ids of a thread's final state stand, by who sees them there."""
    return {
        "by a fresh agent": [*(thread.turns or ()), *thread.answers, *_owners(thread.effects)],
        "by plain SQL": [*(thread.sql_turns or ()), *thread.sql_answers, *_owners(thread.sql_effects)],
        "in an older checkpoint": thread.history_turns,
        "in a pending write": thread.pending_turns,
    }


def _owners(effects: Sequence[str]) -> set[str]:
    return {entry.rpartition("/")[0] for entry in effects}


def _in_state(conversation: Conversation, thread: ThreadFacts, threads: _Threads) -> Iterator[Case]:
    """X1, Q1 and R1 in what the final reads found."""
    places = _places(thread)
    held = set(chain.from_iterable(places.values()))
    never = [turn for turn in conversation.failed if turn not in conversation.possible]
    odd = sorted(held.difference(conversation.sent))
    if not odd and held.isdisjoint(never):
        return
    sets = {place: frozenset(turns) for place, turns in places.items()}
    seen = {turn: ", ".join(place for place, turns in sets.items() if turn in turns) for turn in (*odd, *never)}
    for turn in odd:
        yield _stranger(turn, conversation.thread, threads, f"the final state, seen {seen[turn]}", ())
    for turn in never:
        if turn in held:
            words = f"turn {turn} certainly failed (no save of it was ever begun), and is there, seen {seen[turn]}"
            yield Case(Anomaly.R1, conversation.thread, turn, words, conversation.failed[turn].rows)


def _in_replies(conversation: Conversation, threads: _Threads) -> Iterator[Case]:
    thread = conversation.thread
    for turn, call in conversation.sightings.items():
        if turn not in conversation.sent:
            yield _stranger(turn, thread, threads, f"a reply ({call})", call.rows)
    for turn, call in conversation.risen:
        words = f"turn {turn} came back after its thread was deleted: {call}"
        rows = (*conversation.first_row(turn), conversation.buried_at, *call.rows)
        yield Case(Anomaly.Z1, thread, turn, words, rows)
    for turn, call in conversation.failed.items():
        if turn not in conversation.possible and turn in conversation.sightings:
            shown = conversation.sightings[turn]
            words = f"turn {turn} certainly failed, and a reply shows it: {shown}"
            yield Case(Anomaly.R1, thread, turn, words, (*call.rows, *shown.rows))


def _stranger(turn: str, thread: str, threads: _Threads, where: str, rows: tuple[int, ...]) -> Case:
    """A turn that this thread was never sent: another thread's (X1), or nobody's (Q1)."""
    owner = turn.rpartition("/")[0]
    if owner != thread and owner in threads:
        words = f"thread {thread} holds {turn}, a turn of {owner}, in {where}"
        return Case(Anomaly.X1, thread, turn, words, (*rows, *threads[owner].first_row(turn)))
    return Case(Anomaly.Q1, thread, turn, f"thread {thread} holds {turn!r}, which nobody sent, in {where}", rows)


# -- order, deletion, hiding --------------------------------------------------------------------------------------


def _order(conversation: Conversation, thread: ThreadFacts) -> Iterator[Case]:
    """O1: of two turns, the one acknowledged before the other was first sent stands after it."""
    by_agent = dict.fromkeys(_disorder(conversation, thread.turns or ()))
    if thread.sql_exact and thread.sql_turns != thread.turns:
        by_agent.update(dict.fromkeys(_disorder(conversation, thread.sql_turns or ())))
    for earlier, later in by_agent:
        words = f"turn {earlier} was acknowledged before {later} was sent, and stands after it"
        rows = (conversation.required[earlier], conversation.sent[later])
        yield Case(Anomaly.O1, conversation.thread, later, words, rows)


def _disorder(conversation: Conversation, turns: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(acknowledged first, stands before it although it was sent later), by where each turn stands first."""
    first: tuple[int, str] | None = None
    for turn in reversed(dict.fromkeys(turns)):
        sent = conversation.sent.get(turn)
        if sent is not None and first is not None and first[0] < sent:
            yield first[1], turn
        row = conversation.required.get(turn)
        if row is not None and (first is None or row < first[0]):
            first = (row, turn)


def _risen(conversation: Conversation, thread: ThreadFacts) -> Iterator[Case]:
    """Z1: the thread was deleted and is there all the same, whole or in part."""
    name = conversation.thread
    if conversation.deleted is not None and thread.exists:
        words = f"thread {name} was deleted, and the tables hold rows of it"
        yield Case(Anomaly.Z1, name, "", words, conversation.deleted.rows)
    elif conversation.buried:
        held = dict.fromkeys([*(thread.turns or ()), *(thread.sql_turns or ())])
        for turn in held:
            if turn in conversation.buried:
                words = f"turn {turn} was deleted with its thread, and the final state holds it"
                rows = (*conversation.first_row(turn), conversation.buried_at)
                yield Case(Anomaly.Z1, name, turn, words, rows)


def _is_late_rest(conversation: Conversation, thread: ThreadFacts, reading: Reading) -> bool:
    """Whether all that is left of a deleted thread may be saves that were under way or in doubt when it was deleted:
    they may take effect at any later time, and leave a torn rest. What was begun after it has no such excuse.
    """
    if conversation.deleted is None or not thread.exists:
        return False
    doubtful = [
        save.f
        for save in reading.saver_calls_of.get(conversation.thread, ())
        if save.invoke.index < conversation.buried_at and (save.end is None or save.end.type is not OpType.OK)
    ]
    return thread.checkpoints <= doubtful.count("aput") and not {"aput", "aput_writes"}.isdisjoint(doubtful)


def _hidden(conversation: Conversation, thread: ThreadFacts) -> Iterator[Case]:
    """P1 and T1, where they hide an acknowledged turn."""
    forked = thread.forks > conversation.forks
    torn = _torn(thread)
    if thread.turns is None or not (forked or torn or thread.orphan_writes):
        return
    held, ever, pending = set(thread.turns), set(thread.history_turns), set(thread.pending_turns)
    for turn, row in conversation.required.items():
        if turn in held:
            continue
        if forked and turn in ever:
            words = f"a fork that nobody asked for hides acknowledged turn {turn}"
            yield Case(Anomaly.P1, conversation.thread, turn, words, (row,))
        if torn:
            words = f"acknowledged turn {turn} is missing, and {torn}"
            yield Case(Anomaly.T1, conversation.thread, turn, words, (row,))
        elif thread.orphan_writes and turn in pending and turn not in ever:
            words = f"acknowledged turn {turn} stands in writes alone, whose checkpoint does not exist"
            yield Case(Anomaly.T1, conversation.thread, turn, words, (row,))


def _torn(thread: ThreadFacts) -> str:
    """What is broken in the chain of checkpoints; empty if nothing is."""
    if thread.dangling_parents:
        return "a checkpoint names a parent that does not exist"
    return "a checkpoint names messages that the tables do not hold" if thread.missing_blobs else ""
