"""Poolproof: which connection-pool strategy keeps LangGraph agents alive when Postgres misbehaves.

Everything that a strategy, a fault, a checker, an agent or a scenario of your own needs can be imported from here. The
names are looked up on first use, so that ``import harness`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.core.agent import AgentUnderTest as AgentUnderTest
    from harness.core.agent import Turn as Turn
    from harness.core.cell import DEFAULT_AGENTS as DEFAULT_AGENTS
    from harness.core.cell import CellSpec as CellSpec
    from harness.core.cell import cell_id as cell_id
    from harness.core.environment import Capability as Capability
    from harness.core.environment import Client as Client
    from harness.core.environment import Clock as Clock
    from harness.core.environment import Cut as Cut
    from harness.core.environment import Endpoint as Endpoint
    from harness.core.environment import Environment as Environment
    from harness.core.environment import Middle as Middle
    from harness.core.environment import Proxy as Proxy
    from harness.core.environment import Server as Server
    from harness.core.environment import Shutdown as Shutdown
    from harness.core.environment import Strike as Strike
    from harness.core.environment import Toxic as Toxic
    from harness.core.environment import Traffic as Traffic
    from harness.core.errors import ComponentError as ComponentError
    from harness.core.errors import HealError as HealError
    from harness.core.errors import MissingComponent as MissingComponent
    from harness.core.errors import PoolproofError as PoolproofError
    from harness.core.errors import UsageError as UsageError
    from harness.core.facts import Facts as Facts
    from harness.core.facts import ThreadFacts as ThreadFacts
    from harness.core.fault import Effect as Effect
    from harness.core.fault import Fault as Fault
    from harness.core.fault import FaultPlan as FaultPlan
    from harness.core.fault import Window as Window
    from harness.core.fault import Witness as Witness
    from harness.core.history import ErrorInfo as ErrorInfo
    from harness.core.history import History as History
    from harness.core.history import Op as Op
    from harness.core.history import OpType as OpType
    from harness.core.pool import AgentHandle as AgentHandle
    from harness.core.pool import Answered as Answered
    from harness.core.pool import Database as Database
    from harness.core.pool import Degraded as Degraded
    from harness.core.pool import PoolStrategy as PoolStrategy
    from harness.core.pool import Reply as Reply
    from harness.core.pool import Request as Request
    from harness.core.record import CellResult as CellResult
    from harness.core.record import RunSummary as RunSummary
    from harness.core.scenario import Bounds as Bounds
    from harness.core.scenario import Layout as Layout
    from harness.core.scenario import Scenario as Scenario
    from harness.core.verdict import Checker as Checker
    from harness.core.verdict import Finding as Finding
    from harness.core.verdict import Guarantee as Guarantee
    from harness.core.verdict import Verdict as Verdict
    from harness.core.workload import Action as Action
    from harness.core.workload import Outcome as Outcome
    from harness.core.workload import User as User
    from harness.core.workload import Workload as Workload

#: Where each public name lives; ``tests/test_packaging.py`` holds it against the imports above.
_HOME = {
    "agent": ("AgentUnderTest", "Turn"),
    "cell": ("DEFAULT_AGENTS", "CellSpec", "cell_id"),
    "environment": (
        *("Capability", "Client", "Clock", "Cut", "Endpoint", "Environment", "Middle", "Proxy"),
        *("Server", "Shutdown", "Strike", "Toxic", "Traffic"),
    ),
    "errors": ("ComponentError", "HealError", "MissingComponent", "PoolproofError", "UsageError"),
    "facts": ("Facts", "ThreadFacts"),
    "fault": ("Effect", "Fault", "FaultPlan", "Window", "Witness"),
    "history": ("ErrorInfo", "History", "Op", "OpType"),
    "pool": ("AgentHandle", "Answered", "Database", "Degraded", "PoolStrategy", "Reply", "Request"),
    "record": ("CellResult", "RunSummary"),
    "scenario": ("Bounds", "Layout", "Scenario"),
    "verdict": ("Checker", "Finding", "Guarantee", "Verdict"),
    "workload": ("Action", "Outcome", "User", "Workload"),
}
_MODULE_OF = {name: f"harness.core.{module}" for module, names in _HOME.items() for name in names}

__version__ = "0.1.0"
__all__ = ["__version__", *sorted(_MODULE_OF)]  # noqa: PLE0604 - strings, every one


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
