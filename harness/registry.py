"""From a name to the object: what ships with Poolproof, what entry points add, and ``path/to/file.py:Name``.

There is no registration step: a file in ``harness/pools``, ``harness/faults``, ``harness/checkers``, ``scenarios`` or
``agents_under_test`` is found because it is there. Scenarios and agents are found by the names of their packages, never
imported by name, so that the harness does not depend on what it tests.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from harness.checkers import ALL
from harness.core.errors import UsageError, kind_of
from harness.core.fault import Fault
from harness.core.pool import PoolStrategy
from harness.core.scenario import Scenario
from harness.core.verdict import Checker, Guarantee
from harness.plugins import canonical, checked_strategy, is_file_reference, load_file, load_object, split, where_is

SCENARIOS = "scenarios"
AGENTS = "agents_under_test"
CONTROL, CANDIDATE = "control", "candidate"
_CONTROLS, _PLANTED = "harness.pools.controls.", "harness.pools.controls.planted."
_REPORTED = ("harness.pools.controls.incidents.", "harness.pools.cures.")
_BEHIND_POOLER = ("harness.pools.controls.behind_pooler.", "harness.pools.behind_pooler.")

T = TypeVar("T")


class Registry:
    """Every lookup is lazy and kept. All methods raise UsageError, with what was meant and what there is."""

    @cached_property
    def strategies(self) -> Mapping[str, type[PoolStrategy]]:
        """Every strategy by its name: candidates, controls, those of incidents, planted ones, each in order of name."""
        found: dict[str, type[PoolStrategy]] = dict(self._own_strategies)
        for point in entry_points(group="poolproof.pools"):
            where = _origin(point)
            strategy = checked_strategy(_load(point), where)
            _add(found, strategy.name, strategy, "strategy", where)
        return dict(sorted(found.items(), key=lambda item: _rank(item[1])))

    @cached_property
    def _own_strategies(self) -> Mapping[str, type[PoolStrategy]]:
        found: dict[str, type[PoolStrategy]] = {}
        for module in _modules("harness.pools"):
            for cls in _classes_of(module):
                if issubclass(cls, PoolStrategy) and not inspect.isabstract(cls) and hasattr(cls, "name"):
                    _add(found, cls.name, checked_strategy(cls, where_is(cls)), "strategy", where_is(cls))
        return found

    def strategy(self, reference: str) -> type[PoolStrategy]:
        """The strategy of this name, or the one that ``path/to/file.py:Class`` names."""
        if is_file_reference(reference):
            value, where = load_object(reference)
            strategy = checked_strategy(value, where)
            own = self._own_strategies.get(strategy.name)
            if own is not None and where_is(own) != where_is(strategy):
                raise UsageError(f"{where}: the name {strategy.name!r} belongs to a strategy that ships with Poolproof")
            return strategy
        if reference in self._own_strategies:
            return self._own_strategies[reference]
        return _pick(self.strategies, reference, "strategy", "path/to/file.py:Class")

    def role(self, reference: str) -> str:
        """``control`` for a strategy that says what it must be caught breaking, else ``candidate``."""
        return role_of(self.strategy(reference))

    @cached_property
    def agents(self) -> Mapping[str, Any]:
        """Classes of the agents under test, by name, in order of name."""
        from harness.core.agent import AgentUnderTest  # it costs a third of a second

        found: dict[str, Any] = {}
        for module in _modules(_package(AGENTS).__name__):
            for cls in _classes_of(module):
                if issubclass(cls, AgentUnderTest) and not inspect.isabstract(cls) and hasattr(cls, "name"):
                    _add(found, cls.name, cls, "agent", where_is(cls))
        for point in entry_points(group="poolproof.agents"):
            from harness.adapted_agent import agent_from

            where = _origin(point)
            agent = agent_from(_load(point), point.name, where)
            _add(found, agent.name, type(agent), "agent", where)
        return dict(sorted(found.items()))

    def agent(self, reference: str) -> Any:
        """A fresh AgentUnderTest: of this name, or made from what ``path/to/file.py:Name`` names."""
        if is_file_reference(reference):
            from harness.adapted_agent import agent_from  # it imports langgraph

            value, where = load_object(reference)
            agent = agent_from(value, split(reference)[1], where)
            if agent.name in self.agents and self.agents[agent.name] is not type(agent):
                raise UsageError(f"{where}: the name {agent.name!r} belongs to an agent that Poolproof knows already")
            return agent
        return _pick(self.agents, reference, "agent", "path/to/file.py:Name")()

    @cached_property
    def scenarios(self) -> Mapping[str, Scenario]:
        """Every scenario by its name, in the order in which its family's file has them."""
        found: dict[str, Scenario] = {}
        for module in _modules(_package(SCENARIOS).__name__):
            for _, scenario in scenarios_in(module):
                if found.get(scenario.name) is not scenario:
                    _add(found, scenario.name, scenario, "scenario", str(module.__file__))
        return found

    def scenario(self, reference: str) -> Scenario:
        """The scenario of this name, or the one that ``path/to/file.py:NAME`` names."""
        if is_file_reference(reference):
            value, where = load_object(reference)
            if not isinstance(value, Scenario):
                raise UsageError(f"{where}: {split(reference)[1]} is {kind_of(value)}, not a Scenario")
            return value
        if reference not in self.scenarios:
            families = {name.partition("/")[0] for name in self.scenarios}
            offer = did_you_mean(reference, [*sorted(families), *self.scenarios])
            raise UsageError(
                f"unknown scenario {reference!r}{offer} Known: the families {', '.join(sorted(families))}, what "
                "`poolproof list scenarios` shows, or path/to/file.py:NAME"
            )
        return self.scenarios[reference]

    def scenario_references(self, reference: str) -> tuple[str, ...]:
        """What ``reference`` stands for: one scenario, a whole family (``network``), or all of a file's."""
        if is_file_reference(reference):
            path, name = split(reference)
            if name:
                self.scenario(reference)
                return (canonical(reference),)
            names = [f"{path}:{attribute}" for attribute, _ in scenarios_in(load_file(path))]
            if not names:
                raise UsageError(f"{path}: the file has no Scenario at module level")
            return tuple(names)
        family = tuple(name for name in self.scenarios if name.startswith(reference.rstrip("/") + "/"))
        return family or (self.scenario(reference).name,)

    @cached_property
    def faults(self) -> Mapping[str, type[Fault]]:
        """Every fault by its kind, in order of kind: what a plan's JSON may name."""
        found: dict[str, Any] = {}
        for module in _modules("harness.faults"):
            cls: Any
            for cls in _classes_of(module):
                if _is_fault(cls):
                    _add(found, cls.kind, cls, "fault", where_is(cls))
        for point in entry_points(group="poolproof.faults"):
            value, where = _load(point), _origin(point)
            if not _is_fault(value):
                raise UsageError(f"{where}: not a fault; write a frozen dataclass with kind and active")
            _add(found, value.kind, value, "fault", where)
        return dict(sorted(found.items()))

    @cached_property
    def checkers(self) -> tuple[Checker, ...]:
        """Our own, in the order of ``Guarantee``; then what entry points add to them."""
        return (*ALL, *(_entry_checker(point) for point in entry_points(group="poolproof.checkers")))


