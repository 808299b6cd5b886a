"""One real Postgres on loopback, started from a copy of a template data folder.

``initdb`` costs about a second, copying its result a tenth: it runs once per binary. The server has no unix socket
and a password drawn for this stack alone. Agents use a role of their own that is no superuser, so that they cannot
take the connections that are kept back for the harness's own reads.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
from langgraph.checkpoint.postgres import PostgresSaver
from psycopg import sql
from psycopg.rows import dict_row

from harness.core.environment import Endpoint
from harness.core.errors import ComponentError
from harness.core.redaction import hide
from harness.environments.accounts import Account
from harness.environments.cache import cache_key, made_once
from harness.environments.components import Component
from harness.environments.leases import RunFolder
from harness.environments.listening import Listening, start_listening
from harness.environments.ports import LOOPBACK
from harness.environments.processes import Child, command, start

SUPERUSER = "poolproof"
AGENT_ROLE = "agent"
TEMPLATE_DATABASE = "poolproof_template"
ADMIN_NAME = "pp-admin"

#: No durability is needed (the data lives as long as the stack), but every other behaviour is the real one.
_SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 300
shared_buffers = 64MB
fsync = off
synchronous_commit = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
autovacuum = off
bgwriter_lru_maxpages = 0
max_wal_size = 256MB
min_wal_size = 32MB
password_encryption = 'scram-sha-256'
log_line_prefix = '%m [%p] %a '
log_timezone = 'UTC'
timezone = 'UTC'
"""

#: A storm of reconnects shall load the pool, not the key derivation. Postgres 15 and older have no such setting.
_FEW_ROUNDS = """
SELECT set_config(name, '256', false) FROM pg_settings WHERE name = 'scram_iterations'
"""

#: What every connection of ours says: bounded connecting, nothing negotiated that loopback does not need.
CONNECT_OPTIONS = {"sslmode": "disable", "gssencmode": "disable", "connect_timeout": "2"}

_INITDB_LIMIT_S = 120.0
START_LIMIT_S = 30.0
_STOP_LIMIT_S = 4.0
_ADMIN_OPTIONS = "-c statement_timeout=20s -c lock_timeout=10s"


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running Postgres. ``admin`` is the superuser's way in, to the database ``postgres``."""

    server: Listening
    admin: Endpoint
    agent_password: str

    @property
    def child(self) -> Child:
        return self.server.child

    def stop(self) -> None:
        """Stop it fast; bounded."""
        self.server.stop(_STOP_LIMIT_S)


def start_postgres(
    binaries: Component,
    run: RunFolder,
    account: Account,
    *,
    data: Path | None = None,
    settings: Mapping[str, str] | None = None,
    passwords: tuple[str, str] | None = None,
) -> PostgresServer:
    """Start a fresh server. Raises ComponentError with the end of its log when it does not come up.

    ``data`` is where its data go, a folder that is not there yet or is empty; ``settings`` win over the usual ones;
    ``passwords`` are the superuser's and the agents', drawn if not given.
    """
    template = _template(binaries, account)
    folder = data or run.fast / "pgdata"
    _copy_data(template / "data", folder)
    folder.chmod(0o700)
    account.own_tree(folder)
    server = start_listening(
        lambda port: launch(binaries, run, account, folder, port, settings or {}),
        lambda child, _: accepts(folder, child.pid),
        limit_s=START_LIMIT_S,
    )
    first_password = (template / "password").read_text()
    password, agent_password = passwords or (secrets.token_urlsafe(18), secrets.token_urlsafe(18))
    hide(first_password, password, agent_password)
    admin = Endpoint(LOOPBACK, server.port.number, "postgres", SUPERUSER, first_password, CONNECT_OPTIONS)
    try:
        set_up(admin, password, agent_password)
    except BaseException:
        server.stop(_STOP_LIMIT_S)
        raise
    return PostgresServer(server, replace(admin, password=password), agent_password)


def set_up(admin: Endpoint, password: str, agent_password: str) -> None:
    """Roles, passwords and the template database with the saver's tables, as a migration job would leave them.

    The synchronous saver runs the same migrations as the asynchronous one (both inherit them), and needs no loop.
    """
    try:
        with connect(admin) as connection:
            connection.execute(_FEW_ROUNDS)
            _set_password(connection, "ALTER", SUPERUSER, password)
            _set_password(connection, "CREATE", AGENT_ROLE, agent_password)
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(
                    sql.Identifier(TEMPLATE_DATABASE), sql.Identifier(AGENT_ROLE)
                )
            )
        agent = Endpoint(admin.host, admin.port, TEMPLATE_DATABASE, AGENT_ROLE, agent_password, admin.options)
        with psycopg.Connection.connect(
            agent.conninfo(application_name=ADMIN_NAME), autocommit=True, row_factory=dict_row
        ) as connection_of_agent:
            PostgresSaver(connection_of_agent).setup()
    except psycopg.Error as error:
        raise ComponentError(f"Postgres started but could not be set up: {error}") from error


