"""The container environment on a real engine, with images made on the spot.

Run by hand: ``python -m harness.environments.engine -- python -m pytest tests/environments -m docker``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import docker  # type: ignore[import-untyped]
import psycopg
import pytest

from harness.core.environment import Capability, Toxic
from harness.core.errors import MissingComponent
from harness.environments import engine
from harness.environments.container_reaper import LABEL
from harness.environments.stack import Stack

pytestmark = [pytest.mark.docker, pytest.mark.slow]


@pytest.fixture(scope="module", autouse=True)
def images() -> Iterator[None]:
    """Images of our own, unless the user chose some; everything here is skipped where no engine answers."""
    if not engine.answers():
        pytest.skip("no Docker engine answers; python -m harness.environments.engine -- ... may start one")
    from harness.environments.images import build_images

    with pytest.MonkeyPatch.context() as patch:
        if "POOLPROOF_IMAGE_POSTGRES" not in os.environ:
            for name, image in build_images(print).items():
                patch.setenv(name, image)
        yield


@contextlib.contextmanager
def engine_client() -> Iterator[docker.DockerClient]:
    client = docker.from_env(timeout=20)
    try:
        yield client
    finally:
        client.close()


def containers_of(stack: str) -> list[str]:
    with engine_client() as client:
        return [found.name for found in client.containers.list(all=True, filters={"label": f"{LABEL}={stack}"})]


@pytest.fixture(scope="module")
def boxed() -> Iterator[Stack]:
    """A stack in containers."""
    stack = Stack.open("containers", note=lambda text: print(text))
    yield stack
    stack.close()
    assert containers_of(stack.folder.name) == []
    assert not stack.folder.exists()


@pytest.mark.parametrize("pooler", [None, Capability.PGBOUNCER_SESSION, Capability.PGBOUNCER_TRANSACTION])
async def test_a_cell_works_like_a_local_one(boxed: Stack, pooler: Capability | None) -> None:
    assert boxed.dead() == ()
    async with boxed.cell("boxed", groups=("g0", "g1"), pooler=pooler) as environment:
        async with await psycopg.AsyncConnection.connect(
            environment.conninfo("g0"), autocommit=True, prepare_threshold=None
        ) as connection:
            row = await (await connection.execute("SELECT pg_backend_pid(), current_user")).fetchone()
            assert row is not None
            assert row[1] == "agent"
            assert environment.backends() == {"g0": (row[0],), "g1": ()}
            assert await environment.leftover_backends(("g0", "g1")) == {"g0": 1, "g1": 0}
            late = Toxic(name="late", type="latency", stream="downstream", attributes={"latency": 200})
            await environment.proxy.add_toxic(late)
            began = time.monotonic()
            await connection.execute("SELECT 1")
            assert time.monotonic() - began >= 0.2
            await environment.proxy.reset()
            await environment.proxy.set_enabled(False)
            with pytest.raises(psycopg.OperationalError):
                await connection.execute("SELECT 1")
        assert await environment.leftovers() == ("the proxy is disabled",)
        await environment.proxy.reset()
        assert await environment.leftovers() == ()
        logs = dict(environment.logs)
    assert set(logs) == {"postgres", "toxiproxy"} | ({"pgbouncer"} if pooler else set())
    assert all(path.stat().st_size > 0 for path in logs.values())


def test_a_closed_proxy_refuses_like_a_local_one(boxed: Stack) -> None:
    """Docker's userland proxy on loopback would accept; agents go to the container's own address."""
    listener = boxed._servers.listener()
    assert listener.host != "127.0.0.1"


def test_sigkill_of_the_owner_removes_the_containers() -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent("""
            import time
            from harness.core.environment import Capability
            from harness.environments.stack import Stack
            stack = Stack.open("containers")
            print(stack.folder, flush=True)
            time.sleep(60)
        """)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert owner.stdout is not None
    name = Path(owner.stdout.readline().strip()).name
    assert len(containers_of(name)) == 2
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait(5)
    owner.stdout.close()
    deadline = time.monotonic() + 5
    while (left := containers_of(name)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def test_an_image_that_cannot_be_had_is_missing_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLPROOF_IMAGE_POSTGRES", "127.0.0.1:9/nothing:1")
    with pytest.raises(MissingComponent, match=r"127\.0\.0\.1:9/nothing:1 cannot be pulled") as caught:
        Stack.open("containers")
    assert "POOLPROOF_IMAGE_POSTGRES" in caught.value.fix


def test_a_pgbouncer_image_that_cannot_be_had_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLPROOF_IMAGE_PGBOUNCER", "127.0.0.1:9/nothing:1")
    stack = Stack.open("containers")
    try:
        assert "cannot be pulled" in str(stack.missing[Capability.PGBOUNCER_SESSION])
    finally:
        stack.close()
