"""Judges a cell from its folder: after it ran, after it died, and years later (``verify``)."""

from __future__ import annotations

import dataclasses

from harness.core.cell import CellSpec
from harness.core.facts import Facts
from harness.core.fault import FaultPlan, plan_from_json, plan_to_json
from harness.core.history import History
from harness.core.record import CellResult
from harness.core.scenario import Scenario
from harness.core.verdict import Verdict
from harness.judge import judge
from harness.registry import Registry, default_registry, role_of
from harness.store import CellFolder, open_cell


def plan_of(spec: CellSpec, scenario: Scenario, registry: Registry) -> FaultPlan:
    """The plan that a cell runs under: its own if it was given one, else the scenario's."""
    return scenario.plan if spec.plan is None else plan_from_json(spec.plan, registry.faults)


def judge_folder(
    folder: CellFolder, *, wall_s: float = 0.0, death: str = "", registry: Registry | None = None
) -> CellResult:
    """Judge what lies in ``folder``. ``death`` says how the cell's process ended if it ended badly: never a PASS then.

    Raises UsageError if the folder is damaged or names what is not there any more.
    """
    spec, history, facts = open_cell(folder.path)
    result = _judged(spec, history, facts, folder, wall_s, registry or default_registry())
    if death and result.verdict is not Verdict.FAIL:
        return dataclasses.replace(result, verdict=Verdict.ERROR, reason=death)
    return result


def unrun(folder: CellFolder, verdict: Verdict, reason: str, *, registry: Registry | None = None) -> CellResult:
    """A cell that could not even begin: SKIP because a component is missing, ERROR because one would not start."""
    spec, history, _ = open_cell(folder.path)
    result = _judged(spec, history, Facts(complete=False), folder, 0.0, registry or default_registry())
    return dataclasses.replace(result, verdict=verdict, reason=reason, findings=())


def _judged(
    spec: CellSpec, history: History, facts: Facts, folder: CellFolder, wall_s: float, registry: Registry
) -> CellResult:
    scenario = registry.scenario(spec.scenario)
    strategy = registry.strategy(spec.strategy)
    plan = plan_of(spec, scenario, registry)
    result = judge(
        spec,
        role=role_of(strategy),
        breaks=strategy.breaks,
        expected=tuple(guarantee for control, guarantee in scenario.must_catch if control == strategy.name),
        bounds=scenario.bounds,
        history=history,
        facts=facts,
        wall_s=wall_s,
        scheduled_s=scenario.scheduled_s,
        folder=f"cells/{folder.path.name}",
        checkers=registry.checkers,
    )
    return dataclasses.replace(result, plan=tuple(plan_to_json(plan)))
