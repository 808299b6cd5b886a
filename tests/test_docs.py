"""The examples in the documentation work as they stand, and its links lead somewhere."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import pytest

from harness import checkers
from harness.core.facts import Facts
from harness.core.fault import fault_from_json, fault_to_json
from harness.core.history import History, Op, OpType
from harness.core.scenario import Bounds
from harness.core.verdict import Guarantee, Verdict
from harness.plugins import load_file
from harness.registry import CANDIDATE, default_registry, role_of

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        ROOT / "harness" / "README.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "reports" / "findings").glob("*.md"),
    ]
)

_EXAMPLE = re.compile(r"<!-- example: (\S+) -->\n```python\n(.*?)```", re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each example of CONTRIBUTING.md as a file, by its name."""
    folder = tmp_path_factory.mktemp("examples")
    found = {}
    for name, source in _EXAMPLE.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        found[name] = folder / name
        found[name].write_text(source, encoding="utf-8")
    return found


def test_there_is_one_of_each(examples: dict[str, Path]) -> None:
    assert set(examples) == {"drained_pool.py", "echo_agent.py", "slow_lan.py", "brownout.py", "few_refusals.py"}


def test_the_strategy_is_a_candidate(examples: dict[str, Path]) -> None:
    strategy = default_registry().strategy(f"{examples['drained_pool.py']}:DrainedPool")
    assert strategy.name == "drained_pool"
    assert role_of(strategy) == CANDIDATE


def test_the_agent_answers(examples: dict[str, Path]) -> None:
    from harness.core.agent import Turn

    agent = default_registry().agent(f"{examples['echo_agent.py']}:EchoAgent")
    values = agent.graph().compile().invoke(agent.turn_input(Turn("a/t1", "a", "hello")))
    assert agent.turns_in(values) == ["a/t1"]
    assert agent.answers_in(values) == ["a/t1"]


def test_the_scenario_is_found_in_its_file(examples: dict[str, Path]) -> None:
    registry = default_registry()
    (reference,) = registry.scenario_references(str(examples["slow_lan.py"]))
    scenario = registry.scenario(reference)
    assert scenario.name == "slow_lan/both_ways"
    assert len(scenario.plan) == 2


def test_the_fault_goes_to_json_and_back(examples: dict[str, Path]) -> None:
    brownout = load_file(examples["brownout.py"]).Brownout
    fault = brownout(latency_ms=150)
    assert fault_from_json(fault_to_json(fault), {"brownout": brownout}) == fault
    assert fault.delay_ms == 300.0
    for name in ("needs", "usable", "effect", "in_flight", "holds_connections", "active"):
        assert hasattr(fault, name)
    with pytest.raises(dataclasses.FrozenInstanceError):
        fault.latency_ms = 1


@pytest.mark.parametrize(
    ("answered", "refused", "verdict"), [(0, 0, Verdict.INVALID), (9, 1, Verdict.PASS), (8, 2, Verdict.FAIL)]
)
def test_the_checker_decides(answered: int, refused: int, verdict: Verdict, examples: dict[str, Path]) -> None:
    ops = []
    for n in range(answered + refused):
        ended = (OpType.INFO, {"refused": True}) if n < refused else (OpType.OK, {"text": "yes"})
        ops.append(Op(2 * n, float(n), OpType.INVOKE, "turn", "u0", n, {}))
        ops.append(Op(2 * n + 1, n + 0.5, ended[0], "turn", "u0", n, ended[1]))  # type: ignore[arg-type]
    checker = load_file(examples["few_refusals.py"]).FewRefusals()
    finding = checker.check(History(ops), Facts(), Bounds())
    assert finding.verdict is verdict
    assert len(finding.evidence) == refused


def test_the_checker_is_found_in_its_folder(examples: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = examples["few_refusals.py"].parent
    monkeypatch.setattr(checkers, "__path__", [*checkers.__path__, str(folder)])
    try:
        found = checkers.discover()
    finally:
        for example in examples.values():
            sys.modules.pop(f"harness.checkers.{example.stem}", None)
    assert len(found) == len(checkers.ALL) + 1
    assert [type(checker).__name__ for checker in found if checker.guarantee is Guarantee.AVAILABLE] == [
        "Available",
        "FewRefusals",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    broken = [link for link in _LINK.findall(text) if not (page.parent / link).exists()]
    assert not broken


def test_every_part_stands_on_the_map() -> None:
    text = (ROOT / "harness" / "README.md").read_text(encoding="utf-8")
    parts = {
        path.name if path.is_file() else f"{path.name}/"
        for path in (ROOT / "harness").iterdir()
        if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").is_file()
    }
    missing = {part for part in parts if f"`{part}`" not in text}
    assert not missing, f"harness/README.md says nothing of {sorted(missing)}"


def test_every_variable_that_chooses_a_component_is_documented() -> None:
    text = (ROOT / "docs" / "components.md").read_text(encoding="utf-8")
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "harness" / "environments").glob("*.py"))
    variables = set(re.findall(r"POOLPROOF_[A-Z_]+", sources)) - {"POOLPROOF_MIDDLE_SECRET"}  # for our own process
    assert len(variables) >= 7
    assert {name for name in variables if f"`{name}`" not in text} == set()


def test_the_commands_of_the_readme_exist() -> None:
    from harness.cli.app import app

    text = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "CONTRIBUTING.md"))
    commands = {a or b for a, b in re.findall(r"^poolproof ([\w-]+)|`poolproof ([\w-]+)", text, re.MULTILINE)}
    options = set(re.findall(r"poolproof run.*?(--[a-z-]+)", text))
    known = {option for parameter in app.commands["run"].params for option in parameter.opts}
    assert commands == set(app.commands)
    assert options
    assert options <= known


@pytest.mark.slow
def test_the_strategy_and_the_agent_run(examples: dict[str, Path], tmp_path: Path) -> None:
    from harness.selection import Wish, select
    from harness.slot import Slot
    from harness.store import Run

    wish = Wish(
        scenarios=[str(examples["slow_lan.py"])],
        strategies=[f"{examples['drained_pool.py']}:DrainedPool"],
        agents=[f"{examples['echo_agent.py']}:EchoAgent"],
    )
    (spec,) = select(default_registry(), wish, sentinels=False).cells
    slot = Slot.start("local")
    try:
        result = slot.run(spec, Run.create(root=tmp_path).cell(spec.id))
    finally:
        slot.close()
    assert result.verdict is Verdict.PASS, result.reason
