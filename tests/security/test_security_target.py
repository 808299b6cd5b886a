"""A server of the user's own: a cell runs there end to end, and nothing stays behind but the marker."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from harness.cli import main
from harness.core.cell import CellSpec, cell_id
from harness.core.environment import Capability
from harness.core.errors import ComponentError, MissingComponent
from harness.core.record import CellResult
from harness.core.verdict import Verdict
from harness.environments.stack import Stack
from harness.environments.target import TargetDatabases, init_target
from harness.environments.target_dsn import TARGET, Target, read_target
from harness.environments.target_guards import look
from harness.environments.toxiproxy_server import answers
from harness.registry import default_registry
from harness.slot import Slot
from harness.store import CellFolder
from tests.security.user_server import UserServer, make_role

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent.parent
PLUGIN = ROOT / "tests" / "plugins" / "secretive.py"
_LIMIT_S = 240.0


@pytest.fixture
def target(testing: UserServer, request: pytest.FixtureRequest) -> Iterator[Target]:
    """A marked database of the user's own, fresh for each test; afterwards just its marker is in it."""
    name = testing.make_database(f"chaos_t{abs(hash(request.node.name)) % 10**9}")
    target = read_target(testing.dsn(name, password=testing.password.replace("/", "%2F")), name)
    init_target(target)
    before = testing.databases()
    yield target
    assert testing.databases() == before, "databases stayed behind"
    made = testing.as_superuser("SELECT count(*) FROM poolproof.made", name)
    assert made == [(0,)]
    tables = testing.as_superuser(
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')", name
    )
    assert sorted(tables) == [("poolproof", "made"), ("poolproof", "owner")]


def databases_of(target: Target) -> TargetDatabases:
    return TargetDatabases(target, look(target))


