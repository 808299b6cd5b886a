"""A server in production, with no marker: whatever somebody types, it is refused in one sentence, and nothing is
written. Its own log of statements says so.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

import harness.campaign
import harness.slot
from harness.cli import main
from harness.cli.app import app
from harness.environments import target_guards
from harness.environments.target_guards import ROOM, is_loopback
from tests.security.user_server import UserServer, make_role

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent.parent
PLUGIN = ROOT / "tests" / "plugins" / "secretive.py"
_MAIN = "import sys; from harness.cli import main; sys.exit(main())"

Spelling = Callable[[UserServer], str]


def _uri(rest: str = "", host: str = "127.0.0.1", database: str = "chaos_prod") -> Spelling:
    return lambda s: f"postgresql://{s.owner}:{s.password}@{host}:{s.port}/{database}{rest}"


def _words(text: str) -> Spelling:
    return lambda s: text.format(port=s.port, user=s.owner, password=s.password)


def _at(rest: str) -> Spelling:
    return _words("postgresql://{user}:{password}@" + rest)


_PLAIN = "host=127.0.0.1 port={port} user={user} password={password} dbname=chaos_prod"
_NO_MARKER = "has no marker of Poolproof"

#: What somebody may type as a DSN -> what they are told.
SPELLINGS: dict[str, tuple[Spelling, str]] = {
    "a URI": (_uri(), _NO_MARKER),
    "the short scheme": (_words("postgres://{user}:{password}@127.0.0.1:{port}/chaos_prod"), _NO_MARKER),
    "keywords": (_words(_PLAIN), _NO_MARKER),
    "keywords in quotes": (
        _words("host = '127.0.0.1' port={port} user='{user}' password='{password}' dbname='chaos_prod'"), _NO_MARKER,
    ),
    "a name": (_uri(host="localhost"), _NO_MARKER),
    "a name of its own": (_at("127.0.0.1:{port}/chaos_prod?application_name=x"), _NO_MARKER),
    "IPv4 wrapped in IPv6": (_uri(host="[::ffff:127.0.0.1]"), _NO_MARKER),
    "the same in hexadecimal": (_uri(host="[::ffff:7f00:1]"), _NO_MARKER),
    "percent-encoded": (_at("%3127.0.0.1:{port}/ch%61os_prod"), _NO_MARKER),
    "parameters of a URI": (
        _words("postgresql:///chaos_prod?host=127.0.0.1&port={port}&user={user}&password={password}"), _NO_MARKER,
    ),
    "a port too many zeros": (_at("127.0.0.1:0{port}/chaos_prod"), _NO_MARKER),
    "no TLS": (_uri("?sslmode=disable"), _NO_MARKER),
    "TLS": (_uri("?sslmode=require"), "cannot be reached"),
    "TLS, checked": (_uri("?sslmode=verify-full"), "sslmode 'verify-full'; allowed: disable"),
    "two hosts": (_at("127.0.0.1:{port},db.example:5432/chaos_prod"), "several hosts"),
    "two hosts by keyword": (
        _words("host=localhost,127.0.0.1 port={port} user={user} dbname=chaos_prod"), "several hosts",
    ),
    "an address beside the host": (_words(_PLAIN + " hostaddr=10.0.0.1"), "sets hostaddr"),
    "an address in a URI": (_uri("?hostaddr=127.0.0.1"), "sets hostaddr"),
    "a service": (_words("service=production"), "sets service"),
    "a service beside": (_uri("?service=production"), "sets service"),
    "options": (_uri("?options=-csearch_path%3Dpublic"), "sets options"),
    "a password file": (_uri("?passfile=/etc/pgpass"), "sets passfile"),
    "a wish for a primary": (_uri("?target_session_attrs=any"), "sets target_session_attrs"),
    "replication": (_uri("?replication=database"), "sets replication"),
    "a unix socket": (_words("host=/var/run/postgresql user={user} dbname=chaos_prod"), "names a unix socket"),
    "a unix socket in a URI": (_words("postgresql://{user}@%2Fvar%2Frun/chaos_prod"), "names a unix socket"),
    "an abstract socket": (_words("host=@postgres user={user} dbname=chaos_prod"), "names a unix socket"),
    "a name that only looks local": (_uri(host="localhost.evil"), "cannot be reached"),
    "a DSN as the database": (
        _words("host=127.0.0.1 port={port} user={user} dbname='host=db.example dbname=chaos_prod'"),
        "second connection string",
    ),
    "no host": (_words("user={user} dbname=chaos_prod"), "names no host"),
    "no host in a URI": (_words("postgresql:///chaos_prod?user={user}"), "names no host"),
    "no user": (_words("postgresql://127.0.0.1:{port}/chaos_prod"), "names no user"),
    "no database": (_at("127.0.0.1:{port}"), "names no dbname"),
    "a port that is none": (_at("127.0.0.1:http/chaos_prod"), "has the port 'http'"),
    "port zero": (_at("127.0.0.1:0/chaos_prod"), "has the port '0'"),
    "an unknown keyword": (_words(_PLAIN + " evil=1"), "cannot be read as a connection string"),
    "a broken escape": (_words("postgresql://{user}:{password}%zz@127.0.0.1:{port}/chaos_prod"), "cannot be read"),
    "a broken quote": (_words("host=127.0.0.1 password='{password}"), "cannot be read"),
    "another scheme": (_words("mysql://{user}:{password}@127.0.0.1:{port}/chaos_prod"), "cannot be read"),
    "nothing": (_words(""), "names no host"),
    "a line end": (_words(_PLAIN + "\nhost=db.example"), "is no connection string"),
    "without end": (_words(_PLAIN + " " * 5000), "is no connection string"),
    "a file that is not there": (_words("@/nowhere/dsn"), "cannot be read"),
}  # fmt: skip

COMMANDS = {
    "run": ["run", "network/steady", "--i-own-this-database", "chaos_prod", "--target-dsn"],
    "init-target": ["init-target"],
}  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of its own; a slot or a campaign that is started is a failure."""
    monkeypatch.setattr(harness.campaign, "run_campaign", _must_not_be_called)
    monkeypatch.setattr(harness.slot.Slot, "launch", _must_not_be_called)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _must_not_be_called(*_: object, **__: object) -> None:
    raise AssertionError("something was started")


