"""What is refused before anything starts, because it could prove nothing or could not be healed."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from harness.cli import main
from harness.core.cell import CellSpec
from harness.core.errors import UsageError
from harness.core.fault import Fault, Window, check_plan
from harness.core.scenario import Scenario
from harness.faults.answers_lost import AnswersLost
from harness.faults.black_hole import BlackHole
from harness.faults.flapping import Flapping
from harness.faults.latency import Latency
from harness.faults.proxy_down import ProxyDown
from harness.workloads.closed_loop import ClosedLoop

PLAIN = textwrap.dedent("""
    from harness import Scenario
    from harness.workloads.closed_loop import ClosedLoop
    from harness.faults.proxy_down import ProxyDown
    from harness import Window
""")


def refused(path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What the user reads when ``text`` is run as a file of scenarios: exit 2 and one line."""
    path.write_text(PLAIN + textwrap.dedent(text))
    assert main(["run", str(path), "--strategy", "naive_recreate", "--out", str(path.parent / "out")]) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert said.err.count("\n") == 1
    assert not (path.parent / "out").exists(), "nothing was started"
    return said.err


def scenario_of(*windows: Window, baseline: bool = False) -> Scenario:
    return Scenario(
        name="fire/plan", title="T", why="W", question=1, load=ClosedLoop(), plan=windows, baseline=baseline
    )


def test_row_30_a_plan_without_a_fault_is_a_baseline_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "NOTHING = Scenario(name='fire/nothing', title='T', why='W', question=1, load=ClosedLoop())"
    said = refused(tmp_path / "mine.py", text, capsys)
    assert "scenario fire/nothing: has a plan without any window" in said
    assert "allowed: at least one window, or baseline=True" in said
    assert scenario_of(baseline=True).plan == ()
    with pytest.raises(UsageError, match="a baseline has none"):
        scenario_of(Window(ProxyDown(), 0.0, 1.0), baseline=True)


def test_row_30_a_load_without_a_turn_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """
        class Silent:
            name = "u0"
            def next(self, last): return None
        class Nobody:
            def users(self, *, seed, agents, groups): return [Silent()]
        IDLE = Scenario(
            name='fire/idle', title='T', why='W', question=1, load=Nobody(), plan=(Window(ProxyDown(), 0.0, 1.0),)
        )
    """
    said = refused(tmp_path / "mine.py", text, capsys)
    assert "scenario fire/idle: none of the 1 users of its load makes a call" in said
    assert "allowed: at least one turn" in said


@pytest.mark.parametrize(("start_s", "stop_s", "late_s"), [(601.0, 602.0, "1 s"), (0.0, 700.0, "100 s")])
def test_row_31_a_window_after_the_end_is_refused_with_the_sum(start_s: float, stop_s: float, late_s: str) -> None:
    with pytest.raises(UsageError, match=rf"allowed: 0 to 600 \({late_s} after the end of the longest plan\)"):
        Window(ProxyDown(), start_s, stop_s)


@pytest.mark.parametrize(
    ("first", "second", "taken"),
    [
        (ProxyDown(), ProxyDown(), "the damage"),
        (ProxyDown(), Flapping(), "the proxy's port"),
        (Latency(latency_ms=100), Latency(latency_ms=300), "the toxic latency_downstream"),
        (BlackHole(stream="downstream"), AnswersLost(), "the toxic timeout_downstream"),
    ],
)
def test_row_31_a_heal_that_would_heal_another_window_is_refused_with_the_sum(
    first: Fault, second: Fault, taken: str
) -> None:
    with pytest.raises(UsageError) as caught:
        scenario_of(Window(first, 0.0, 3.0), Window(second, 2.5, 5.0))
    words = str(caught.value)
    assert "windows 0 and 1" in words
    assert "(0.0..3.0 and 2.5..5.0, so for 0.5 s)" in words
    assert f"healing one heals {taken} of the other; allowed: one after the other" in words
    check_plan((Window(first, 0.0, 2.5), Window(second, 2.5, 5.0)))


def test_row_31_different_damage_may_overlap() -> None:
    both_ways = (Window(Latency(stream="upstream"), 0.0, 3.0), Window(Latency(stream="downstream"), 1.0, 4.0))
    two_kinds = (Window(Latency(), 0.0, 3.0), Window(ProxyDown(), 1.0, 2.0))
    for plan in (both_ways, two_kinds):
        assert scenario_of(*plan).plan == plan


def window(**changes: object) -> dict[str, object]:
    return {"fault": {"kind": "latency", "latency_ms": 100}, "start_s": 0.0, "stop_s": 1.0, **changes}


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        ([window(fault={"kind": "latancy"})], "window 0: kind is 'latancy'; allowed: "),
        (
            [window(fault={"kind": "latency", "latency": 1})],
            "window 0: latency has no field 'latency'; allowed: latency_ms",
        ),
        (
            [window(fault={"kind": "latency", "latency_ms": "much"})],
            "window 0: latency.latency_ms is 'much'; allowed: a int",
        ),
        ([window(), window(start_s=-1.0)], "window 1: window of 'latency': start_s is -1.0; allowed: 0 to 600"),
        ([window(stop_s=float("nan"))], "a number is NaN; allowed: finite numbers"),
        ([window(stop_s=10**400)], "allowed: "),
        ([window(stop_s=0.0)], "stop_s is 0.0; allowed: later than 0.0"),
        ([{"fault": {"kind": "latency"}}], "window 0: allowed: an object with just fault, start_s and stop_s"),
        (["latency"], "window 0: allowed: an object"),
        ([], "plan has no window; allowed: at least one window, because network/latency is no baseline"),
        ({"fault": {}}, "plan is {'fault': {}}; allowed: a list"),
    ],
)
def test_row_29_a_bad_plan_in_a_stored_cell_is_refused_before_anything_starts(
    plan: object, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = CellSpec(id="old", scenario="network/latency", strategy="naive_recreate")
    (tmp_path / "cell.json").write_text(json.dumps({**spec.to_json(), "plan": plan}))
    assert main(["replay", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert told in said.err
    assert not (tmp_path / "reports").exists(), "nothing was started"
