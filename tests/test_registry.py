"""Names to objects, and what users bring along. Bad input is a table: what stands in the file, what the user reads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from harness.core.cell import DEFAULT_AGENTS
from harness.core.errors import UsageError
from harness.core.pool import PoolStrategy
from harness.core.verdict import Guarantee
from harness.registry import CANDIDATE, CONTROL, Registry, default_registry, did_you_mean, is_own, is_reported, role_of

ROOT = Path(__file__).resolve().parent.parent

GOOD_POOL = """
from typing import Any
from harness import PoolStrategy

class Mine(PoolStrategy):
    name = "mine"
    async def checkpointer(self, agent: Any) -> Any:
        raise NotImplementedError
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Write a plug-in file and return its path; each has a name of its own, for files are loaded once."""
    count = iter(range(100))

    def writer(source: str) -> Path:
        path = tmp_path / f"plugin_{next(count)}.py"
        path.write_text(dedent(source))
        return path

    return writer


class TestWhatShips:
    """What is found because its file is there."""

    def test_the_posts_five_agents(self) -> None:
        registry = default_registry()
        assert set(DEFAULT_AGENTS) <= set(registry.agents)
        for name in DEFAULT_AGENTS:
            assert registry.agent(name).name == name

    def test_the_strategies_that_were_promised_with_their_roles(self) -> None:
        registry = default_registry()
        roles = {name: role_of(strategy) for name, strategy in registry.strategies.items()}
        controls = {"naive_recreate", "graceful_degradation", "instance_tracking_naive", "pool_reference_naive"}
        candidates = {
            *("instance_tracking", "shared_swap", "per_agent_pool", "pgbouncer_session", "pgbouncer_transaction"),
            *("self_healing", "null_pool", "fail_fast", "degrade_and_rebind", "self_healing_retry"),
        }
        assert controls <= {name for name, role in roles.items() if role == CONTROL}
        assert candidates <= {name for name, role in roles.items() if role == CANDIDATE}

    def test_candidates_come_first(self) -> None:
        roles = [role_of(strategy) for strategy in default_registry().strategies.values()]
        assert roles == sorted(roles)

    def test_every_control_says_what_it_breaks(self) -> None:
        controls = [s for s in default_registry().strategies.values() if role_of(s) == CONTROL]
        assert all(control.breaks or is_reported(control) for control in controls)  # those owe a symptom

    def test_each_guarantee_is_judged(self) -> None:
        assert list(dict.fromkeys(checker.guarantee for checker in default_registry().checkers)) == list(Guarantee)

    def test_the_scenarios_that_were_promised_are_the_quick_ones(self) -> None:
        network = {n: s for n, s in default_registry().scenarios.items() if n.startswith("network/")}
        quick = {name for name, scenario in network.items() if scenario.quick}
        names = ("steady", "reset_mid_turn", "answers_lost", "black_hole_down", "post_incident", "recreate_no_fault")
        assert quick == {f"network/{name}" for name in names}

    def test_every_pair_that_must_be_caught_names_a_control_that_breaks_it(self) -> None:
        registry = default_registry()
        pairs = [(s.name, c, g) for s in registry.scenarios.values() for c, g in s.must_catch]
        assert pairs
        for scenario, control, guarantee in pairs:
            assert guarantee in registry.strategies[control].breaks, f"{scenario} must catch {control}: {guarantee}"

    def test_each_guarantee_has_a_control_that_must_be_caught_at_it(self) -> None:
        usual = [scenario for scenario in default_registry().scenarios.values() if not scenario.full_only]
        due = {guarantee for scenario in usual for _, guarantee in scenario.must_catch}
        assert due == set(Guarantee) - {Guarantee.EXERCISED}  # what a cell owes, not a strategy

    def test_every_fault_of_every_scenario_can_be_read_back_from_a_plan(self) -> None:
        registry = default_registry()
        for scenario in registry.scenarios.values():
            for window in scenario.plan:
                assert registry.faults[window.fault.kind] is type(window.fault)

    def test_a_family_stands_for_all_of_its_scenarios(self) -> None:
        registry = default_registry()
        assert registry.scenario_references("network") == tuple(n for n in registry.scenarios if n[:8] == "network/")
        assert registry.scenario_references("network/steady") == ("network/steady",)


class TestUnknownNames:
    """A wrong name costs a sentence, not a search."""

    @pytest.mark.parametrize(
        ("method", "name", "meant"),
        [
            ("strategy", "per_agent", "per_agent_pool"),
            ("strategy", "selfhealing", "self_healing"),
            ("agent", "Supervisor", "SupervisorAgent"),
            ("scenario", "network/reset_mid_trun", "network/reset_mid_turn"),
            ("scenario", "reset_mid_turn", "network/reset_mid_turn"),
        ],
    )
    def test_did_you_mean(self, method: str, name: str, meant: str) -> None:
        with pytest.raises(UsageError) as caught:
            getattr(default_registry(), method)(name)
        assert f"unknown {method} {name!r}: did you mean {meant!r}" in str(caught.value)
        assert "Known: " in str(caught.value)

    def test_a_name_that_resembles_nothing_gets_the_list_alone(self) -> None:
        with pytest.raises(UsageError, match=r"unknown strategy 'zzz'\. Known: .*per_agent_pool.*; or path/to/file"):
            default_registry().strategy("zzz")

    def test_nothing_is_near_nothing(self) -> None:
        assert did_you_mean("x", []) == "."


BAD_POOLS = {
    "syntax": ("class Mine(:\n    pass\n", "line 1: the file does not import: SyntaxError"),
    "import": ("\n\nimport no_such_module\n", "line 3: the file does not import: ModuleNotFoundError"),
    "raises": ("def f():\n    raise RuntimeError('no')\n\nf()\n", "line 2: the file does not import: RuntimeError: no"),
    "exits": ("import sys\nsys.exit(0)\n", "line 2: the file does not import: SystemExit: 0"),
    "no_such_name": ("class Other:\n    pass\n", "line 1: the file has no 'Mine'; it has Other"),
    "a_function": ("def Mine():\n    pass\n", "line 1: a function is not a pool strategy"),
    "a_number": ("X = 1\nMine = 7\n", "line 2: an int is not a pool strategy"),
    "a_stranger": ("class Mine:\n    pass\n", "line 1: class Mine is not a pool strategy"),
    "no_method": (
        "from harness import PoolStrategy\nclass Mine(PoolStrategy):\n    name = 'mine'\n",
        "line 2: Mine lacks the method checkpointer",
    ),
    "no_name": (GOOD_POOL.replace('name = "mine"', "pass"), "line 5: Mine has no name"),
    "odd_name": (GOOD_POOL.replace('"mine"', '"my pool"'), "Mine has the name 'my pool'"),
    "a_shipped_name": (
        GOOD_POOL.replace('"mine"', '"self_healing"'),
        "'self_healing' belongs to a strategy that ships",
    ),
    "errors_too_broad": (GOOD_POOL + "    errors = (Exception,)\n", "Mine.errors holds Exception"),
    "errors_psycopg": (GOOD_POOL + "    import psycopg\n    errors = (psycopg.Error,)\n", "Mine.errors holds Error"),
    "errors_closed": (
        GOOD_POOL + "    import psycopg_pool\n    errors = (psycopg_pool.PoolClosed,)\n",
        "Mine.errors holds PoolClosed",
    ),
    "errors_no_tuple": (GOOD_POOL + "    errors = TimeoutError\n", "allowed: a tuple of exception classes"),
    "needs": (
        GOOD_POOL + "    needs = {'postgres'}\n",
        "Mine.needs is {'postgres'}; allowed: a frozenset of Capability",
    ),
    "breaks": (GOOD_POOL + "    breaks = frozenset({'speed'})\n", "allowed: a frozenset of Guarantee members"),
    "not_async": (GOOD_POOL + "    def recreate(self): ...\n", "Mine.recreate must be written with async def"),
    "constructor": (GOOD_POOL + "    def __init__(self): ...\n", "must be made with one argument, the Database"),
}


class TestStrategiesFromFiles:
    """``path/to/file.py:Class``."""

    def test_a_good_one_is_found(self, write: Callable[[str], Path]) -> None:
        path = write(GOOD_POOL)
        strategy = default_registry().strategy(f"{path}:Mine")
        assert issubclass(strategy, PoolStrategy)
        assert strategy.name == "mine"
        assert role_of(strategy) == CANDIDATE

    def test_it_is_the_same_object_the_second_time(self, write: Callable[[str], Path]) -> None:
        path = write(GOOD_POOL)
        assert Registry().strategy(f"{path}:Mine") is Registry().strategy(f"{path}:Mine")

    @pytest.mark.parametrize("case", BAD_POOLS)
    def test_a_bad_one_is_one_sentence_with_file_and_line(self, case: str, write: Callable[[str], Path]) -> None:
        source, sentence = BAD_POOLS[case]
        path = write(source)
        with pytest.raises(UsageError) as caught:
            default_registry().strategy(f"{path}:Mine")
        text = str(caught.value)
        assert sentence in text
        assert f"{path}, line " in text
        assert "\n" not in text

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"nowhere\.py: no such file"):
            default_registry().strategy(f"{tmp_path}/nowhere.py:Mine")

    def test_a_file_without_a_name(self, write: Callable[[str], Path]) -> None:
        path = write(GOOD_POOL)
        with pytest.raises(UsageError, match=r"write path/to/file\.py:Name"):
            default_registry().strategy(str(path))

    def test_a_failed_import_is_tried_again(self, write: Callable[[str], Path]) -> None:
        path = write("raise RuntimeError\n")
        with pytest.raises(UsageError):
            default_registry().strategy(f"{path}:Mine")
        path.write_text(GOOD_POOL)
        assert default_registry().strategy(f"{path}:Mine").name == "mine"

    def test_a_file_in_a_package_may_import_its_neighbours(self, tmp_path: Path) -> None:
        package = tmp_path / "shop_of_mine" / "pools"
        package.mkdir(parents=True)
        (tmp_path / "shop_of_mine" / "__init__.py").touch()
        (package / "__init__.py").touch()
        (package / "base.py").write_text("NAME = 'from_the_neighbour'\n")
        (package / "pool.py").write_text(
            GOOD_POOL.replace('"mine"', "NAME").replace("\nclass", "from .base import NAME\nclass")
        )
        assert default_registry().strategy(f"{package}/pool.py:Mine").name == "from_the_neighbour"

    def test_a_shipped_file_by_its_path_is_the_shipped_strategy(self) -> None:
        registry = default_registry()
        shipped = registry.strategy("per_agent_pool")
        by_path = registry.strategy(f"{ROOT}/harness/pools/per_agent_pool.py:{shipped.__name__}")
        assert by_path is shipped


AGENTS = """
from typing import Annotated, Any, TypedDict
from langchain_core.messages import AIMessage
from langgraph.graph import END, START, MessagesState, StateGraph