@contextlib.contextmanager
def untouched(server: UserServer) -> Iterator[None]:
    """Nothing was written by anybody but the administrator, and no database came or went."""
    before, databases = server.mark(), server.databases()
    yield
    time.sleep(0.05)  # the log is written by another process
    assert server.writes(before) == []
    assert server.databases() == databases


def refused(args: list[str], capsys: pytest.CaptureFixture[str], secret: str) -> str:
    """What the user reads: exit 2, one sentence, and no word of the password."""
    status = main(args)
    said = capsys.readouterr()
    assert status == 2, said.err
    assert said.out == "exit 2 usage: see the message above\n"
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert secret not in said.err
    assert not os.listdir(), "nothing was written here either"
    return said.err


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_it_is_refused_however_it_is_spelt(
    spelling: str, command: str, production: UserServer, capsys: pytest.CaptureFixture[str]
) -> None:
    make, told = SPELLINGS[spelling]
    dsn = make(production)
    if command == "init-target":  # what would be allowed there is refused because the database is full
        dsn, told = dsn.replace("chaos_prod", "chaos_full").replace("ch%61os_prod", "chaos_full"), told
        told = "is not empty: it holds the relation 'public.orders'" if told == _NO_MARKER else told
    with untouched(production):
        assert told in refused([*COMMANDS[command], dsn], capsys, production.password)


