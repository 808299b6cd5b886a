"""Reported: the advice that is given most often, ``check=AsyncConnectionPool.check_connection``, and nothing else.

A checkout asks ``SELECT 1`` and takes the next connection if that fails, after 0, 1, 2, 4, 8 ... seconds. It has no
time limit of its own, and it says nothing about whether the server takes writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from psycopg_pool import AsyncConnectionPool

from harness.core.verdict import Guarantee
from harness.pools.controls.incidents.pool_without_check import PoolWithoutCheck


class CheckOnCheckout(PoolWithoutCheck):
    """Warm, because that is what the advice is for."""

    name = "check_on_checkout"
    breaks = frozenset({Guarantee.NO_HANG, Guarantee.RECOVERS})
    settings: ClassVar[Mapping[str, Any]] = {
        "min_size": 20,
        "max_size": 20,
        "timeout": 5.0,
        "check": AsyncConnectionPool.check_connection,
    }
