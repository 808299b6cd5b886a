"""The user's own Postgres settings, kept out of sight.

libpq reads PGHOSTADDR, PGOPTIONS, PGSERVICE and a dozen more from the environment of this very process: one of them
would send every connection of a cell to somebody else's database.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_pg_variables() -> Iterator[None]:
    """No PG* variable is set inside; leaving puts them back."""
    hidden = {name: value for name, value in os.environ.items() if name.startswith("PG")}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)
