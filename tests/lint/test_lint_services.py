"""What the lint finds in a service's own module, and what it leaves alone; without any network."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core.errors import UsageError
from harness.lint import Given, LintFinding, lint

HERE = Path(__file__).resolve().parent
WRONG, RIGHT = HERE / "wrong_service.py", HERE / "right_service.py"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whoever makes a socket fails."""

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("the lint went to the network")

    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", refused)
        yield


def found_in(reference: str, given: Given | None = None) -> dict[str, list[LintFinding]]:
    found: dict[str, list[LintFinding]] = {}
    for finding in lint(reference, given).findings:
        found.setdefault(finding.check, []).append(finding)
    return found


def line_of(file: Path, text: str) -> int:
    """The one line that has ``text``."""
    (line,) = [n for n, line in enumerate(file.read_text().splitlines(keepends=True), 1) if text in line]
    return line


def test_everything_that_is_wrong_is_found_where_it_is() -> None:
    found = found_in(f"{WRONG}:BaseAgent._shared_pool")
    lines = {check: sorted({finding.where.line for finding in findings}) for check, findings in found.items()}
    first, second = line_of(WRONG, "= AsyncConnectionPool(\n"), line_of(WRONG, '"host=db", open=False')
    assert lines == {
        "prepare_threshold": [first],
        "autocommit": [first, second],
        "connect_timeout": [first, second],
        "check_deadline": [first],
        "setup_everywhere": [line_of(WRONG, "await saver.setup()")],
        "connection_sum": [first],
        "open_wait": [line_of(WRONG, "open(wait=True")],
        "shared_saver": [line_of(WRONG, "self.graphs =")],
        "single_connection": [line_of(WRONG, "from_conn_string")],
    }
    assert {finding.where.file for findings in found.values() for finding in findings} == {str(WRONG)}
    (total,) = found["connection_sum"]
    assert total.value == "max_size 1 x 40 + 1 x 60 = 100"
    assert total.allowed.startswith("at most 97 ")


def test_a_right_service_is_left_alone() -> None:
    report = lint(f"{RIGHT}:pool")
    assert report.findings == ()
    assert [item.what for item in report.not_checked] == [
        "what other modules do with it",
        "the server and what stands before it",
    ]


def test_no_password_is_shown() -> None:
    assert "hunter2" not in repr(lint(f"{WRONG}:pool"))


@pytest.mark.parametrize(
    ("given", "checks"),
    [
        (Given(pooler="none"), set()),
        (Given(pooler="session"), set()),
        (Given(pooler="prepared"), set()),
        (Given(pooler="transaction"), {"prepare_threshold"}),
        (Given(max_connections=100, replicas=2), set()),
        (Given(max_connections=100, replicas=5), {"connection_sum"}),
        (Given(max_connections=22), {"connection_sum"}),
    ],
)
def test_what_the_user_says_of_the_place_counts(given: Given, checks: set[str], tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "from psycopg_pool import AsyncConnectionPool\n"
        "pool = AsyncConnectionPool('connect_timeout=3', open=False, min_size=20, kwargs={'autocommit': True})\n"
    )
    assert set(found_in(f"{tmp_path}/app.py:pool", given)) == checks


@pytest.mark.parametrize(
    ("settings", "unknown"),
    [
        ("lambda: 'host=db'", {"connect_timeout of pool-x"}),
        ("'service=mine'", {"connect_timeout of pool-x"}),
        ("'a b c ='", {"connect_timeout of pool-x"}),
        ("'connect_timeout=3', configure=configure", {"autocommit of pool-x"}),
        ("'connect_timeout=3', kwargs=kwargs", {"autocommit of pool-x", "connect_timeout of pool-x"}),
        ("'connect_timeout=3', connection_class=Own", {"autocommit of pool-x"}),
    ],
)
def test_what_cannot_be_known_is_said_and_not_guessed(settings: str, unknown: set[str], tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "from psycopg import AsyncConnection\nfrom psycopg_pool import AsyncConnectionPool\n"
        "async def configure(connection):\n    await connection.set_autocommit(True)\n"
        "async def kwargs():\n    return {}\n"
        "class Own(AsyncConnection):\n    @classmethod\n    async def connect(cls, *a, **k):\n        ...\n"
        f"pool = AsyncConnectionPool({settings}, open=False, name='pool-x')\n"
    )
    report = lint(f"{tmp_path}/app.py:pool")
    assert {item.what for item in report.not_checked if "pool-x" in item.what} == unknown
    assert not {f"{finding.check} of pool-x" for finding in report.findings} & unknown


