"""Real cells on the real stack, made vacuous on purpose: each is INVALID for its own reason, and never a pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.cli import main
from harness.core.cell import DEFAULT_AGENTS
from harness.core.environment import Capability
from harness.core.record import CellResult
from harness.core.vacuity import Vacuity
from harness.core.verdict import Finding, Guarantee, Verdict
from harness.slot import Slot
from tests.cells import run_cell
from tests.plugins.vacuous import STOOD_STILL_S
from tests.vacuity.sound_cell import run_of

pytestmark = [pytest.mark.slow, pytest.mark.proof]
PLUGINS = Path(__file__).resolve().parents[1] / "plugins" / "vacuous.py"


def run(
    slot: Slot, folder: Path, scenario: str, strategy: str = "PlainPool", agents: Sequence[str] = DEFAULT_AGENTS
) -> CellResult:
    """One cell under a scenario and a strategy of the plug-in file (or a strategy that ships)."""
    return run_cell(slot, folder, scenario, strategy, plugins=PLUGINS, agents=agents)


def exercised(result: CellResult) -> Finding:
    return next(finding for finding in result.findings if finding.guarantee is Guarantee.EXERCISED)


def vacuous(result: CellResult, code: Vacuity, words: str) -> None:
    finding = exercised(result)
    assert result.verdict is Verdict.INVALID, f"{result.reason}; {finding.summary}"
    assert code.value in finding.codes, finding.summary
    assert words in str(finding.details["quotes"])
    assert run_of(result).exit == 3


def test_v01_a_fault_that_installs_nothing(slot: Slot, tmp_path: Path) -> None:
    vacuous(run(slot, tmp_path, "UNSAID"), Vacuity.V1, "read nothing back from the component")


def test_v02_a_window_in_which_nobody_has_traffic(slot: Slot, tmp_path: Path) -> None:
    vacuous(run(slot, tmp_path, "DESERTED"), Vacuity.V2, "met no traffic")


def test_v03_a_load_that_is_too_small(slot: Slot, tmp_path: Path) -> None:
    result = run(slot, tmp_path, "TWO_USERS", agents=("ProjectBodhiAgent", "ThreeDPCustomAgent"))
    vacuous(result, Vacuity.V3, "calls in flight, 3 are due")


def test_v04_a_fault_that_says_it_stands_and_does_nothing(slot: Slot, tmp_path: Path) -> None:
    vacuous(run(slot, tmp_path, "UNFELT"), Vacuity.V4, "disturbed nobody")


def test_v11_a_strategy_that_connects_past_the_proxy(slot: Slot, tmp_path: Path) -> None:
    vacuous(run(slot, tmp_path, "STILL", "PastTheProxy"), Vacuity.V11, "did not come through the proxy")


@pytest.mark.parametrize("strategy", ["PlainPool", "null_pool", "pgbouncer_transaction"])
def test_v11_what_goes_through_the_proxy_is_traced(strategy: str, slot: Slot, tmp_path: Path) -> None:
    """Also connections that live for one request, and those of a pooler."""
    if strategy.startswith("pgbouncer") and Capability.PGBOUNCER_TRANSACTION.value in slot.missing:
        pytest.skip("no PgBouncer here")
    result = run(slot, tmp_path, "STILL", strategy)
    assert result.verdict is Verdict.PASS, result.reason
    assert "unjudged" not in exercised(result).details


def test_v14_a_machine_that_is_stopped(slot: Slot, tmp_path: Path) -> None:
    result = run(slot, tmp_path, "STOPPED")
    vacuous(result, Vacuity.V14, "the machine stood still for")
    longest_ms = result.measures["longest_host_stall_ms"]
    assert isinstance(longest_ms, float)
    assert longest_ms >= STOOD_STILL_S * 1000 - 100


def test_v14_a_machine_that_is_not(slot: Slot, tmp_path: Path) -> None:
    finding = exercised(run(slot, tmp_path, "RUNNING"))
    assert finding.verdict is Verdict.PASS, finding.summary


def test_v04_carried_out_of_the_whole_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit status, and a sentence that says what was vacuous."""
    monkeypatch.delenv("CI", raising=False)
    named = ["--strategy", f"{PLUGINS}:PlainPool", "--strategy", "naive_recreate", "--jobs", "1"]
    status = main(["run", f"{PLUGINS}:UNFELT", *named, "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert status == 3, printed
    assert "disturbed nobody" in printed