def connect(endpoint: Endpoint) -> psycopg.Connection[tuple[object, ...]]:
    """A bounded connection for the harness itself. The caller closes it."""
    return psycopg.connect(admin_conninfo(endpoint), autocommit=True, prepare_threshold=None)


def admin_conninfo(endpoint: Endpoint) -> str:
    """How the harness itself connects: named, and with a bound on every statement."""
    return endpoint.conninfo(application_name=ADMIN_NAME, options=_ADMIN_OPTIONS)


def _set_password(connection: psycopg.Connection[tuple[object, ...]], verb: str, role: str, password: str) -> None:
    """Send the hash only, so that the password stands in no log."""
    secret = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    connection.execute(
        sql.SQL(f"{verb} ROLE {{}} LOGIN PASSWORD {{}}").format(sql.Identifier(role), sql.Literal(secret))
    )


def launch(
    binaries: Component, run: RunFolder, account: Account, data: Path, port: int, settings: Mapping[str, str]
) -> Child:
    """Start the process on a data folder and do not wait. Main thread only."""
    log = run.path / ("postgres.log" if data == run.fast / "pgdata" else f"{data.parent.name}-{data.name}.log")
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    child = start(
        "Postgres",
        [str(binaries.path / "postgres"), "-D", str(data), "-p", str(port), *options],
        log=log,
        cwd=data,
        account=account,
        environment=binaries.environment(),
        stop_signal=signal.SIGINT,  # fast shutdown; SIGTERM would wait for clients
        death_signal=signal.SIGQUIT,  # immediate shutdown: it takes its own children along
    )
    run.record(child)
    return child


def accepts(data: Path, pid: int) -> bool:
    """Line 8 of postmaster.pid says "ready" once it accepts connections."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def _copy_data(template: Path, folder: Path) -> None:
    """A data folder of our own. A ``postmaster.pid`` in the template names a server that is none of ours: its pid may
    be anybody's by now, and Postgres would refuse to start beside a living one.
    """
    strangers = shutil.ignore_patterns("postmaster.pid", "postmaster.opts")
    try:
        shutil.copytree(template, folder, symlinks=True, dirs_exist_ok=True, ignore=strangers)
    except shutil.Error as error:  # one entry (from, to, why) for each file that it could not copy
        why = error.args[0][0][-1]
        raise ComponentError(f"could not make Postgres's data folder {folder}: {why}") from error
    except OSError as error:
        raise ComponentError(f"could not make Postgres's data folder {folder}: {error.strerror}") from error


def _template(binaries: Component, account: Account) -> Path:
    """The cached result of initdb for these binaries and settings, with the superuser's first password beside it."""
    stamp = (binaries.path / "postgres").stat()
    who = "root" if account.uid != os.geteuid() else "user"
    key = cache_key(f"pgdata-{binaries.version}", str(stamp.st_mtime_ns), str(stamp.st_size), _SETTINGS, who)
    return made_once(key, lambda entry: _initdb(binaries, account, entry), limit_s=_INITDB_LIMIT_S)


def _initdb(binaries: Component, account: Account, entry: Path) -> None:
    run = RunFolder.create()  # the cache may lie where the server's account cannot go
    try:
        work = run.fast / "initdb"
        work.mkdir(mode=0o700)
        password_file = work / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(secrets.token_urlsafe(18))
        account.own_tree(work)
        argv = [str(binaries.path / "initdb"), "-D", str(work / "data"), "-U", SUPERUSER, "-A", "scram-sha-256"]
        argv += ["--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions", f"--pwfile={password_file}"]
        command(argv, limit_s=_INITDB_LIMIT_S, account=account, environment=binaries.environment(), cwd=work)
        with (work / "data" / "postgresql.conf").open("a") as settings:
            settings.write(_SETTINGS)
        shutil.copytree(work / "data", entry / "data", symlinks=True)
        shutil.copy2(password_file, entry / "password")
        (entry / "data").chmod(0o700)
    finally:
        run.remove()