def answer(state: MessagesState) -> dict[str, Any]:
    return {"messages": [AIMessage("yes")]}

builder = StateGraph(MessagesState)
builder.add_node("answer", answer)
builder.add_edge(START, "answer")
compiled = builder.compile()

def build() -> Any:
    return builder

async def build_async() -> Any:
    return builder

def build_for(user: str) -> Any:
    return builder

def build_nothing() -> Any:
    return None

class Plain:
    name = "plain"
    def graph(self) -> Any:
        return builder

class Nameless:
    def graph(self) -> Any:
        return builder

class NeedsMore:
    name = "needs_more"
    def __init__(self, model: Any) -> None: ...
    def graph(self) -> Any:
        return builder

class OtherState(TypedDict):
    answers: list[str]

other = StateGraph(OtherState)
other.add_node("answer", lambda state: {"answers": []})
other.add_edge(START, "answer")

from langgraph.channels.delta import DeltaChannel

class DeltaState(TypedDict):
    messages: Annotated[list[Any], DeltaChannel(lambda old, new: [*old, *new])]

delta = StateGraph(DeltaState)
delta.add_node("answer", lambda state: {"messages": []})
delta.add_edge(START, "answer")

outer = StateGraph(MessagesState)
outer.add_node("inner", delta.compile())
outer.add_edge(START, "inner")
"""


@pytest.fixture(scope="module")
def agents_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with agents in every shape, good and bad."""
    path = tmp_path_factory.mktemp("agents") / "my_agents.py"
    path.write_text(AGENTS)
    return path


