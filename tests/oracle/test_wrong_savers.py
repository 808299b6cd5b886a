"""Each wrong saver is caught, with the code of its own lie; the honest one is clean in the very same run."""

from __future__ import annotations

import pytest

from harness.core.verdict import Anomaly, Verdict
from tests.oracle.memory_run import run
from tests.oracle.plans import STYLES, Plan
from tests.oracle.savers.acks_then_drops import AcksThenDrops
from tests.oracle.savers.applies_twice import AppliesTwice
from tests.oracle.savers.forgets_put_writes import ForgetsPutWrites
from tests.oracle.savers.forks import Forks
from tests.oracle.savers.honest import HonestSaver
from tests.oracle.savers.loses_on_crash import LosesOnCrash
from tests.oracle.savers.reads_old import ReadsOld
from tests.oracle.savers.swaps_threads import SwapsThreads
from tests.oracle.savers.undeletes import Undeletes
from tests.oracle.savers.writes_late import WritesLate

#: For each wrong saver a smallest plan under which its own code is the only one.
SMALLEST: dict[type[HonestSaver], Plan] = {
    AcksThenDrops: Plan(users=(("turn",),)),
    WritesLate: Plan(seed=95, users=(("delete", "turn", "restore"),)),
    # The thread that lost its turn is deleted, so that only the stranger in the other one is left to be seen.
    SwapsThreads: Plan(seed=3, users=(("turn",), ("restore", "turn", "delete")), durability="exit"),
    ReadsOld: Plan(seed=1, users=(("turn", "turn", "restore"),)),
    ForgetsPutWrites: Plan(users=(("turn",),)),
    AppliesTwice: Plan(users=(("turn",),)),
    Forks: Plan(users=(("turn", "turn", "turn"),)),
    Undeletes: Plan(users=(("turn", "delete"),)),
    LosesOnCrash: Plan(users=(("turn",), ("turn",), ("turn",)), crashes=((48, 0),), durability="sync"),
}
#: Seeds of the longer runs, and within how many of them a saver must be caught.
SEEDS = range(10)
CAUGHT_WITHIN = 4

savers = pytest.mark.parametrize("saver", SMALLEST, ids=lambda saver: saver.__name__)


def _longer(seed: int) -> Plan:
    """Three users, a replica that crashes while they talk, and every style and durability in turn."""
    return Plan(
        seed=seed,
        users=(("turn", "restore", "turn", "restore"), ("turn", "turn", "restore", "turn"), ("turn", "delete")),
        crashes=((60 + seed % 7 * 8, seed % 2),),
        style=STYLES[seed % 4],
        durability=("async", "sync", "exit")[seed % 3],
    )


@savers
def test_a_smallest_run_shows_its_own_code_and_no_other(saver: type[HonestSaver]) -> None:
    found = run(SMALLEST[saver], saver)

    assert found.codes == saver.own
    failed = {finding.guarantee for finding in found.findings if finding.verdict is Verdict.FAIL}
    assert failed == {Anomaly(code).guarantee for code in saver.own}


@savers
def test_the_honest_saver_is_clean_in_that_run(saver: type[HonestSaver]) -> None:
    found = run(SMALLEST[saver])

    assert found.codes == frozenset()
    assert found.broken == ()


@pytest.mark.slow
@savers
def test_longer_runs_show_its_own_code_soon_and_nothing_that_does_not_follow(saver: type[HonestSaver]) -> None:
    codes = [run(_longer(seed), saver).codes for seed in SEEDS]

    assert any(saver.own <= found for found in codes[:CAUGHT_WITHIN]), codes
    assert frozenset().union(*codes) <= saver.own | saver.follows


@pytest.mark.slow
def test_the_honest_saver_is_clean_in_the_longer_runs() -> None:
    for seed in SEEDS:
        found = run(_longer(seed))
        assert {finding.verdict for finding in found.findings} == {Verdict.PASS}, (seed, found.broken)
