"""Once the last damage is undone, everybody is served again, soon and for good."""

from __future__ import annotations

from harness.checkers.flaws import Flaw, decide
from harness.checkers.reading import Call, Reading, read
from harness.core.facts import Facts
from harness.core.history import History
from harness.core.scenario import SLOW_FACTOR, Bounds
from harness.core.verdict import Checker, Finding, Guarantee, Verdict


class Recovers(Checker):
    """From the end of the last window + ``recover_s`` on, every call is answered, and every agent of every group that
    took part has been. Late by up to three bounds is SLOW, later or never is FAIL.

    How late an agent is, is the later of two times after the heal: its first answer, and the last time that one of
    its calls ended without one. Only calls begun after the heal count for the second: a call that began inside the
    damage may use up its deadline and fail after the heal, however well everything works again by then; that it ends
    at all is for ``no_hang`` to see. An agent whose last call was not answered has not recovered when driving ended:
    FAIL, if that was later than the bound. INVALID if driving ended before the bound could be judged, or if the
    machine stood still for what an agent was late.
    """

    guarantee = Guarantee.RECOVERS

    def check(self, history: History, facts: Facts, bounds: Bounds) -> Finding:
        """See the class."""
        reading = read(history)
        healed_s = reading.healed_s
        if healed_s is None:
            return decide(self.guarantee, [], "nothing to recover from: the plan has no window")
        agents: dict[tuple[str, str], _Return] = {}
        for call in reading.calls:
            agent = agents.setdefault((call.group, call.agent), _Return())
            agent.note(call, reading, healed_s, bounds)
        flaws, latest_s = [], 0.0
        for (group, name), agent in sorted(agents.items()):
            flaw, late_s = agent.judge(f"{group}/{name}", reading, healed_s, bounds)
            latest_s = max(latest_s, late_s)
            flaws += [] if flaw is None else [flaw]
        if not agents:
            flaws.append(Flaw(Verdict.INVALID, "nobody called, so nobody could be served again"))
        kept = f"all {len(agents)} replicas answered every call from {latest_s:.2f} s after the heal on"
        return decide(self.guarantee, flaws, kept, {"recovery_s": round(latest_s, 3), "bound_s": bounds.recover_s})


class _Return:
    """How one agent of one group came back: times of its answers and failures since the heal, with their rows."""

    def __init__(self) -> None:
        self.first_ok: tuple[float, int] | None = None
        self.last_ok_row = -1
        self.last_bad: tuple[float, Call] | None = None
        self.asked = 0

    def note(self, call: Call, reading: Reading, healed_s: float, bounds: Bounds) -> None:
        """Take one call of this agent into account."""
        if call.status == "ok":
            assert call.end is not None
            if call.end.time_s >= healed_s:
                self.first_ok = min(
                    self.first_ok or (call.end.time_s, call.end.index), (call.end.time_s, call.end.index)
                )
                self.last_ok_row = max(self.last_ok_row, call.end.index)
        if call.began_s < healed_s:
            return
        self.asked += 1
        if reading.unanswered(call, bounds.deadline_s):
            ended_s = reading.end_s if call.ended_s is None else call.ended_s
            if self.last_bad is None or ended_s >= self.last_bad[0]:
                self.last_bad = (ended_s, call)

    def judge(self, name: str, reading: Reading, healed_s: float, bounds: Bounds) -> tuple[Flaw | None, float]:
        """(flaw or None, seconds until this agent was back)."""
        driven_s = max(0.0, reading.driving_end_s - healed_s)
        if self.first_ok is None:
            return self._never(name, reading, healed_s, driven_s, bounds), driven_s
        rows: tuple[int, ...] = (self.first_ok[1],)
        late_s, words = self.first_ok[0] - healed_s, f"{name} gave its first answer"
        back = True
        if self.last_bad is not None and self.last_bad[0] - healed_s > late_s:
            late_s, call = self.last_bad[0] - healed_s, self.last_bad[1]
            back = self.last_ok_row > call.rows[-1]
            words, rows = f"{call} {call.outcome}", call.rows
        if late_s <= bounds.recover_s:
            if back:
                return None, late_s
            return Flaw(
                Verdict.INVALID, f"{words}, and {name} was not asked again: nothing shows it back", rows
            ), late_s
        verdict = _verdict(late_s, bounds) if back else Verdict.FAIL
        stood_s = reading.host_stalls.covered_s(healed_s, healed_s + late_s)
        if stood_s and _verdict(late_s - stood_s, bounds).rank > verdict.rank:
            return _stood_still(name, stood_s, rows), late_s
        after = "" if back else "; no answer followed"
        words = f"{words} {late_s:.2f} s after the last window had ended (bound {bounds.recover_s:g} s){after}"
        return Flaw(verdict, words, rows), late_s

    def _never(self, name: str, reading: Reading, healed_s: float, driven_s: float, bounds: Bounds) -> Flaw:
        stood_s = reading.host_stalls.covered_s(healed_s, healed_s + driven_s)
        if not self.asked:
            words = f"{name} was not asked again after the last window had ended, so it shows nothing"
            return Flaw(Verdict.INVALID, words)
        rows = self.last_bad[1].rows if self.last_bad is not None else ()
        if driven_s <= bounds.recover_s:
            words = f"driving ended {driven_s:.2f} s after the last window, before the bound of {bounds.recover_s:g} s"
            return Flaw(Verdict.INVALID, f"{words}, and {name} had not answered yet", rows)
        if driven_s - stood_s <= bounds.recover_s:
            return _stood_still(name, stood_s, rows)
        words = f"{name} never answered again: {self.asked} calls in {driven_s:.1f} s after the last window had ended"
        return Flaw(Verdict.FAIL, words, rows)


def _verdict(late_s: float, bounds: Bounds) -> Verdict:
    if late_s <= bounds.recover_s:
        return Verdict.PASS
    return Verdict.SLOW if late_s <= bounds.recover_s * SLOW_FACTOR else Verdict.FAIL


def _stood_still(name: str, stood_s: float, rows: tuple[int, ...]) -> Flaw:
    return Flaw(
        Verdict.INVALID, f"{name} was late, and the machine stood still for {stood_s:.1f} s of it", rows, host=True
    )