def cli(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    code = "import sys; from harness.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )


def test_a_cell_runs_there_from_the_command_line(testing: UserServer, target: Target, tmp_path: Path) -> None:
    dsn = tmp_path / "dsn"
    dsn.touch(mode=0o600)
    dsn.write_text(testing.dsn(target.name, password=testing.password.replace("/", "%2F")))
    options = ["--jobs", "1", "--agent", "SupervisorAgent", "--out", str(tmp_path / "out")]
    own = ["--target-dsn", f"@{dsn}", "--i-own-this-database", target.name]
    strategies = ["--strategy", f"{PLUGIN}:QuietPool", "--strategy", "naive_recreate"]
    before = testing.mark()
    done = cli("run", f"{PLUGIN}:QUIET", *strategies, *options, *own, cwd=tmp_path)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    verdicts = {cell["strategy"].rpartition(":")[2]: cell["verdict"] for cell in summary["cells"]}
    assert verdicts["QuietPool"] == "PASS", done.stdout + done.stderr
    assert "a server of the user's own" in done.stderr
    assert any("a server of the user's own" in component["chosen_by"] for component in summary["components"])
    writes = testing.writes(before)
    assert {
        word for statement in writes for word in ("DROP", "TRUNCATE", "ALTER SYSTEM") if statement.startswith(word)
    } <= {"DROP"}
    dropped = [statement for statement in writes if statement.startswith("DROP")]
    assert len(dropped) == 2
    assert all(statement.startswith('DROP DATABASE "chaos_') for statement in dropped)
    made = {statement.split('"')[1] for statement in writes if statement.startswith("CREATE DATABASE")}
    assert len(made) == 2
    written = {database for database, statement in testing.sent(before) if statement in writes}
    assert written == {target.name, *made}, "nothing was written to a database that this run did not make"
    saves = {place for place, statement in testing.sent(before) if "INSERT INTO checkpoint" in statement}
    assert saves == made, "and what agents write is in those of the cells alone"


def run_one(slot: Slot, strategy: str, folder: Path) -> CellResult:
    spec = CellSpec(
        id=cell_id("quiet", strategy, "async", 0),
        scenario=f"{PLUGIN}:QUIET",
        strategy=strategy,
        agents=("SupervisorAgent",),
        environment=TARGET,
    )
    place = CellFolder(folder)
    place.logs.mkdir(parents=True)
    return slot.run(spec, place)


#: Faults that change something on the server itself and may do so on a user's: each just in the cell's own database.
_AT_HOME = {
    "terminate_backends": "ends sessions of the cell's own database, which are its own role's",
    "lock_held": "locks a table that the cell's own role made",
    "setup_herd": "makes the saver's indexes anew, in the cell's own database",
}


def test_faults_that_speak_to_the_server_stay_in_the_cell_or_are_skipped(target: Target) -> None:
    """A fault that is new here has to say why it may, or what it needs that a user's server does not offer."""
    stack = Stack.open(TARGET, target=target)
    stack.close()
    faults = default_registry().faults
    words = ("faults.statements", "env.server", "env.admin")
    asks = {
        kind
        for kind, fault in faults.items()
        if any(w in inspect.getsource(sys.modules[fault.__module__]) for w in words)
    }
    assert {kind for kind in asks if faults[kind].needs <= stack.capabilities} == set(_AT_HOME)
    assert "connection_limit" in asks


def test_a_cell_that_needs_more_is_skipped_with_the_reason(target: Target, tmp_path: Path) -> None:
    registry = default_registry()
    (limited, *_) = (
        name for name, s in registry.scenarios.items() if any(w.fault.kind == "connection_limit" for w in s.plan)
    )
    slot = Slot.start(TARGET, target=target)
    try:
        place = CellFolder(tmp_path / "cell")
        place.logs.mkdir(parents=True)
        spec = CellSpec(id="limited", scenario=limited, strategy="per_agent_pool", environment=TARGET)
        result = slot.run(spec, place)
    finally:
        slot.close()
    assert result.verdict is Verdict.SKIP
    assert "superuser needs rights over the server" in result.reason
    assert "leave out --target-dsn" in result.reason


def test_a_cell_behind_our_pooler(target: Target, tmp_path: Path) -> None:
    slot = Slot.start(TARGET, target=target)
    try:
        assert "pgbouncer_session" not in slot.missing, "this machine has no PgBouncer"
        result = run_one(slot, "pgbouncer_session", tmp_path / "cell")
        assert result.verdict is Verdict.PASS, result.reason
    finally:
        slot.close()


def test_a_slot_that_is_told_to_end_drops_what_its_cell_made(
    target: Target, testing: UserServer, tmp_path: Path
) -> None:
    slot = Slot.start(TARGET, target=target)
    try:
        spec = CellSpec(
            id="quiet", scenario=f"{PLUGIN}:QUIET", strategy=f"{PLUGIN}:QuietPool", agents=("SupervisorAgent",)
        )
        place = CellFolder(tmp_path / "cell")
        place.logs.mkdir(parents=True)
        slot.begin(spec, place)
        deadline = time.monotonic() + 60.0
        while not any(name.startswith(f"chaos_{target.run}") for name in testing.databases()):
            assert time.monotonic() < deadline, "the cell made no database"
            time.sleep(0.05)
    finally:
        slot.close()
    assert not [name for name in testing.databases() if name.startswith(f"chaos_{target.run}")]


def test_a_stack_ends_even_where_the_target_is_refused_by_then(target: Target, testing: UserServer) -> None:
    stack = Stack.open(TARGET, target=target)
    api = stack._servers.api
    testing.as_superuser("ALTER TABLE poolproof.owner RENAME TO gone", target.name)
    with pytest.raises(ComponentError, match=r"could not drop what dead cells left: .* has no marker"):
        stack.close()
    testing.as_superuser("ALTER TABLE poolproof.gone RENAME TO owner", target.name)
    assert not answers(*api)
    assert not stack.folder.exists()


def test_what_needs_rights_over_the_server_is_skipped_with_the_reason(target: Target) -> None:
    stack = Stack.open(TARGET, target=target)
    try:
        offered = {Capability.POSTGRES, Capability.TOXIPROXY}
        assert offered <= stack.capabilities
        for need in (
            set(Capability) - stack.capabilities - {Capability.PGBOUNCER_SESSION, Capability.PGBOUNCER_TRANSACTION}
        ):
            problem = stack.missing[need]
            assert isinstance(problem, MissingComponent)
            of_rights = need not in (Capability.PROTOCOL, Capability.REPLICA_PROCESS)
            assert ("needs rights over the server" in str(problem)) is of_rights
            assert "leave out --target-dsn" in problem.fix
        assert Capability.POSTGRES_TLS in stack.missing
    finally:
        stack.close()


def _made_by_another_process(target: Target) -> str:
    """The database that a process made, which then ended without a word."""
    code = """if True:
        import json, os, sys
        from harness.environments.target import TargetDatabases
        from harness.environments.target_dsn import Target
        from harness.environments.target_guards import look
        target = Target.from_json(json.load(sys.stdin))
        databases = TargetDatabases(target, look(target))
        databases._create(databases.name("dead"))
        print(databases.name("dead"), flush=True)
        os._exit(1)
    """
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(target.to_json()),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    return done.stdout.strip()


async def test_what_a_dead_process_left_is_dropped_by_the_next(target: Target, testing: UserServer) -> None:
    databases = databases_of(target)
    left = _made_by_another_process(target)
    assert left in testing.databases()
    mine = databases.name("mine")
    await databases.create(mine)
    assert left not in testing.databases()
    assert mine in testing.databases()
    await databases.drop(mine)


async def test_only_what_is_written_down_is_dropped(target: Target, testing: UserServer) -> None:
    databases = databases_of(target)
    other = testing.make_database(databases.name("somebodys"))
    await databases.drop(other)
    assert other in testing.databases()
    testing.as_superuser(sql.SQL("DROP DATABASE {}").format(sql.Identifier(other)))


async def test_a_marker_that_changed_ends_it(target: Target, testing: UserServer) -> None:
    databases = databases_of(target)
    name = databases.name("a")
    await databases.create(name)
    (before,) = testing.as_superuser("SELECT run_token FROM poolproof.owner", target.name)[0]
    testing.as_superuser("UPDATE poolproof.owner SET run_token = 'x'", target.name)
    for change in (databases.create(databases.name("b")), databases.drop(name)):
        with pytest.raises(ComponentError, match="the marker is not the one that this run began with"):
            await change
    assert name in testing.databases()
    testing.as_superuser(f"UPDATE poolproof.owner SET run_token = '{before}'", target.name)
    await databases.drop(name)


async def test_nothing_is_dropped_under_somebody_else(target: Target, testing: UserServer) -> None:
    databases = databases_of(target)
    name = databases.name("shared")
    await databases.create(name)
    make_role(testing, f"visitor_{os.getpid()}", password="Visit0r-pass")
    dsn = testing.dsn(name, user=f"visitor_{os.getpid()}", password="Visit0r-pass")
    with psycopg.connect(dsn), pytest.raises(ComponentError, match=r"'visitor_.*' is connected to 'chaos_"):
        await databases.drop(name)
    assert name in testing.databases()
    own = testing.dsn(target.name, password=testing.password.replace("/", "%2F"))
    with (
        psycopg.connect(own, application_name="psql"),
        pytest.raises(ComponentError, match=r"somebody else is connected to it .*'psql'"),
    ):
        await databases.drop(name)
    await databases.drop(name)
    assert name not in testing.databases()


async def test_nothing_is_dropped_that_belongs_to_another_role_now(target: Target, testing: UserServer) -> None:
    databases = databases_of(target)
    name = databases.name("given")
    await databases.create(name)
    identifiers = sql.Identifier(name), sql.Identifier(testing.server.admin.user)
    testing.as_superuser(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(*identifiers))
    with pytest.raises(ComponentError, match="belongs to another role now"):
        await databases.drop(name)
    testing.as_superuser(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(identifiers[0], sql.Identifier(testing.owner)))
    await databases.drop(name)


def test_a_second_marker_is_refused(target: Target, testing: UserServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init-target", testing.dsn(target.name, password=testing.password.replace("/", "%2F"))]) == 2
    assert "has its marker already" in capsys.readouterr().err
