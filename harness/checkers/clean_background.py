"""Nothing goes wrong where nobody waits for it, and the event loop keeps turning."""

from __future__ import annotations

from harness.checkers.flaws import Flaw, decide
from harness.checkers.reading import Reading, number, read, text
from harness.core.facts import Facts
from harness.core.history import History, Op
from harness.core.scenario import Bounds
from harness.core.verdict import Checker, Finding, Guarantee, Verdict

#: A stall of the loop must be longer than this, and than so many times the gate's longest.
STALL_S = 0.5
STALL_FACTOR = 3.0


class CleanBackground(Checker):
    """FAIL for a call of the loop's exception handler, an unraisable error, a coroutine that was never awaited, a task
    destroyed while pending, unless the harness itself made it; and for a stall of the event loop over
    max(500 ms, 3 x the gate's longest) while users called and the process itself was run.

    What follows after the harness had to kill a hung call is not the strategy's noise: it is counted, not judged.
    """

    guarantee = Guarantee.CLEAN_BACKGROUND

    def check(self, history: History, facts: Facts, bounds: Bounds) -> Finding:
        """See the class."""
        reading = read(history)
        killed = min(
            (call.end.index for call in reading.calls if call.end is not None and call.end.value.get("hung") is True),
            default=None,
        )
        noise = [op for op in reading.points("background") if op.value.get("ours") is not True]
        judged = [op for op in noise if killed is None or op.index < killed]
        flaws = [
            Flaw(
                Verdict.FAIL,
                f"{text(op.value, 'what') or 'noise'} at {op.time_s:.3f} s: {text(op.value, 'text')[:240]}",
                (op.index,),
            )
            for op in judged
        ]
        stalls = _stalls(reading)
        gate_s = max((seconds for op, seconds in stalls if op.time_s <= reading.gate_end_s), default=0.0)
        limit_s = max(STALL_S, STALL_FACTOR * gate_s)
        flaws += [
            Flaw(
                Verdict.FAIL,
                f"the event loop stood still for {seconds:.2f} s until {op.time_s:.2f} s{_in(op)}",
                (op.index,),
            )
            for op, seconds in stalls
            if seconds > limit_s
        ]
        if not reading.calls:
            flaws.append(Flaw(Verdict.INVALID, "nobody called, so nothing went on in the background"))
        longest_s = max((seconds for _, seconds in stalls), default=0.0)
        return decide(
            self.guarantee,
            flaws,
            f"no noise in the background; the loop's longest stall was {longest_s * 1000:.0f} ms",
            {"longest_stall_s": round(longest_s, 3), "after_a_kill": len(noise) - len(judged)},
        )


def _in(op: Op) -> str:
    """Where the loop stood, as the last lines of its stack."""
    lines = text(op.value, "stack").strip().splitlines()[-4:]
    return f", in {' '.join(line.strip() for line in lines)}" if lines else ""


def _stalls(reading: Reading) -> list[tuple[Op, float]]:
    """(row, seconds) of the loop's stalls while users called, less what the process or a fault stood still."""
    found = []
    gate_s = reading.phases.get("gate", 0.0)
    for op in reading.points("stall"):
        if op.value.get("host") is True or not gate_s <= op.time_s <= reading.driving_end_s:
            continue
        seconds = number(op.value, "seconds") - number(op.value, "ordered_s")
        found.append((op, seconds - reading.host_stalls.covered_s(op.time_s - seconds, op.time_s)))
    return found
