"""What every fault declares: its fields are its JSON, and a field that cannot be is refused by its name."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from harness.core.errors import UsageError
from harness.core.fault import Fault, FaultPlan, fault_from_json, fault_to_json, plan_from_json, plan_to_json
from harness.registry import default_registry

KINDS = default_registry().faults
FIELDS = [(kind, field) for kind, cls in KINDS.items() for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
PLANS = {scenario.name: scenario.plan for scenario in default_registry().scenarios.values() if scenario.plan}


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_is_its_json(kind: str) -> None:
    fault: Fault = KINDS[kind]()
    assert fault_to_json(fault)["kind"] == kind
    assert fault_from_json(fault_to_json(fault), KINDS) == fault


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_is_its_json(name: str) -> None:
    plan: FaultPlan = PLANS[name]
    assert plan_from_json(plan_to_json(plan), KINDS) == plan


@pytest.mark.parametrize(("kind", "field"), FIELDS, ids=lambda value: value if isinstance(value, str) else value.name)
def test_a_fault_refuses_what_a_field_cannot_be(kind: str, field: dataclasses.Field[Any]) -> None:
    value = getattr(KINDS[kind](), field.name)
    wrong = [] if isinstance(value, bool) else ["sideways"] if isinstance(value, str) else [-1, float("nan")]
    for item in wrong:
        with pytest.raises(UsageError, match=rf"{kind}: .*{field.name}.* is .*allowed"):
            dataclasses.replace(KINDS[kind](), **{field.name: item})  # type: ignore[type-var]