@cache
def default_registry() -> Registry:
    """The one registry of this process."""
    return Registry()


def role_of(strategy: type[PoolStrategy]) -> str:
    """``control`` or ``candidate``."""
    return CONTROL if strategy.breaks or strategy.__module__.startswith(_CONTROLS) else CANDIDATE


def _rank(strategy: type[PoolStrategy]) -> tuple[bool, bool, bool, str]:
    named = is_reported(strategy) or is_behind_pooler(strategy)
    return role_of(strategy) == CONTROL, is_planted(strategy), named, strategy.name


def is_planted(strategy: type[PoolStrategy]) -> bool:
    """True for a control that is wrong on purpose, to test the judge: it is compared with nothing."""
    return strategy.__module__.startswith(_PLANTED)


def is_reported(strategy: type[PoolStrategy]) -> bool:
    """True for what somebody had in a public report, or its cure: it runs in the scenarios of incidents alone."""
    return strategy.__module__.startswith(_REPORTED)


def is_behind_pooler(strategy: type[PoolStrategy]) -> bool:
    """True for what shows a PgBouncer, or what is before it, set up otherwise: it runs where a scenario names it."""
    return strategy.__module__.startswith(_BEHIND_POOLER)


def is_compared(strategy: type[PoolStrategy]) -> bool:
    """True for what runs in every scenario without strategies of its own."""
    return not (is_planted(strategy) or is_reported(strategy) or is_behind_pooler(strategy))


def mistake_of(strategy: type[PoolStrategy]) -> str:
    """What a planted strategy does wrong, in a sentence; empty for any other."""
    return summary_of(strategy).removeprefix("Planted: ") if is_planted(strategy) else ""