def test_the_log_would_have_shown_a_write(production: UserServer) -> None:
    before = production.mark()
    with psycopg.connect(production.dsn("production"), autocommit=True) as connection:
        connection.execute("CREATE TABLE seen (id int)")
        connection.execute("INSERT INTO seen VALUES (%s)", (1,))
        connection.execute("DROP TABLE seen")
    time.sleep(0.05)
    assert [statement.split()[0] for statement in production.writes(before)] == ["CREATE", "INSERT", "DROP"]


def test_a_replay_is_refused_as_well(
    production: UserServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with untouched(production):
        args = [
            "replay",
            "nothing",
            "--i-own-this-database",
            "chaos_prod",
            "--target-dsn",
            production.dsn("chaos_prod"),
        ]
        assert _NO_MARKER in refused(args, capsys, production.password)


@pytest.mark.parametrize("name", ["production", "postgres", "chaos", "Chaos_prod", "chaos_prod; DROP DATABASE x", ""])
def test_a_database_that_does_not_say_so_in_its_name_is_refused(
    name: str, production: UserServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with untouched(production):
        args = [
            "run",
            "network/steady",
            "--target-dsn",
            production.dsn(name or "chaos_prod"),
            "--i-own-this-database",
            name,
        ]
        told = refused(args, capsys, production.password)
        assert "allowed: a name like chaos_tests" in told or "cannot be read" in told
        assert "names" in refused(["init-target", production.dsn("")], capsys, production.password)


def test_both_names_must_be_the_same(production: UserServer, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["run", "--target-dsn", production.dsn("chaos_prod"), "--i-own-this-database", "chaos_other"]
    assert "allowed: the same name in both" in refused(args, capsys, production.password)


_BOTH = ["--target-dsn", "DSN", "--i-own-this-database", "chaos_prod"]


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--target-dsn", "DSN"], "needs --i-own-this-database NAME"),
        (["--i-own-this-database", "chaos_prod"], "is about the server that --target-dsn names"),
        (["--allow-remote", "db.example"], "is about the server that --target-dsn names"),
        ([*_BOTH, "--environment", "containers"], "exclude"),
        ([*_BOTH, "--allow-remote", "no.such.host.invalid"], "no such host"),
    ],
)  # fmt: skip
def test_half_a_wish_is_none(
    args: list[str], told: str, production: UserServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with untouched(production):
        full = [production.dsn("chaos_prod") if arg == "DSN" else arg for arg in args]
        assert told in refused(["run", *full], capsys, production.password)


def test_no_environment_variable_names_a_target(
    production: UserServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = production.dsn("chaos_prod")
    for name in ("TARGET_DSN", "POOLPROOF_TARGET_DSN", "POOLPROOF_RUN_TARGET_DSN", "DATABASE_URL", "PGSERVICE"):
        monkeypatch.setenv(name, dsn)
    for name, value in (("PGHOST", "127.0.0.1"), ("PGPORT", str(production.port)), ("PGDATABASE", "chaos_prod")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("POOLPROOF_I_OWN_THIS_DATABASE", "chaos_prod")
    before = production.mark()
    with untouched(production):
        assert "names no host" in refused(
            ["run", "--target-dsn", "user=x dbname=chaos_prod", "--i-own-this-database", "chaos_prod"], capsys, "x=="
        )
        assert main(["run", "network/latency", "--quick"]) == 5, "nothing is selected; the next test runs a whole cell"
    assert production.statements(before) == []


#: Each command with something harmless to do, and the exit status; the run is what others look at.
_QUIETLY: dict[str, tuple[list[str], int]] = {
    "run": (
        [f"{PLUGIN}:QUIET", "--strategy", f"{PLUGIN}:QuietPool", "--agent", "SupervisorAgent", "--jobs", "1",
         "--out", "reports/decoy"], 0,
    ),
    "verify": (["decoy"], 0),
    "report": (["decoy"], 0),
    "replay": (["secretive.quiet-QuietPool-SupervisorAgent-async-0"], 0),
    "reproduce": (["I-1"], 0),
    "list": (["faults"], 0),
    "lint": (["shared_swap"], 0),
    "doctor": ([], 0),
    "init-target": (["dbname=chaos_prod"], 2),
}  # fmt: skip


@pytest.mark.proof
def test_no_command_looks_at_a_server_that_the_environment_names(production: UserServer, tmp_path: Path) -> None:
    """A whole cell, twice, and whatever else there is to type, where psql would go straight to that server."""
    assert set(_QUIETLY) == set(app.commands), "a new command needs its line here"
    dsn = production.dsn("production")
    named = {
        "PGHOST": "127.0.0.1", "PGPORT": str(production.port), "PGUSER": production.owner,
        "PGPASSWORD": production.password, "PGDATABASE": "production", "DATABASE_URL": dsn, "TARGET_DSN": dsn,
    }  # fmt: skip
    environment = {**os.environ, **named, "PYTHONPATH": str(ROOT), "CI": ""}
    before = production.mark()
    psql = "import psycopg; psycopg.connect('', autocommit=True).execute('SELECT 5')"
    subprocess.run([sys.executable, "-c", psql], env=environment, check=True, timeout=30)
    time.sleep(0.05)
    assert [sent.strip() for sent in production.statements(before)] == ["SELECT 5"], "what goes there stands in its log"
    before = production.mark()
    for command, (args, status) in _QUIETLY.items():
        done = subprocess.run(
            [sys.executable, "-c", _MAIN, command, *args],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == status, f"{command}: {done.stdout} {done.stderr}"
        time.sleep(0.05)
        assert production.statements(before) == [], command
        came = production.log.read_bytes()[before:].decode(errors="replace")
        assert f"user={production.owner}" not in came, f"{command} logged in"


class TestRoles:
    """Who may log in is not who may be used."""

    def refused_as(
        self, production: UserServer, user: str, capsys: pytest.CaptureFixture[str], password: str = "An0ther-password"
    ) -> str:
        dsn = production.dsn("chaos_prod", user=user, password=password)
        with untouched(production):
            args = ["run", "network/steady", "--target-dsn", dsn, "--i-own-this-database", "chaos_prod"]
            return refused(args, capsys, password)

    def test_a_superuser(self, production: UserServer, capsys: pytest.CaptureFixture[str]) -> None:
        make_role(production, "boss", "SUPERUSER")
        assert "'boss' is a superuser, or may become one" in self.refused_as(production, "boss", capsys)

    def test_who_may_become_one(self, production: UserServer, capsys: pytest.CaptureFixture[str]) -> None:
        make_role(production, "deputy", f"CREATEDB IN ROLE {production.server.admin.user}")
        assert "'deputy' is a superuser, or may become one" in self.refused_as(production, "deputy", capsys)

    def test_who_does_not_own_it(self, production: UserServer, capsys: pytest.CaptureFixture[str]) -> None:
        make_role(production, "guest", "CREATEDB")
        assert "'guest' does not own the database" in self.refused_as(production, "guest", capsys)

    def test_who_may_not_make_databases(self, production: UserServer, capsys: pytest.CaptureFixture[str]) -> None:
        make_role(production, "modest")
        production.make_database("chaos_modest", "modest")
        dsn = production.dsn("chaos_modest", user="modest", password="An0ther-password")
        with untouched(production):
            assert "ALTER ROLE modest CREATEDB" in refused(["init-target", dsn], capsys, "An0ther-password")

    def test_who_reads_only(self, production: UserServer, capsys: pytest.CaptureFixture[str]) -> None:
        make_role(production, "reader", "CREATEDB")
        production.make_database("chaos_reader", "reader")
        production.as_superuser("ALTER ROLE reader SET default_transaction_read_only = on")
        dsn = production.dsn("chaos_reader", user="reader", password="An0ther-password")
        with untouched(production):
            assert "in recovery or read-only" in refused(["init-target", dsn], capsys, "An0ther-password")

    def test_who_may_hold_few_connections(self, production: UserServer, capsys: pytest.CaptureFixture[str]) -> None:
        make_role(production, "narrow", "CREATEDB CONNECTION LIMIT 5")
        production.make_database("chaos_narrow", "narrow")
        dsn = production.dsn("chaos_narrow", user="narrow", password="An0ther-password")
        with untouched(production):
            assert f"may hold 5 connections; allowed: {ROOM}" in refused(
                ["init-target", dsn], capsys, "An0ther-password"
            )

    def test_a_wrong_password(self, production: UserServer, capsys: pytest.CaptureFixture[str]) -> None:
        told = self.refused_as(production, production.owner, capsys, "wr0ng-password")
        assert "password authentication failed" in told

    def test_a_password_that_cannot_be_hidden(self, production: UserServer, capsys: pytest.CaptureFixture[str]) -> None:
        assert "too plain" in self.refused_as(production, production.owner, capsys, "postgres")


def test_an_empty_database_with_somebody_in_it_is_refused(
    production: UserServer, capsys: pytest.CaptureFixture[str]
) -> None:
    production.make_database("chaos_busy")
    with psycopg.connect(production.dsn("chaos_busy"), application_name="billing"), untouched(production):
        told = refused(["init-target", production.dsn("chaos_busy")], capsys, production.password)
    assert "somebody else is connected to it" in told
    assert "'billing'" in told


@pytest.mark.parametrize(
    ("make", "what"),
    [
        ("CREATE TABLE t (id int)", "relation"),
        ("CREATE SCHEMA mine", "schema"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "function"),
        ("CREATE TYPE colour AS ENUM ('red')", "type"),
        ("SELECT lo_create(0)", "large object"),
    ],
)
def test_a_database_that_holds_anything_is_not_marked(
    make: str, what: str, production: UserServer, capsys: pytest.CaptureFixture[str]
) -> None:
    name = production.make_database(f"chaos_with_{what.replace(' ', '_')}")
    with psycopg.connect(production.dsn(name), autocommit=True) as connection:
        connection.execute(make)
    with untouched(production):
        assert f"it holds the {what} " in refused(["init-target", production.dsn(name)], capsys, production.password)


def test_a_server_beyond_this_machine_must_be_named(
    production: UserServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer's address is all that is replaced: no other machine is at hand."""
    monkeypatch.setattr(target_guards, "_peer", lambda _: ("10.1.2.3", production.port))
    args = ["run", "--target-dsn", production.dsn("chaos_prod"), "--i-own-this-database", "chaos_prod"]
    with untouched(production):
        told = refused(args, capsys, production.password)
        assert "is at 10.1.2.3, which is beyond this machine" in told
        assert "--allow-remote 10.1.2.3" in told
        assert _NO_MARKER in refused([*args, "--allow-remote", "10.1.2.3"], capsys, production.password)
        assert "is at 10.1.2.3" in refused([*args, "--allow-remote", "10.1.2.4"], capsys, production.password)


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("fe80::1%lo", False),
        ("10.0.0.1", False), ("::ffff:10.0.0.1", False), ("0.0.0.0", False), ("::", False), ("169.254.1.1", False),
    ],
)  # fmt: skip
def test_what_is_loopback(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback


def test_a_file_that_others_may_read_is_refused(
    production: UserServer, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("dsn") / "dsn"
    path.write_text(f"{production.dsn('chaos_prod')}\n")
    args = ["run", "--target-dsn", f"@{path}", "--i-own-this-database", "chaos_prod"]
    path.chmod(0o644)
    assert "others may read that file" in refused(args, capsys, production.password)
    path.chmod(0o600)
    assert _NO_MARKER in refused(args, capsys, production.password)
