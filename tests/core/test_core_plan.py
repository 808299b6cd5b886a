"""The plan's loader: every plan survives its JSON, every mistake is told with its place and with what is allowed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.environment import Capability, Environment
from harness.core.errors import UsageError
from harness.core.fault import (
    PLAN_LIMIT_S,
    Effect,
    Fault,
    FaultPlan,
    Window,
    Witness,
    fault_from_json,
    fault_to_json,
    plan_from_json,
    plan_to_json,
)
from harness.core.scenario import Bounds, Scenario
from harness.workloads.closed_loop import ClosedLoop


@dataclass(frozen=True, slots=True, kw_only=True)
class Wobble:
    """A fault with a field of every type that plans may hold."""

    wobble_ms: int = 100
    share: float = 0.5
    stream: str = "downstream"
    hard: bool = False

    kind: ClassVar[str] = "wobble"
    needs: ClassVar[frozenset[Capability]] = frozenset()
    usable: ClassVar[bool] = True
    effect: ClassVar[Effect] = Effect.DELAYS
    in_flight: ClassVar[int] = 3
    holds_connections: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.wobble_ms < 0:
            raise UsageError(f"wobble: wobble_ms is {self.wobble_ms!r}; allowed: 0 or more")

    @property
    def delay_ms(self) -> float:
        return float(self.wobble_ms)

    def active(self, env: Environment) -> AbstractAsyncContextManager[Witness]:
        raise AssertionError("a loader never starts a fault")


KINDS: Mapping[str, type[Any]] = {"wobble": Wobble}
_FAULTS = st.builds(
    Wobble,
    wobble_ms=st.integers(0, 10_000),
    share=st.floats(0, 1),
    stream=st.text(max_size=5),
    hard=st.booleans(),
)


@st.composite
def _plans(draw: st.DrawFn) -> FaultPlan:
    """Windows one after the other, so that none of the same fault overlap."""
    windows, at_s = [], 0.0
    for _ in range(draw(st.integers(0, 4))):
        start_s = at_s + draw(st.floats(0, 20))
        stop_s = start_s + draw(st.floats(0.001, 20))
        windows.append(Window(draw(_FAULTS), start_s, stop_s))
        at_s = stop_s
    return tuple(windows)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(_plans())
def test_every_plan_survives_its_json(plan: FaultPlan) -> None:
    assert plan_from_json(json.loads(json.dumps(plan_to_json(plan))), KINDS) == plan


@settings(max_examples=100, deadline=None)
@given(_FAULTS)
def test_every_fault_survives_its_json(fault: Wobble) -> None:
    assert isinstance(fault, Fault)
    assert fault_from_json(json.loads(json.dumps(fault_to_json(fault))), KINDS) == fault


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["fault", "start_s", "stop_s", "kind", "wobble_ms", "share", "stream", "hard", "x"]), inner
        )
    ),
    max_leaves=8,
)
_NEARLY_FAULTS = st.fixed_dictionaries(
    {"kind": st.just("wobble") | _ANYTHING},
    optional=dict.fromkeys(("wobble_ms", "share", "stream", "hard", "x"), _ANYTHING),
)
_NEARLY_PLANS = st.lists(
    st.fixed_dictionaries(
        {"fault": _NEARLY_FAULTS | _ANYTHING, "start_s": st.integers(0, 5) | _ANYTHING, "stop_s": _ANYTHING},
        optional={"x": _ANYTHING},
    )
    | _ANYTHING,
    max_size=3,
)


def _loaded(data: Any) -> FaultPlan | None:
    """The plan, or None if it was refused as the user's mistake; any other exception is a bug."""
    try:
        return plan_from_json(data, KINDS)
    except UsageError as refused:
        message = str(refused)
    assert message.startswith("plan")
    return None


@pytest.mark.slow
@settings(max_examples=600, deadline=None)
@given(_ANYTHING | _NEARLY_PLANS)
def test_whatever_is_loaded_is_a_plan_or_the_user_s_mistake(data: Any) -> None:
    plan = _loaded(data)
    if plan is not None:
        assert _loaded(json.loads(json.dumps(plan_to_json(plan)))) == plan
        for window in plan:
            assert 0 <= window.start_s < window.stop_s <= PLAN_LIMIT_S


