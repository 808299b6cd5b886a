"""One file per guarantee: history and facts in, one finding out. Pure: no clock, no chance, no I/O.

``reading`` says once what a history holds, ``conversations`` what each thread was promised, ``effects`` whether a
window was felt, ``flaws`` how a finding is worded, ``anomalies`` what proves it.
"""

from __future__ import annotations

from harness.checkers.available import Available
from harness.checkers.clean_background import CleanBackground
from harness.checkers.connection_budget import ConnectionBudget
from harness.checkers.declared_errors import DeclaredErrors
from harness.checkers.exercised import Exercised
from harness.checkers.isolation import Isolation
from harness.checkers.no_duplicate_turn import NoDuplicateTurn
from harness.checkers.no_hang import NoHang
from harness.checkers.no_lost_turn import NoLostTurn
from harness.checkers.no_pool_closed import NoPoolClosed
from harness.checkers.no_silent_failure import NoSilentFailure
from harness.checkers.recovers import Recovers
from harness.core.verdict import Checker

#: Every checker, in the order in which reports show the guarantees.
ALL: tuple[Checker, ...] = (
    NoPoolClosed(),
    NoLostTurn(),
    NoDuplicateTurn(),
    Isolation(),
    Available(),
    NoHang(),
    Recovers(),
    DeclaredErrors(),
    NoSilentFailure(),
    ConnectionBudget(),
    CleanBackground(),
    Exercised(),
)
