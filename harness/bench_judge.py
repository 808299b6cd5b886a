"""What judging costs: seconds and memory for histories of 10,000 to 1,000,000 acknowledged turns.

``python -m harness.bench --only judge`` prints it; each size is judged in a process of its own, so that its memory can
be told. The cost shall grow in a straight line: a turn costs the same in a history a hundred times as long.
"""

from __future__ import annotations

import gc
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from harness.core.cell import CellSpec
from harness.core.facts import Facts, ThreadFacts
from harness.core.history import History, Op, OpType
from harness.core.scenario import Bounds
from harness.core.verdict import Guarantee, Json, Verdict
from harness.judge import judge

#: 200,000 is the size that has a budget: 2 s and 500 MB.
SIZES = (10_000, 100_000, 200_000, 1_000_000)
#: Turns of one thread: every reply shows the whole thread, as those of the agents under test do.
PER_THREAD = 100
#: How often a size is judged; the fastest counts. The largest one takes long enough to speak for itself.
REPEATS = {10_000: 5, 100_000: 3, 200_000: 3, 1_000_000: 1}
#: Longest that one size may take, in seconds.
LIMIT_S = 600.0
_AGENT = "SupervisorAgent"


def long_history(turns: int, per_thread: int = PER_THREAD) -> tuple[History, Facts]:
    """``turns`` acknowledged turns of ten users, and what an honest system holds afterwards."""
    ops: list[Op] = []
    threads: dict[str, ThreadFacts] = {}
    for number in range(turns // per_thread):
        thread = f"{_AGENT}.u{number % 10}.{number // 10}"
        ids = tuple(f"{thread}/t{k}" for k in range(per_thread))
        for k, turn in enumerate(ids):
            asked: dict[str, Json] = {
                "agent": _AGENT,
                "group": "g0",
                "thread": thread,
                "turn": turn,
                "deadline_s": 8.0,
            }
            call = len(ops)
            ops.append(Op(call, call / 1000, OpType.INVOKE, "turn", f"u{number % 10}", call, asked))
            reply: dict[str, Json] = {"text": "fine", "turns": list(ids[: k + 1]), "waiting": []}
            ops.append(Op(call + 1, (call + 1) / 1000, OpType.OK, "turn", f"u{number % 10}", call, reply))
        threads[thread] = ThreadFacts(
            thread=thread,
            agent=_AGENT,
            exists=True,
            turns=ids,
            answers=ids,
            sql_turns=ids,
            history_turns=ids,
        )
    return History(ops), Facts(threads=threads, table_threads=tuple(threads))


def seconds_to_judge(history: History, facts: Facts) -> float:
    """Seconds of processor time, without the garbage collector, as the judge's own process runs; raises RuntimeError if
    the judge does not find every turn.
    """
    history = History(history)  # what was read of a history is kept with it
    collected = gc.isenabled()
    gc.disable()
    try:
        began_s = time.process_time()
        result = judge(
            CellSpec(id="bench", scenario="bench/judge", strategy="honest"),
            role="candidate",
            breaks=frozenset(),
            expected=(),
            bounds=Bounds(),
            history=history,
            facts=facts,
        )
        took_s = time.process_time() - began_s
    finally:
        if collected:
            gc.enable()
    lost = next(finding for finding in result.findings if finding.guarantee is Guarantee.NO_LOST_TURN)
    if lost.verdict is not Verdict.PASS:
        raise RuntimeError(f"the judge found fault with an honest history: {lost.summary}")
    return took_s


def cost(turns: int) -> dict[str, Json]:
    """In this process: seconds, and megabytes that judging takes beside the history itself."""
    history, facts = long_history(turns)
    before_mb = _resident_mb()
    took_s = min(seconds_to_judge(history, facts) for _ in range(REPEATS.get(turns, 3)))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "turns": turns,
        "seconds": round(took_s, 3),
        "mb": round(max(0.0, peak_mb - before_mb), 1),
        "mb_of_the_history": round(before_mb, 1),
        "microseconds_per_turn": round(took_s / turns * 1e6, 2),
    }


def costs() -> list[Json]:
    """All sizes, each in a process of its own."""
    found: list[Json] = []
    for turns in SIZES:
        command = [sys.executable, "-m", "harness.bench_judge", str(turns)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"judging {turns} turns failed: {done.stderr[-2000:]}")
        found.append(json.loads(done.stdout))
        print(f"judge: {done.stdout.strip()}", file=sys.stderr, flush=True)
    return found


def _resident_mb() -> float:
    """What this process holds now, in megabytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    print(json.dumps(cost(int(sys.argv[1]))))