def _row(**changes: Any) -> dict[str, Any]:
    return {"fault": {"kind": "wobble"}, "start_s": 0.5, "stop_s": 1.5, **changes}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "plan: is a dict; allowed: a list of windows"),
        ([7], "plan, window 0: allowed: an object with just fault, start_s and stop_s"),
        ([_row(), _row(extra=1)], "plan, window 1: allowed: an object with just"),
        ([_row(fault="wobble")], "plan, window 0: fault is 'wobble'; allowed: an object"),
        ([_row(fault={"kind": "tremble"})], "plan, window 0: kind is 'tremble'; allowed: wobble"),
        ([_row(fault={})], "plan, window 0: kind is None; allowed: wobble"),
        ([_row(fault={"kind": "wobble", "ms": 1})], "plan, window 0: wobble has no field 'ms'; allowed: hard, share"),
        ([_row(fault={"kind": "wobble", "wobble_ms": "1"})], "wobble.wobble_ms is '1'; allowed: a int"),
        ([_row(fault={"kind": "wobble", "wobble_ms": 1.5})], "wobble.wobble_ms is 1.5; allowed: a int"),
        ([_row(fault={"kind": "wobble", "wobble_ms": True})], "wobble.wobble_ms is True; allowed: a int"),
        ([_row(fault={"kind": "wobble", "hard": 1})], "wobble.hard is 1; allowed: a bool"),
        ([_row(fault={"kind": "wobble", "share": float("nan")})], "wobble.share is nan; allowed: a float"),
        ([_row(fault={"kind": "wobble", "share": 10**400})], "wobble.share is 1"),
        (
            [_row(fault={"kind": "wobble", "wobble_ms": -1})],
            "plan, window 0: wobble: wobble_ms is -1; allowed: 0",
        ),
        ([_row(start_s="0")], "plan, window 0: window of 'wobble': start_s is '0'; allowed: a number"),
        ([_row(start_s=True)], "start_s is True; allowed: a number"),
        ([_row(start_s=-0.1)], "start_s is -0.1; allowed: 0 to 600"),
        ([_row(stop_s=600.1)], "stop_s is 600.1; allowed: 0 to 600"),
        ([_row(stop_s=10**400)], "stop_s is 1"),
        ([_row(stop_s=float("inf"))], "stop_s is inf; allowed: a number"),
        ([_row(stop_s=0.5)], "stop_s is 0.5; allowed: later than 0.5"),
        ([_row(), _row(start_s=1.0, stop_s=2.0)], "plan: windows 0 and 1 of 'wobble' overlap"),
    ],
    ids=str,
)
def test_each_mistake_is_named(data: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan_from_json(data, KINDS)
    assert message in str(caught.value)


def test_windows_of_different_faults_may_overlap_and_equal_ones_may_touch() -> None:
    other = {"kind": "wobble", "wobble_ms": 7}
    plan = plan_from_json([_row(), _row(fault=other), _row(start_s=1.5, stop_s=2.0)], KINDS)
    assert [window.stop_s for window in plan] == [1.5, 1.5, 2.0]


@pytest.mark.parametrize(("stop_s", "why", "refused"), [(9.5, "", True), (9.5, "because", False), (10.0, "", False)])
def test_a_bound_of_six_seconds_needs_an_outage_of_ten_or_a_reason(stop_s: float, why: str, refused: bool) -> None:
    ground = (
        pytest.raises(UsageError, match=r"recover_s is 6, its longest window 9\.5 s; allowed: windows of 10 s and more")
        if refused
        else contextlib.nullcontext()
    )
    with ground:
        Scenario(
            name="x/y",
            title="t",
            why="w",
            question=1,
            load=ClosedLoop(),
            plan=(Window(Wobble(), 0.0, stop_s),),
            bounds=Bounds(recover_s=6.0, recover_why=why),
        )