@pytest.mark.parametrize(
    ("value", "checks"), [("0", {"connect_timeout"}), ("-1", {"connect_timeout"}), ("5", set()), ("2.5", set())]
)
def test_a_connect_timeout_of_zero_is_none(value: str, checks: set[str], tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "from psycopg_pool import AsyncConnectionPool\n"
        f"pool = AsyncConnectionPool('connect_timeout={value}', open=False, kwargs={{'autocommit': True}})\n"
    )
    assert set(found_in(f"{tmp_path}/app.py:pool")) == checks


def test_a_null_pool_bounds_its_connects_and_sync_pools_count(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "from psycopg_pool import AsyncNullConnectionPool, ConnectionPool\n"
        "null = AsyncNullConnectionPool(open=False, max_size=4, kwargs={'autocommit': True})\n"
        "pool = ConnectionPool(open=False, check=ConnectionPool.check_connection)\n"
    )
    found = found_in(f"{tmp_path}/app.py:null")
    assert {(check, finding.where.line) for check, findings in found.items() for finding in findings} == {
        ("autocommit", 3),
        ("connect_timeout", 3),
        ("check_deadline", 3),
    }


@pytest.mark.parametrize(
    ("versions", "found"),
    [
        ({"psycopg": "3.3.9", "psycopg-pool": "3.3.3"}, set()),
        ({"psycopg": "3.3.10", "psycopg-pool": "4.0"}, set()),
        ({"psycopg": "3.3.8", "psycopg-pool": "3.3.3"}, {"3.3.8"}),
        ({"psycopg": "3.3.9rc1", "psycopg-pool": "3.2.8"}, {"3.3.9rc1", "3.2.8"}),
        ({"psycopg": "3.3", "psycopg-pool": "3.3.3"}, {"3.3"}),
    ],
)
def test_versions_below_the_floor(versions: dict[str, str], found: set[str]) -> None:
    report = lint(f"{RIGHT}:pool", versions=versions)
    assert {finding.value for finding in report.findings} == found
    assert {finding.check for finding in report.findings} <= {"versions"}


def test_a_package_that_is_missing_is_not_checked() -> None:
    what = {item.what for item in lint(f"{RIGHT}:pool", versions={"psycopg": "3.3.9"}).not_checked}
    assert "the version of psycopg-pool" in what


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("nowhere.py:pool", r"nowhere\.py: no such file"),
        ("app.py", r"app\.py: no name after the colon"),
        ("app.py:", r"app\.py:: no name after the colon"),
        ("app.py:poool", r"app\.py: the module has no 'poool': did you mean 'pool'\? It has pool$"),
        ("app.py:Service.pool", r"app\.py: Service has no 'pool'.* It has pool$"),
        (
            "app.py:nothing",
            r"app\.py: nothing is None, .*neither a pool nor a strategy; allowed: an AsyncConnectionPool",
        ),
        ("app.py:make", r"app\.py: make is a function, neither a pool nor a strategy; allowed: "),
        ("app.py:Service", r"app\.py: Service is the class Service, neither a pool nor a strategy"),
        ("broken.py:pool", r"broken\.py, line 1: the file does not import: ZeroDivisionError: division by zero"),
        ("broken_module:pool", r"broken_module: the module does not import: ZeroDivisionError"),
        ("leaving:pool", r"leaving: the module does not import: SystemExit: 3"),
        ("no_such_module:pool", r"no_such_module: there is no module 'no_such_module' here or among what is installed"),
        ("not a module:pool", r"'not a module' is no module"),
        ("self_heeling", r"unknown strategy 'self_heeling': did you mean 'self_healing'"),
        ("mine.py:Abstract", r"mine\.py, line 2: Abstract lacks the method checkpointer"),
        ("mine.py:Raising", r"mine\.py, line 4: Raising could not be constructed: KeyError: 'DATABASE_URL'"),
    ],
)
def test_bad_input_is_one_sentence(
    reference: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "app.py").write_text(
        "from psycopg_pool import AsyncConnectionPool\npool = AsyncConnectionPool(open=False)\nnothing = None\n"
        "def make():\n    return pool\nclass Service:\n    pass\n"
    )
    (tmp_path / "mine.py").write_text(
        "from harness import PoolStrategy\nclass Abstract(PoolStrategy):\n    name = 'a'\n"
        "class Raising(PoolStrategy):\n    name = 'r'\n    def __init__(self, database):\n"
        "        raise KeyError('DATABASE_URL')\n    async def checkpointer(self, agent):\n        ...\n"
    )
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "broken_module.py").write_text("1 / 0\n")
    (tmp_path / "leaving.py").write_text("raise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError) as caught:
        lint(reference)
    assert re.search(sentence, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)
