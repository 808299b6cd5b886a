"""The honest saver is never flagged, whatever goes wrong on the way to it: saves that fail, answers that are lost or
late, calls that stall and are cancelled, replicas that die, users who try again, go back, and delete.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings

from agents_under_test.formulation_assistant import FormulationAssistant
from agents_under_test.project_bodhi_agent import ProjectBodhiAgent
from agents_under_test.supervisor_agent import SupervisorAgent
from agents_under_test.three_dp_custom_agent import ThreeDPCustomAgent
from agents_under_test.trial_analysis_agent import TrialAnalysisAgent
from harness.core.history import CALLS, OpType
from harness.core.verdict import Verdict
from harness.workloads.closed_loop import ClosedLoop
from tests.oracle.memory_run import GROUPS, Run, run
from tests.oracle.plans import STYLES, Plan, Trouble, plans

TEAM = (SupervisorAgent, ThreeDPCustomAgent, ProjectBodhiAgent, TrialAnalysisAgent, FormulationAssistant)


class _Tally:
    """What the runs really contained, so that "never flagged" is not said of runs in which nothing happened."""

    def __init__(self) -> None:
        self.runs = 0
        self.seen: Counter[str] = Counter()

    def take(self, found: Run) -> None:
        """Count one run; it must not be flagged."""
        assert found.broken == ()
        assert found.codes == frozenset()
        self.runs += 1
        self.seen.update({f"met {trouble}": 1 for trouble in set(found.met)})
        self.seen["decided"] += all(finding.verdict is Verdict.PASS for finding in found.findings)
        for op, end in found.history.pairs(*CALLS):
            kind = "open" if end is None else end.type.value
            self.seen[f"{op.f} {kind}"] += 1
            if end is None:
                self.seen["died with their replica"] += 1
            elif end.type is OpType.OK and isinstance(op.value["attempt"], int) and op.value["attempt"] > 1:
                self.seen["answered when repeated"] += 1
            elif end.value.get("refused"):
                self.seen["refused"] += 1
            elif end.value.get("hung"):
                self.seen["hung"] += 1

    def check(self, runs: int) -> None:
        """Most runs must have been decided, and each kind of trouble and of outcome must have been there."""
        assert self.runs >= runs
        assert self.seen["decided"] >= 0.7 * self.runs
        rare = ["died with their replica", "answered when repeated", "refused", "hung", "turn fail", "turn info"]
        for what in [*(f"{kind} ok" for kind in CALLS), *(f"met {trouble}" for trouble in Trouble), *rare]:
            assert self.seen[what] >= runs / 100, (what, self.seen)


def _never_flagged(runs: int) -> None:
    tally = _Tally()

    @settings(
        max_examples=runs, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(plans())
    def clean(plan: Plan) -> None:
        tally.take(run(plan))

    clean()
    tally.check(runs)


@pytest.mark.slow
def test_300_drawn_runs_are_never_flagged() -> None:
    _never_flagged(300)


@pytest.mark.proof
def test_10_000_drawn_runs_are_never_flagged() -> None:
    _never_flagged(10_000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_the_teams_five_agents_under_their_own_load_are_never_flagged(seed: int) -> None:
    agents = {agent.name: agent for agent in TEAM}
    plan = Plan(
        seed=seed,
        troubles=(
            (40, Trouble.ANSWER_LOST, 1),
            (90, Trouble.REFUSED, 20),
            (150, Trouble.LATE, 8),
            (250, Trouble.STALLS, 2),
        ),
        crashes=((200, 0), (300, 1)),
        style=STYLES[seed % 4],
        durability=("async", "sync", "exit")[seed % 3],
    )
    users = ClosedLoop(users_n=5, turns_per_thread=4).users(seed=seed, agents=tuple(agents), groups=GROUPS)

    found = run(plan, agents=agents, users=users, calls=40)

    assert {finding.verdict for finding in found.findings} == {Verdict.PASS}, found.broken
    assert {Trouble.ANSWER_LOST, Trouble.REFUSED} <= set(found.met)
