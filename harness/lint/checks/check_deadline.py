"""``check=`` without a deadline: it is asked on every checkout, and the pool's timeout does not bound it."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from typing import Any

from psycopg_pool import AsyncConnectionPool, ConnectionPool

from harness.lint.finding import LintFinding, NotChecked
from harness.lint.seen import source_text
from harness.lint.source import calls_in, last_name
from harness.lint.subject import Subject

_SHIPPED: tuple[Any, ...] = (AsyncConnectionPool.check_connection, ConnectionPool.check_connection)
#: Calls by which a callback's own source shows a deadline.
_DEADLINE = re.compile(r"timeout|wait_for|deadline|fail_after|move_on_after|asyncio\.wait$", re.IGNORECASE)


def check_deadline(subject: Subject) -> Iterator[LintFinding | NotChecked]:
    """psycopg_pool's own check, or a callback in whose source no deadline is to be seen."""
    for pool in subject.pools:
        if pool.check is None:
            continue
        name = pool.check if isinstance(pool.check, str) else getattr(pool.check, "__qualname__", repr(pool.check))
        shipped = pool.check in _SHIPPED or str(name).endswith("check_connection")
        bounded = None if shipped else _is_bounded(subject, pool.check)
        if not shipped and bounded is None:
            yield NotChecked(f"the check of {pool.name}", f"the source of {name} cannot be read")
        elif not bounded:
            yield LintFinding(
                check="check_deadline",
                what="the check of each checkout has no deadline, and after each dead connection it backs off: "
                "0, 1, 2, 4, 8 ... seconds",
                where=pool.place,
                value=f"check={name}",
                allowed="None, or a callback that ends by itself",
                fix="look after the pool off the hot path: one drain() when a request fails (harness/pools/health.py "
                "shows how), or a callback with a deadline around its query",
                incidents=("I-10", "I-19"),
                scenarios=("incidents/i_10_check_backs_off", "incidents/i_19_check_is_not_bounded"),
            )


def _is_bounded(subject: Subject, check: object) -> bool | None:
    """Whether a callback's source shows a deadline; None if there is no source. A name is looked up in the files."""
    if callable(check):
        text = source_text(check)
        try:
            tree: ast.AST | None = None if text is None else ast.parse(textwrap.dedent(text))
        except SyntaxError:  # a lambda in the middle of a call
            tree = None
    else:
        functions = subject.source.functions if subject.source is not None else {}
        found = functions.get(last_name(str(check)))
        tree = None if found is None else found.node
    return None if tree is None else any(_DEADLINE.search(dotted) for _, dotted in calls_in(tree))
