"""One thread as its user saw it: what was promised, what was taken back, what every reply showed.

The calls of a thread are played in the order of the history's rows. What remains in ``required`` at the end must be
in the thread's state; ``lapses`` lists replies that already lacked something. The cost grows in a straight line with
the length of the replies: one that only adds to what the last one showed is compared once and looked at where it is
new.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from harness.core.history import Op
from harness.core.verdict import Json

if TYPE_CHECKING:
    from harness.checkers.reading import Call


class Lapse(NamedTuple):
    """A reply that lacks a turn, or contradicts the reply before it.

    ``code``: S1 (an acknowledged turn is missing), R2 (a turn in doubt was shown before and is gone), N1 (not an
    extension of the last reply). ``since`` is the row that acknowledged or showed the turn.
    """

    code: str
    turn: str
    since: int
    read: Call


class Conversation:
    """The promises of one thread. Feed it :meth:`began` and :meth:`ended` in the order of the rows.

    ``required``: acknowledged turns that nobody took back -> the row that acknowledged them. ``answered``: those of
    them whose answer was given, too. ``sent``: every id used on this thread -> the row of its first call.
    ``excused``: turns that a fork or a delete may have dropped. ``shown_in_doubt``: turns that the last reply showed
    although they were never acknowledged.
    """

    def __init__(self, thread: str) -> None:
        self.thread = thread
        self.required: dict[str, int] = {}
        self.answered: dict[str, int] = {}
        self.sent: dict[str, int] = {}
        self.possible: set[str] = set()
        self.failed: dict[str, Call] = {}
        self.excused: set[str] = set()
        self.lapses: list[Lapse] = []
        self.sightings: dict[str, Call] = {}
        self.doubled: list[tuple[str, Call]] = []
        self.risen: list[tuple[str, Call]] = []
        self.resumed_twice: list[tuple[str, Call, Call]] = []
        self.parked: tuple[str, ...] = ()
        self.parked_at = -1
        self.deleted: Call | None = None
        self.buried: set[str] = set()
        self.buried_at = -1
        self.forks = 0
        self.shown_in_doubt: set[str] = set()
        self.shown_at = -1
        self._shown: list[str] = []
        self._known: set[str] = set()
        self._unseen: list[tuple[str, int]] = []  # acknowledged, and not in the last reply that was looked at
        self._live: dict[str, int] = {}  # required, and never missing in a reply yet
        self._acknowledged_at: dict[str, int] = {}
        self._maybe_wiped = False
        self._unburied: list[str] = []
        self._armed: set[str] = set()
        self._resumed: dict[str, Call] = {}

    # -- calls ----------------------------------------------------------------------------------------------------

    def began(self, call: Call) -> None:
        """A call was invoked; a fork or delete may act from now on."""
        turn, kind = call.turn, call.kind
        self.sent.setdefault(turn, call.invoke.index)
        if kind == "restore" or call.status == "fail":
            return
        self.parked = ()
        if kind == "delete":
            self._wipe(call)
            return
        self.possible.add(turn)
        self._unburied.append(turn)
        self.buried.discard(turn)
        self.deleted = None
        if kind == "fork":
            self.forks += 1
            self._take_back(_target(call))

    def first_row(self, turn: str) -> tuple[int, ...]:
        """The row of the first call of ``turn``; nothing if it was never sent on this thread."""
        return (self.sent[turn],) if turn in self.sent else ()

    def ended(self, call: Call) -> None:
        """A call completed."""
        kind, end = call.kind, call.end
        if call.status != "ok" or end is None:
            if call.status == "fail" and kind == "turn":
                self.failed[call.turn] = call
            return
        if kind == "fork":
            self._take_back(_target(call))
        if kind == "delete":
            self._excuse(list(self.required))  # it may have acted at its very end
            self.buried.update(self._unburied)
            self._unburied.clear()
            self.buried_at = end.index
            self.deleted = call
            self._show(call, [], set())
            return
        turns = end.value.get("turns")
        # A reply to a turn always shows the turn: an empty list there means that the strategy did not say.
        if isinstance(turns, list) and (turns or kind in ("restore", "fork")):
            self._read(call, turns)
        if kind in ("turn", "resume"):
            self._acknowledge(call, end)

    def _acknowledge(self, call: Call, end: Op) -> None:
        turn, index = call.turn, end.index
        listed = end.value.get("waiting")
        waiting = _ids(listed) if listed and isinstance(listed, list) else []
        if call.kind == "resume":
            self._resume(call)
        if waiting:
            self._armed.update(waiting)
            self.parked_at = index
        self.parked = tuple(waiting)
        self.shown_in_doubt.discard(turn)
        if self._maybe_wiped:
            self.excused.add(turn)
            return
        self.excused.discard(turn)
        if turn not in self.required:
            self.required[turn] = self._live[turn] = self._acknowledged_at[turn] = index
            if turn not in self._known:
                self._unseen.append((turn, index))
        if not waiting:
            self.answered.setdefault(turn, index)

    def _resume(self, call: Call) -> None:
        for interrupt in filter(None, _target(call).split(",")):
            if interrupt in self._resumed and interrupt not in self._armed:
                self.resumed_twice.append((interrupt, self._resumed[interrupt], call))
            self._resumed[interrupt] = call
            self._armed.discard(interrupt)

    def _take_back(self, target: str) -> None:
        """Excuse ``target``, every turn acknowledged after it, those right before it that never got their answer, and
        those in doubt: a fork goes back to a checkpoint that is finished.
        """
        # The fork before may have been in doubt: its target is excused then, and may have been there until now.
        since = self._acknowledged_at.get(target, self.sent.get(target))
        self.excused.add(target)
        if since is not None:
            dropped = []
            for turn in reversed(self.required):
                if self.required[turn] < since and turn in self.answered:
                    break
                dropped.append(turn)
            self._excuse(dropped)
        self.excused |= self.shown_in_doubt
        self.shown_in_doubt = set()

    def _wipe(self, call: Call) -> None:
        """A delete that may act: everything so far is excused. One of unknown outcome may act at any later time."""
        self._excuse(list(self.required))
        self.excused |= self.shown_in_doubt
        self.shown_in_doubt = set()
        self._armed.clear()
        if call.status != "ok":
            self._maybe_wiped = True

    def _excuse(self, turns: Sequence[str]) -> None:
        for turn in turns:
            del self.required[turn]
            self.answered.pop(turn, None)
            self._live.pop(turn, None)
        self.excused.update(turns)

    # -- replies --------------------------------------------------------------------------------------------------

    def _read(self, call: Call, turns: list[Json]) -> None:
        shown = len(self._shown)
        if turns[:shown] == self._shown:
            self._extend(call, _ids(turns[shown:]))
        else:
            self._rewrite(call, _ids(turns))

    def _extend(self, call: Call, more: list[str]) -> None:
        """The usual case: the reply adds ``more`` to the last one."""
        known = self._known
        for turn in more:
            if turn in known:
                self.doubled.append((turn, call))
            known.add(turn)
            if turn not in self.required and turn not in self.excused:
                self.shown_in_doubt.add(turn)
        self._sight(more, call)
        if self._unseen:
            self._look_for_unseen(call)
        assert call.end is not None
        self._shown += more
        self.shown_at = call.end.index

    def _look_for_unseen(self, call: Call) -> None:
        """S1 for what was acknowledged before ``call`` began and is in no reply yet; the rest is looked for later."""
        began, later = call.invoke.index, []
        for turn, since in self._unseen:
            if since > began:
                later.append((turn, since))
            elif turn not in self._known and turn in self._live:
                self._lack("S1", turn, since, call)
        self._unseen = later

    def _rewrite(self, call: Call, turns: list[str]) -> None:
        """The reply contradicts the last one, rightly (a fork, a delete, replies side by side) or not."""
        began, held = call.invoke.index, set(turns)
        before = len(self.lapses)
        for turn, since in list(self._live.items()):
            if since < began and turn not in held:
                self._lack("S1", turn, since, call)
        self.doubled += [(turn, call) for turn in doubles(turns)]
        self._sight(turns, call)
        if began < self.shown_at or self._maybe_wiped:  # replies made side by side need not extend each other
            return
        gone = [turn for turn in self._shown if turn not in held and turn in self.shown_in_doubt]
        self.lapses += [Lapse("R2", turn, self.shown_at, call) for turn in gone]
        if len(self.lapses) == before:
            odd = self.displaced(turns)
            if odd:
                self.lapses.append(Lapse("N1", odd, self.shown_at, call))
        self._show(call, turns, held)

    def displaced(self, turns: Sequence[str]) -> str:
        """The first turn that does not stand where the last reply showed it; empty if ``turns`` extend that reply, what
        was taken back left out.
        """
        old = [turn for turn in self._shown if turn not in self.excused]
        new = [turn for turn in turns if turn not in self.excused]
        if self._maybe_wiped or new[: len(old)] == old:
            return ""
        return next((a for a, b in zip(old, new, strict=False) if a != b), old[-1])

    def _show(self, call: Call, turns: list[str], held: set[str]) -> None:
        assert call.end is not None
        self._shown, self._known, self.shown_at = turns, held, call.end.index
        self._unseen = [(turn, since) for turn, since in self._live.items() if turn not in held]
        self.shown_in_doubt = {turn for turn in held if turn not in self.required and turn not in self.excused}

    def _lack(self, code: str, turn: str, since: int, call: Call) -> None:
        del self._live[turn]
        self.lapses.append(Lapse(code, turn, since, call))

    def _sight(self, turns: Sequence[str], call: Call) -> None:
        for turn in turns:
            if turn not in self.sightings:
                self.sightings[turn] = call
        if self.buried and call.invoke.index > self.buried_at:
            self.risen += [(turn, call) for turn in turns if turn in self.buried]


def doubles(items: Sequence[str]) -> list[str]:
    """What stands there again, in order; once for each time that it is one too many."""
    seen: set[str] = set()
    found: list[str] = []
    if len(set(items)) == len(items):
        return found
    for item in items:
        if item in seen:
            found.append(item)
        seen.add(item)
    return found


def _ids(items: list[Json]) -> list[str]:
    """The strings in a list of a reply."""
    return [item for item in items if isinstance(item, str)]


def _target(call: Call) -> str:
    target = call.invoke.value.get("target")
    return target if isinstance(target, str) else ""
