"""A save that failed is made good, or somebody is told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from harness.checkers.flaws import Flaw, decide
from harness.checkers.reading import Call, Reading, SaverCall, read, text
from harness.core.facts import Facts
from harness.core.history import ErrorInfo, History, OpType
from harness.core.scenario import Bounds
from harness.core.verdict import Checker, Finding, Guarantee, Verdict

SAVES = ("aput", "aput_writes")


class NoSilentFailure(Checker):
    """FAIL for a save that raised at the recording saver and is neither

    - retried to success: a later attempt of the same turn ended well, in the same call or in a later one, nor
    - in the exception that reached the caller: its own class and message, or those of another failed save or attempt
      of the same call (the one that ended the call speaks for those that fell with it), nor
    - in a log record of level ERROR that names the thread.

    A save that was cancelled with its attempt, because a deadline ended it, is told by a call that was not answered; so
    is one that such a call left behind and that was begun after its end.
    A refused call carries no exception: what failed under it must be logged or made good later.
    """

    guarantee = Guarantee.NO_SILENT_FAILURE

    def check(self, history: History, facts: Facts, bounds: Bounds) -> Finding:
        """See the class."""
        reading = read(history)
        saves = [save for save in reading.saver_calls if save.f in SAVES]
        failed = [save for save in saves if save.end is not None and save.end.error is not None]
        told = _Told(reading, failed) if failed else None
        flaws = [
            Flaw(Verdict.FAIL, f"a save failed and nobody was told: {_words(save, told.call(save))}", told.rows(save))
            for save in failed
            if told is not None and told.silent(save)
        ]
        if not saves:
            flaws.append(Flaw(Verdict.INVALID, "no save was recorded, so none could fail"))
        kept = f"{len(failed):,} of {len(saves):,} saves failed, each made good, told to its caller or logged"
        return decide(self.guarantee, flaws, kept, {"saves": len(saves), "failed_saves": len(failed)})


def _words(save: SaverCall, call: Call | None) -> str:
    assert save.end is not None
    assert save.end.error is not None
    error = save.end.error
    fate = "it belonged to no call" if call is None else f"its call {call.outcome}"
    return (
        f"{save.f} of {save.turn or save.thread} on {save.replica} raised {error.type}: {error.message[:160]}; {fate}"
    )


class _Told:
    """Who was told what, and what was made good."""

    def __init__(self, reading: Reading, failed: list[SaverCall]) -> None:
        self._calls = reading.call_numbers
        self._failures: defaultdict[int, set[tuple[str, str]]] = defaultdict(set)
        self._cancelled: set[int] = set()
        self._made_good: dict[str, int] = {}
        self._logged: dict[str, int] = {}
        for save in failed:
            if save.parent is not None and save.end is not None and save.end.error is not None:
                self._failures[save.parent].add((save.end.error.type, save.end.error.message))
        self._read_attempts(reading)
        for op in reading.points("log"):
            if text(op.value, "level") in ("ERROR", "CRITICAL"):
                self._logged[text(op.value, "thread")] = op.index

    def _read_attempts(self, reading: Reading) -> None:
        with_attempts: set[int] = set()
        for op, end in reading.pairs("attempt"):
            parent = op.value.get("parent")
            call = self._calls.get(parent) if isinstance(parent, int) else None
            if call is None or not isinstance(parent, int):
                continue
            with_attempts.add(parent)
            if end is not None and end.type is OpType.OK:
                self._made_good[call.turn] = max(self._made_good.get(call.turn, -1), op.index)
            elif end is None or _is(end.error, "CancelledError"):
                self._cancelled.add(parent)
            elif end.error is not None:
                self._failures[parent].add((end.error.type, end.error.message))
        for number, call in self._calls.items():
            if call.status == "ok" and number not in with_attempts:
                self._made_good[call.turn] = max(self._made_good.get(call.turn, -1), call.invoke.index)

    def call(self, save: SaverCall) -> Call | None:
        """The user's call that the save was made for."""
        return None if save.parent is None else self._calls.get(save.parent)

    def rows(self, save: SaverCall) -> tuple[int, ...]:
        """The save's rows and its call's."""
        call = self.call(save)
        own = (save.invoke.index,) if save.end is None else (save.invoke.index, save.end.index)
        return (*own, *(() if call is None else call.rows))

    def silent(self, save: SaverCall) -> bool:
        """True if the failure of ``save`` shows nowhere."""
        assert save.end is not None
        error, call, began = save.end.error, self.call(save), save.invoke.index
        turn = save.turn if call is None else call.turn
        if self._made_good.get(turn, -1) > began or self._logged.get(save.thread, -1) > began:
            return False
        if call is None or call.status == "ok":
            return True
        if call.status == "open" or _is(error, "CancelledError"):
            return False
        if call.end is not None and began > call.end.index:
            return False
        caught = call.end.error if call.end is not None else None
        if caught is None or save.parent is None:
            return True
        if _is(caught, "TimeoutError") and save.parent in self._cancelled:
            return False
        return self._failures[save.parent].isdisjoint(_chain(caught))


def _is(error: ErrorInfo | None, name: str) -> bool:
    return error is not None and (error.type == name or name in error.classes)


def _chain(error: ErrorInfo) -> Iterator[tuple[str, str]]:
    yield error.type, error.message
    for _, name, message in error.links:
        yield name, message
