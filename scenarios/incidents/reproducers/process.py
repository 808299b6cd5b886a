"""Work in a process of its own, which may die in the middle."""

from __future__ import annotations

import asyncio
import os
from typing import Any


def in_a_process(work: Any) -> None:
    if (child := os.fork()) == 0:
        asyncio.run(work)
        os._exit(0)
    os.waitpid(child, 0)
