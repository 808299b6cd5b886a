"""A Postgres as a user would have it: started by the tests, with roles and databases of its own, logging every
statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from harness.core.environment import Endpoint
from harness.environments.accounts import server_account
from harness.environments.components import find_postgres
from harness.environments.leases import RunFolder
from harness.environments.postgres import PostgresServer, connect, start_postgres
from harness.environments.surroundings import without_pg_variables

#: What a statement that changes something begins with, wherever in a line of the log.
_WRITES = re.compile(
    r"\b(INSERT|UPDATE|DELETE|CREATE|DROP|ALTER|TRUNCATE|GRANT|REVOKE|COPY|VACUUM|REINDEX|CLUSTER|COMMENT|LOCK|CALL|DO"
    r"|pg_terminate_backend|pg_cancel_backend|set_config|SELECT\s.*\bINTO)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class UserServer:
    """A running server. ``owner`` may make databases and is no superuser, as a team's own role would be."""

    server: PostgresServer
    owner: str
    password: str

    @property
    def port(self) -> int:
        return self.server.admin.port

    def dsn(self, database: str, *, user: str | None = None, password: str | None = None) -> str:
        """The ordinary URI."""
        who = f"{user or self.owner}:{self.password if password is None else password}"
        return f"postgresql://{who}@127.0.0.1:{self.port}/{database}"

    def as_superuser(
        self, statement: str | sql.SQL | sql.Composed, database: str = "postgres"
    ) -> list[tuple[Any, ...]]:
        """What a statement gives when the administrator sends it, past everything."""
        admin = self.server.admin
        place = Endpoint(admin.host, admin.port, database, admin.user, admin.password, admin.options)
        with without_pg_variables(), connect(place) as connection:
            cursor = connection.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def make_database(self, name: str, owner: str | None = None) -> str:
        """An empty database of the owner's."""
        self.as_superuser(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(owner or self.owner))
        )
        return name

    def databases(self) -> set[str]:
        return {str(row[0]) for row in self.as_superuser("SELECT datname FROM pg_database")}

    @property
    def log(self) -> Path:
        return self.server.child.log

    def sent(self, begin: int = 0) -> list[tuple[str, str]]:
        """What clients sent from byte ``begin`` of the log on, each with the database that it was sent to; the
        administrator's own are left out.
        """
        text = self.log.read_bytes()[begin:].decode(errors="replace")
        lines = re.split(r"\n(?=\d{4}-\d\d-\d\d )", text)
        line_of = re.compile(r"user=(\S*) db=(\S*) .*?(?:statement|execute [^:]*): (.*)", re.DOTALL)
        found = (line_of.search(line) for line in lines)
        return [
            (match.group(2), match.group(3)) for match in found if match and match.group(1) != self.server.admin.user
        ]

    def statements(self, begin: int = 0) -> list[str]:
        """The same without the databases."""
        return [statement for _, statement in self.sent(begin)]

    def writes(self, begin: int = 0) -> list[str]:
        """Those of ``statements`` that would change something."""
        return [statement for statement in self.statements(begin) if _WRITES.search(statement)]

    def mark(self) -> int:
        """Where the log ends now."""
        return self.log.stat().st_size


@contextmanager
def user_server(owner: str = "team", password: str = "Te4m-own-password") -> Iterator[UserServer]:
    """Start one; everything of it is gone afterwards."""
    run = RunFolder.create()
    server: PostgresServer | None = None
    try:
        server = start_postgres(find_postgres(), run, server_account())
        users = UserServer(server, owner, password)
        for setting in ("log_statement = 'all'", "log_connections = on", "log_line_prefix = '%m [%p] user=%u db=%d '"):
            users.as_superuser(sql.SQL(f"ALTER SYSTEM SET {setting}"))
        users.as_superuser("SELECT pg_reload_conf()")
        make_role(users, owner, "CREATEDB", password)
        yield users
    finally:
        if server is not None:
            server.stop()
        run.remove()


def make_role(server: UserServer, name: str, rights: str = "", password: str = "An0ther-password") -> str:
    """A role that can log in."""
    admin = server.server.admin
    with psycopg.connect(admin.conninfo(), autocommit=True) as connection:
        connection.execute(
            sql.SQL(f"CREATE ROLE {{}} LOGIN {rights} PASSWORD {{}}").format(
                sql.Identifier(name), sql.Literal(password)
            )
        )
    return name