class TestAgentsFromFiles:
    """``path/to/file.py:Name`` for a class, a graph, or a function."""

    @pytest.mark.parametrize(
        ("attribute", "name"),
        [("Plain", "plain"), ("builder", "builder"), ("compiled", "compiled"), ("build", "build")],
    )
    def test_any_usual_shape_will_do(self, agents_file: Path, attribute: str, name: str) -> None:
        agent = default_registry().agent(f"{agents_file}:{attribute}")
        assert agent.name == name
        assert "messages" in agent.graph().channels
        assert agent.turns_in({}) == []

    @pytest.mark.parametrize(
        ("attribute", "sentence"),
        [
            ("Nameless", "class Nameless lacks name"),
            ("NeedsMore", "NeedsMore must be made without arguments"),
            ("build_async", "build_async is an async function; allowed: a graph, a function that builds one"),
            ("build_for", "build_for must build the graph without arguments"),
            ("build_nothing", "the graph of build_nothing cannot be built: TypeError: it is a NoneType"),
            ("other", "no 'messages' channel: it must write turn_input, turns_in, answers_in itself"),
            ("delta", "the graph of delta has a DeltaChannel, 'messages':"),
            ("outer", "the graph of outer has a DeltaChannel, 'messages' in subgraph inner:"),
            ("nothing", "the file has no 'nothing'"),
        ],
    )
    def test_what_cannot_be_judged_is_refused(self, agents_file: Path, attribute: str, sentence: str) -> None:
        with pytest.raises(UsageError) as caught:
            default_registry().agent(f"{agents_file}:{attribute}")
        assert sentence in str(caught.value)
        assert str(agents_file) in str(caught.value)


