"""Reported: a pool in front of PgBouncer in transaction mode, set up well (nothing is prepared), without any deadline.

PgBouncer's own ``query_timeout`` is off by default, so what waits at a silent server waits for as long as it is silent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from harness.core.environment import Capability
from harness.core.verdict import Guarantee
from harness.pools.controls.incidents.pool_without_check import PoolWithoutCheck


class PoolBehindPooler(PoolWithoutCheck):
    """The pool knows PgBouncer alone, and PgBouncer is well."""

    name = "pool_behind_pooler"
    breaks = frozenset({Guarantee.NO_HANG})
    needs = frozenset({Capability.PGBOUNCER_TRANSACTION})
    settings: ClassVar[Mapping[str, Any]] = {**PoolWithoutCheck.settings, "kwargs": {"prepare_threshold": None}}
