"""Numbers that are reported beside the guarantees and never averaged into them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from harness.checkers.effects import quantile
from harness.checkers.reading import Call, Reading, number, read
from harness.checkers.recovery_parts import recovery_parts
from harness.checkers.waste import waste
from harness.core.facts import Facts
from harness.core.history import History, OpType
from harness.core.scenario import Bounds
from harness.core.verdict import Json


def measure(history: History, facts: Facts, bounds: Bounds) -> dict[str, Json]:
    """Counts, and times whose names end in their unit. What the history cannot tell is left out.

    ``recovery_s``: from the end of the last window until the last agent gave its first answer or the last call begun
    since ended without one, whichever came later; ``recovery_first_s`` until anybody was answered;
    ``recovery_agents_s`` until every agent was; ``recovery_last_failure_s`` until the last call without an answer;
    ``recovery_first_save_s`` and its parts: see ``recovery_parts``. ``docs/measures.md`` lists them all.
    """
    reading = read(history)
    found: dict[str, Json] = {
        **_outcomes(reading),
        **_speed(reading),
        **_recovery(reading, bounds),
        **recovery_parts(reading),
        **_connections(reading),
        **_work(reading),
        **waste(reading),
        **_checkpoints(facts),
    }
    return {key: value for key, value in found.items() if _sayable(value)}


def _sayable(value: Json) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def _outcomes(reading: Reading) -> dict[str, Json]:
    statuses = Counter(call.status for call in reading.calls)
    return {
        "calls": len(reading.calls),
        "acknowledged": statuses["ok"],
        "refused": statuses["refused"],
        "in_doubt": statuses["info"] + statuses["open"],
        "failed": statuses["fail"],
    }


def _latencies_ms(calls: Iterable[Call]) -> list[float]:
    return [(call.ended_s - call.began_s) * 1000 for call in calls if call.ended_s is not None]


def _speed(reading: Reading) -> dict[str, Json]:
    """Latencies of answered turns and resumes: other calls are cheaper, and failed ones end when they like."""
    answered = [call for call in reading.calls if call.status == "ok" and call.kind in ("turn", "resume")]
    gate_s = reading.phases.get("gate", 0.0)
    in_gate = [c for c in answered if c.began_s >= gate_s and (c.ended_s or 0.0) <= reading.gate_end_s]
    found: dict[str, Json] = {}
    for prefix, values in (("", _latencies_ms(answered)), ("gate_", _latencies_ms(in_gate))):
        values.sort()
        for share in (50, 95, 99):
            found[f"{prefix}p{share}_ms"] = round(quantile(values, share / 100), 1) if values else None
    length_s = reading.gate_end_s - gate_s
    found["throughput_per_s"] = round(len(in_gate) / length_s, 2) if in_gate and length_s > 0 else None
    return found


def _recovery(reading: Reading, bounds: Bounds) -> dict[str, Json]:
    healed_s = reading.healed_s
    if healed_s is None:
        return {}
    first: dict[tuple[str, str], float] = {}
    last_bad_s = healed_s
    for call in reading.calls:
        agent = (call.group, call.agent)
        if call.status == "ok" and call.ended_s is not None and call.ended_s >= healed_s:
            first[agent] = min(first.get(agent, call.ended_s), call.ended_s)
        elif call.began_s >= healed_s and reading.unanswered(call, bounds.deadline_s):
            last_bad_s = max(last_bad_s, reading.end_s if call.ended_s is None else call.ended_s)
    agents = {(call.group, call.agent) for call in reading.calls}
    everybody_s = max(first.values()) - healed_s if first and agents == first.keys() else None
    failed_s = last_bad_s - healed_s
    return {
        "recovery_s": None if everybody_s is None else round(max(everybody_s, failed_s), 3),
        "recovery_first_s": round(min(first.values()) - healed_s, 3) if first else None,
        "recovery_agents_s": None if everybody_s is None else round(everybody_s, 3),
        "recovery_last_failure_s": round(failed_s, 3),
    }


def _connections(reading: Reading) -> dict[str, Json]:
    peaks: dict[str, int] = {}
    for sample in reading.samples:
        for group, pids in (sample.backends or {}).items():
            peaks[group] = max(peaks.get(group, 0), len(pids))
    by_group: dict[str, Json] = dict(sorted(peaks.items()))
    return {"peak_connections": max(peaks.values(), default=0), "peak_connections_by_group": by_group}


def _work(reading: Reading) -> dict[str, Json]:
    """What it took to get there, and what went wrong where no caller saw it."""
    calls = [call.invoke.value for call in reading.calls]
    attempts = sum(1 for op, _ in reading.pairs("attempt") if number(op.value, "n", 1.0) > 1)
    saves = [save for save in reading.saver_calls if save.f in ("aput", "aput_writes")]
    checks = [end for _, end in reading.pairs("ensure_healthy")]
    stood = [op.value for op in reading.points("stall") if op.value.get("host") is not True]
    stalls_s = [number(value, "seconds") - number(value, "ordered_s") for value in stood]
    ordered_s = [number(value, "ordered_s") for value in stood if "ordered_s" in value]
    host_s = [number(op.value, "seconds") for op in reading.points("stall") if op.value.get("host") is True]
    return {
        "retries": attempts,
        "repeats": sum(1 for value in calls if value.get("attempt", 1) != 1 and number(value, "attempt") > 1),
        "recreations": sum(1 for _ in reading.pairs("recreate")),
        "health_checks": len(checks),
        "health_checks_failed": sum(1 for end in checks if end is None or end.type is not OpType.OK),
        "pools_opened": sum(1 for op in reading.points("pool") if op.value.get("event") == "open"),
        "saves": len(saves),
        "saves_failed": sum(1 for save in saves if save.end is not None and save.end.error is not None),
        "messages_struck": int(sum(number(damage.change, "struck") for damage in reading.damages)),
        "longest_stall_ms": round(max(stalls_s, default=0.0) * 1000, 1),
        "longest_host_stall_ms": round(max(host_s, default=0.0) * 1000, 1),
        "longest_ordered_stall_ms": round(max(ordered_s) * 1000, 1) if ordered_s else None,
    }


def _checkpoints(facts: Facts) -> dict[str, Json]:
    """Normal after a fault, also for sound strategies: counted, never judged."""
    threads = facts.threads.values()
    return {
        "threads": len(facts.threads),
        "checkpoints": sum(thread.checkpoints for thread in threads),
        "forks": sum(thread.forks for thread in threads),
        "orphan_writes": sum(thread.orphan_writes for thread in threads),
        "dangling_parents": sum(thread.dangling_parents for thread in threads),
        "half_turns": sum(len(set(thread.turns or ()) - set(thread.answers)) for thread in threads),
    }
