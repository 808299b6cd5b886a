"""The unit that runs, caches and replays: scenario x strategy x durability x seed, in one environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.core.errors import UsageError
from harness.core.shape import build
from harness.core.verdict import Json

DURABILITIES = ("async", "sync", "exit")
#: Seeds are below this; a cell has no more agents, and a plan no more windows, than these.
SEED_LIMIT = 2**31
AGENTS_LIMIT = 100
WINDOWS_LIMIT = 1000

#: The post's five agents, by the names that the registry knows them under.
DEFAULT_AGENTS = (
    "SupervisorAgent",
    "ThreeDPCustomAgent",
    "ProjectBodhiAgent",
    "TrialAnalysisAgent",
    "FormulationAssistant",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSpec:
    """Everything that decides what a cell does. Names are what the registry resolves: a name, or ``file.py:Name``.

    ``plan`` is the fault plan as JSON when it was read from an old run or drawn; None means the scenario's own.
    ``provenance`` holds versions, commit, platform: it is recorded and never decides anything.
    """

    id: str
    scenario: str
    strategy: str
    agents: tuple[str, ...] = DEFAULT_AGENTS
    durability: str = "async"
    seed: int = 0
    environment: str = "auto"
    plan: list[Json] | None = None
    provenance: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.durability not in DURABILITIES:
            raise UsageError(f"durability is {self.durability!r}; allowed: {', '.join(DURABILITIES)}")
        if not 0 <= self.seed < SEED_LIMIT:
            raise UsageError(f"seed is {self.seed!r}; allowed: 0 to {SEED_LIMIT - 1}")
        if not 0 < len(self.agents) <= AGENTS_LIMIT:
            raise UsageError(f"agents has {len(self.agents)} entries; allowed: 1 to {AGENTS_LIMIT}")
        if self.plan is not None and len(self.plan) > WINDOWS_LIMIT:
            raise UsageError(f"plan has {len(self.plan)} windows; allowed: up to {WINDOWS_LIMIT}")

    def to_json(self) -> dict[str, Json]:
        """``cell.json``."""
        return {
            "id": self.id,
            "scenario": self.scenario,
            "strategy": self.strategy,
            "agents": list(self.agents),
            "durability": self.durability,
            "seed": self.seed,
            "environment": self.environment,
            "plan": self.plan,
            "provenance": dict(self.provenance),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Json], where: str = "cell.json") -> CellSpec:
        """The inverse of :meth:`to_json`; UsageError that begins with ``where`` on anything else."""
        return build(cls, data, where)


def cell_id(scenario: str, strategy: str, durability: str, seed: int, agents: tuple[str, ...] = DEFAULT_AGENTS) -> str:
    """A slug that is the same in every run: ``network.reset_mid_turn-shared_swap-async-0``."""
    parts = [scenario.replace("/", "."), strategy.rpartition(":")[2], durability, str(seed)]
    if agents != DEFAULT_AGENTS:
        parts.insert(2, "+".join(name.rpartition(":")[2] for name in agents))
    return "-".join(re.sub(r"[^A-Za-z0-9_.+]", "_", part) for part in parts)
