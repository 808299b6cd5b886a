"""Which cells a command stands for: names, families and sizes in, cells out.

A run that holds no control could pass because nothing was ever strong enough to be caught. So such a selection gets
two cells more: a control that must be caught, and a baseline without faults.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from harness.core.cell import DEFAULT_AGENTS, DURABILITIES, CellSpec, cell_id
from harness.core.errors import UsageError
from harness.core.scenario import Scenario
from harness.core.verdict import Guarantee
from harness.plugins import canonical, is_file_reference
from harness.registry import CONTROL, Registry, is_compared

#: What a selection without a control runs besides: a control that is caught without any fault, and calm weather.
SENTINEL_SCENARIO, SENTINEL_CONTROL = "network/recreate_no_fault", "naive_recreate"
BASELINE_SCENARIO = "network/steady"

#: Groups are numbered; which they are makes no difference to who calls at all.
_TWO_GROUPS = ("g0", "g1")

#: How often ``--full`` runs each cell, each time with the next seed.
FULL_REPEAT = 3


class Size(StrEnum):
    """How much of the matrix a run takes."""

    QUICK = "quick"  # the scenarios that are marked quick, durability async
    DEFAULT = "default"  # all scenarios but those for the full size, durability async
    FULL = "full"  # all scenarios, every durability, three seeds


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """``must_catch`` are the (scenario, control, guarantee) that these cells have to show; ``notes`` are for the
    user. ``whole``: the whole matrix of its size, which promises that every fault meets every agent.
    """

    cells: tuple[CellSpec, ...]
    must_catch: tuple[tuple[str, str, Guarantee], ...] = ()
    notes: tuple[str, ...] = ()
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the user asked for. Empty ``scenarios`` mean all, empty ``strategies`` those of each scenario;
    ``durability`` None means the size's own.

    Unless scenarios were ``picked`` by name, those that run on request are left out, and those with strategies of
    their own (they test the judge) run as they are written: with no other strategy and no other agents.
    """

    scenarios: Sequence[str] = ()
    strategies: Sequence[str] = ()
    agents: Sequence[str] = ()
    durability: str | None = None
    seed: int = 0
    repeat: int | None = None
    size: Size = Size.DEFAULT
    environment: str = "auto"
    picked: bool = True

    def takes_as_written(self, scenario: Scenario) -> bool:
        """True if ``scenario`` is one with strategies of its own that nobody picked."""
        return bool(scenario.strategies) and not (self.picked and self.scenarios)


def select(registry: Registry, wish: Wish, *, sentinels: bool = True) -> Selection:
    """The cells of ``wish``, scenario by scenario; none if the size leaves none of the named scenarios.

    Raises UsageError for unknown names, unusable plug-ins, and two different strategies that would share an id.
    """
    scenarios = _scenarios(registry, wish)
    named = _strategies(registry, wish.strategies)
    agents = _agents(registry, wish.agents)
    full = wish.size is Size.FULL
    durabilities = (wish.durability,) if wish.durability else DURABILITIES if full else ("async",)
    repeat = wish.repeat if wish.repeat is not None else FULL_REPEAT if full else 1
    chosen = _Cells(registry, wish.environment)
    _refuse_idle(registry, scenarios, agents, wish.seed)
    for scenario in scenarios:
        as_written = wish.takes_as_written(registry.scenario(scenario))
        own_durabilities = registry.scenario(scenario).durabilities
        for durability in durabilities if wish.durability else own_durabilities or durabilities:
            for seed in range(wish.seed, wish.seed + repeat):
                for strategy in _strategies_for(registry, scenario, named, wish):
                    chosen.add(scenario, strategy, DEFAULT_AGENTS if as_written else agents, durability, seed)
    notes = []
    strategies = tuple(dict.fromkeys(cell.strategy for cell in chosen.cells.values()))
    if sentinels and strategies and not any(registry.role(strategy) == CONTROL for strategy in strategies):
        before = set(chosen.cells)
        chosen.add(SENTINEL_SCENARIO, SENTINEL_CONTROL, DEFAULT_AGENTS, durabilities[0], wish.seed)
        chosen.add(BASELINE_SCENARIO, strategies[0], agents, durabilities[0], wish.seed)
        added = " and ".join(cell for cell in chosen.cells if cell not in before)
        notes = [f"the selection holds no control, so this runs as well, to show that the run can catch one: {added}"]
    whole = not (wish.scenarios or wish.strategies or wish.agents)
    return Selection(
        cells=tuple(chosen.cells.values()), must_catch=chosen.must_catch(), notes=tuple(notes), whole=whole
    )


