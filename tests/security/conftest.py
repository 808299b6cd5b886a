"""Servers as users have them, one of each for all tests of this folder, and a process without any secret."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.core import redaction
from tests.security.user_server import UserServer, user_server


@pytest.fixture(autouse=True)
def no_secrets_between_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test hides is no secret in the next."""
    monkeypatch.setattr(redaction, "_known", {})


@pytest.fixture(scope="session")
def production() -> Iterator[UserServer]:
    """Somebody's server in production: every statement is logged, and nothing on it is ours."""
    with user_server() as server:
        server.make_database("production")
        server.make_database("chaos_prod")
        server.make_database("chaos_full")
        server.as_superuser("CREATE TABLE orders (id int)", "chaos_full")
        yield server


@pytest.fixture(scope="session")
def testing() -> Iterator[UserServer]:
    """Somebody's server for tests."""
    with user_server(owner="tester", password="Tester-pass/w0rd") as server:
        yield server
