"""One file per guarantee: history and facts in, one finding out. Pure: no clock, no chance, no I/O.

``reading`` says once what a history holds, ``conversations`` what each thread was promised, ``effects`` whether a
window was felt, ``flaws`` how a finding is worded, ``anomalies`` what proves it.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

from harness.core.verdict import Checker, Guarantee


def discover() -> tuple[Checker, ...]:
    """A checker of each class in this folder that has a ``guarantee`` and a ``check``, in the order of the guarantees.

    Of several for one guarantee all are asked.
    """
    order = list(Guarantee)
    return tuple(sorted(_own(), key=lambda checker: (order.index(checker.guarantee), type(checker).__name__)))


def _own() -> Iterator[Checker]:
    for found in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{found.name}")
        cls: Any
        for _, cls in inspect.getmembers(module, inspect.isclass):
            if cls.__module__ == module.__name__ and isinstance(getattr(cls, "guarantee", None), Guarantee):
                checker: Checker = cls()
                yield checker


#: Every checker, in the order in which reports show the guarantees.
ALL: tuple[Checker, ...] = discover()