@dataclass(slots=True)
class _Cells:
    registry: Registry
    environment: str
    cells: dict[str, CellSpec] = field(default_factory=dict)

    def add(self, scenario: str, strategy: str, agents: tuple[str, ...], durability: str, seed: int) -> None:
        """Put the cell, unless it is there already; two different cells with one id are the user's mistake."""
        spec = CellSpec(
            id=cell_id(self.registry.scenario(scenario).name, strategy, durability, seed, agents),
            scenario=scenario,
            strategy=strategy,
            agents=agents,
            durability=durability,
            seed=seed,
            environment=self.environment,
        )
        other = self.cells.setdefault(spec.id, spec)
        if other != spec:
            raise UsageError(
                f"{other.strategy} on {other.scenario} and {spec.strategy} on {spec.scenario} would both be the cell "
                f"{spec.id!r}; give one of them another name"
            )

    def must_catch(self) -> tuple[tuple[str, str, Guarantee], ...]:
        return tuple(
            dict.fromkeys(
                (spec.scenario, control, guarantee)
                for spec in self.cells.values()
                for control, guarantee in self.registry.scenario(spec.scenario).must_catch
                if control == spec.strategy
            )
        )


def _scenarios(registry: Registry, wish: Wish) -> tuple[str, ...]:
    named = [name for text in wish.scenarios for name in registry.scenario_references(text)]
    full = wish.size is Size.FULL
    usual = [name for name, s in registry.scenarios.items() if not s.on_request and (full or not s.full_only)]
    if wish.scenarios and not wish.picked:
        named = [name for name in named if name in usual or name not in registry.scenarios]
    chosen = tuple(dict.fromkeys(named if wish.scenarios else usual))
    if wish.size is Size.QUICK:
        chosen = tuple(name for name in chosen if registry.scenario(name).quick)
    return chosen


def _refuse_idle(registry: Registry, scenarios: Sequence[str], agents: Sequence[str], seed: int) -> None:
    """Raise UsageError for a load in which nobody ever makes a call: no guarantee could be broken there."""
    names = tuple(registry.agent(agent).name for agent in agents)
    for reference in scenarios:
        scenario = registry.scenario(reference)
        users = scenario.load.users(seed=seed, agents=names, groups=_TWO_GROUPS)
        if all(user.next(None) is None for user in users):
            raise UsageError(
                f"scenario {scenario.name}: none of the {len(users)} users of its load makes a call with the agents "
                f"{', '.join(names)}; allowed: at least one turn"
            )


def _strategies(registry: Registry, named: Sequence[str]) -> tuple[str, ...]:
    for text in named:
        registry.strategy(text)
    return tuple(dict.fromkeys(_absolute(text) for text in named))


def _strategies_for(registry: Registry, scenario: str, named: Sequence[str], wish: Wish) -> tuple[str, ...]:
    """What ``scenario`` runs with: what the user named; else its own; else every strategy that is compared."""
    own = registry.scenario(scenario).strategies
    if named:
        as_written = wish.takes_as_written(registry.scenario(scenario))
        return tuple(name for name in named if name in own or not as_written)
    return own or tuple(name for name, strategy in registry.strategies.items() if is_compared(strategy))


def _agents(registry: Registry, named: Sequence[str]) -> tuple[str, ...]:
    """The agents of each cell, all of them together; the five that ship with Poolproof if none is named."""
    if not named:
        return DEFAULT_AGENTS
    names: dict[str, str] = {}
    for text in dict.fromkeys(_absolute(text) for text in named):
        name = registry.agent(text).name
        if name in names:
            raise UsageError(f"--agent {text}: the name {name!r} belongs to {names[name]} already")
        names[name] = text
    return tuple(names.values())


def _absolute(text: str) -> str:
    return canonical(text) if is_file_reference(text) else text


def ci_requires_all() -> bool:
    """True where the environment variable CI is set: there, a missing component is an error and never a SKIP."""
    return os.environ.get("CI", "").strip().lower() not in ("", "0", "false", "no")