class TestScenariosFromFiles:
    """``path/to/file.py`` and ``path/to/file.py:NAME``."""

    SOURCE = """
        from harness import Scenario
        from harness.workloads.closed_loop import ClosedLoop

        CALM = Scenario(name="mine/calm", title="Calm", why="To see.", question=1, load=ClosedLoop(), baseline=True)
        NUMBER = 3
    """

    def test_a_file_stands_for_all_of_its_scenarios(self, write: Callable[[str], Path]) -> None:
        path = write(self.SOURCE)
        registry = default_registry()
        assert registry.scenario_references(str(path)) == (f"{path}:CALM",)
        assert registry.scenario(f"{path}:CALM").name == "mine/calm"

    def test_what_is_no_scenario_is_refused(self, write: Callable[[str], Path]) -> None:
        path = write(self.SOURCE)
        with pytest.raises(UsageError, match=r"line \d+: NUMBER is an int, not a Scenario"):
            default_registry().scenario_references(f"{path}:NUMBER")
        empty = write("X = 1\n")
        with pytest.raises(UsageError, match="no Scenario at module level"):
            default_registry().scenario_references(str(empty))

    def test_own_files_are_told_from_others(self, tmp_path: Path) -> None:
        assert is_own(ROOT / "scenarios" / "network.py", "scenarios")
        assert not is_own(tmp_path / "scenarios" / "network.py", "scenarios")


def _python(code: str, cwd: Path, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
class TestInAnotherProcess:
    """A cell runs in a process of its own, which has the reference and nothing else."""

    def test_a_reference_means_the_same_in_any_folder(self, write: Callable[[str], Path], tmp_path: Path) -> None:
        from harness.plugins import canonical

        path = write(GOOD_POOL)
        reference = canonical(os.path.relpath(f"{path}:Mine"))
        code = f"from harness.registry import Registry; print(Registry().strategy({reference!r}).name)"
        assert _python(code, tmp_path / "..", PYTHONPATH=str(ROOT)) == "mine\n"

    def test_a_users_own_folder_named_scenarios_hides_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "scenarios").mkdir()
        (tmp_path / "scenarios" / "__init__.py").write_text("MINE = True\n")
        code = (
            "import scenarios; assert scenarios.MINE\n"
            "from harness.registry import Registry; print('network/steady' in Registry().scenarios)"
        )
        assert _python(code, tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}") == "True\n"