def summary_of(cls: type) -> str:
    """The first sentence of what a class is for. Files that hold one thing each say so at their top."""
    module = inspect.getmodule(cls)
    own = module is not None and module.__name__.startswith(("harness.", AGENTS))
    text = (module.__doc__ if own and module is not None else cls.__doc__) or cls.__doc__ or ""
    paragraph = " ".join(inspect.cleandoc(text).split("\n\n", 1)[0].split())
    return re.split(r"(?<=[.!?]) ", paragraph, maxsplit=1)[0]


def scenarios_in(module: ModuleType) -> tuple[tuple[str, Scenario], ...]:
    """(attribute, value) of the module's own Scenario values, in the order of the file."""
    return tuple((key, value) for key, value in vars(module).items() if isinstance(value, Scenario))


def reproducers() -> Path:
    """Where the scripts of incidents lie. They are no package: nobody imports them to find scenarios."""
    return _folder(SCENARIOS) / "incidents" / "reproducers"


def is_own(file: Path, package: str) -> bool:
    """True if ``file`` is part of the ``scenarios`` or ``agents_under_test`` that belong to this harness."""
    return file.resolve().is_relative_to(_folder(package))


def _is_fault(value: Any) -> bool:
    is_class = isinstance(value, type) and dataclasses.is_dataclass(value)
    return is_class and isinstance(getattr(value, "kind", None), str) and hasattr(value, "active")


def _entry_checker(point: EntryPoint) -> Checker:
    value = _load(point)
    checker: Any = value() if isinstance(value, type) else value
    if not isinstance(getattr(checker, "guarantee", None), Guarantee) or not callable(getattr(checker, "check", None)):
        raise UsageError(f"{_origin(point)}: not a checker; write a class with guarantee and check")
    found: Checker = checker
    return found


def _folder(package: str) -> Path:
    return Path(__file__).resolve().parent.parent / package


def _package(name: str) -> ModuleType:
    """The package beside ``harness``, even where the user's project has a folder of the same name."""
    folder = _folder(name)
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; the installation of Poolproof is not complete")
    spec = None if name in sys.modules else importlib.util.find_spec(name)
    places = getattr(sys.modules.get(name), "__path__", None) or (spec.submodule_search_locations if spec else ())
    if str(folder) in [str(Path(place).resolve()) for place in places or ()]:
        return importlib.import_module(name)
    alias = f"poolproof_{name}"
    if alias not in sys.modules:
        own = importlib.util.spec_from_file_location(
            alias, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert own is not None
        assert own.loader is not None
        module = importlib.util.module_from_spec(own)
        sys.modules[alias] = module
        own.loader.exec_module(module)
    return sys.modules[alias]


def _modules(package: str) -> Iterator[ModuleType]:
    """Every module of a package and of its subpackages, imported, in order of name."""
    parent = importlib.import_module(package)
    yield parent
    for info in sorted(pkgutil.walk_packages(parent.__path__, f"{package}."), key=lambda item: item.name):
        yield importlib.import_module(info.name)


def _classes_of(module: ModuleType) -> Iterator[type]:
    """The classes that ``module`` itself defines, public ones only."""
    for name, value in vars(module).items():
        if isinstance(value, type) and value.__module__ == module.__name__ and not name.startswith("_"):
            yield value


def _add(found: dict[str, T], name: str, value: T, what: str, where: str) -> None:
    if name in found:
        raise UsageError(f"{where}: a second {what} with the name {name!r}; the first is in {where_is(found[name])}")
    found[name] = value


def _pick(known: Mapping[str, T], name: str, what: str, other: str) -> T:
    if name in known:
        return known[name]
    raise UsageError(f"unknown {what} {name!r}{did_you_mean(name, known)} Known: {', '.join(known)}; or {other}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``: did you mean 'x' or 'y'?`` for the closest of ``known``, a full stop if none is close."""
    tails = {key.rpartition("/")[2]: key for key in known}  # the family in front would make all names alike
    close = [tails[tail] for tail in difflib.get_close_matches(name.rpartition("/")[2], tails, n=2, cutoff=0.6)]
    close += [key for key in tails.values() if len(name) > 3 and name.lower() in key.lower()]
    unique = list(dict.fromkeys(close))[:2]
    return f": did you mean {' or '.join(repr(key) for key in unique)}?" if unique else "."


def _origin(point: EntryPoint) -> str:
    package = point.dist.name if point.dist is not None else "an installed package"
    return f"entry point {point.name} = {point.value} of {package}"


def _load(point: EntryPoint) -> Any:
    try:
        return point.load()
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise UsageError(f"{_origin(point)} does not load: {type(error).__name__}: {text}") from error
