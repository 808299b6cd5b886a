"""Rows 9 and 10: a Toxiproxy that will not take a toxic back, and proxies that somebody left there."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import psycopg
import pytest

from harness.core.environment import Toxic
from harness.core.errors import HealError
from harness.environments.cell import CellEnvironment
from harness.environments.stack import Stack
from harness.environments.toxiproxy import CellProxy, ToxiproxyClient

LATE = Toxic(name="late", type="latency", stream="downstream", attributes={"latency": 300, "jitter": 0})


@dataclass
class Relay:
    """Stands before a real Toxiproxy and passes every order on, except those that it was told to refuse."""

    real: tuple[str, int]
    refused: dict[tuple[str, bool], int] = field(default_factory=dict)
    address: tuple[str, int] = ("", 0)

    def refuses(self, method: str, path: str) -> int:
        """The status to answer instead, or 0. Orders about toxics are told from those about whole proxies."""
        return self.refused.get((method, "/toxics" in path), 0)


@pytest.fixture
def relay(stack: Stack, cell_env: CellEnvironment) -> Iterator[Relay]:
    """A relay before the stack's own server."""
    relay = Relay(cell_env.proxy.api)

    class Handler(http.server.BaseHTTPRequestHandler):
        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = relay.refuses(self.command, self.path), b'{"error": "refused"}'
            if not status:
                with contextlib.closing(http.client.HTTPConnection(*relay.real, timeout=5)) as real:
                    real.request(self.command, self.path, body)
                    response = real.getresponse()
                    status, answer = response.status, response.read()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_DELETE = _pass  # noqa: N815 - the base class names them so

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - and this
            """Keep the test's output clean."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    relay.address = ("127.0.0.1", server.server_port)
    yield relay
    server.shutdown()
    server.server_close()
    thread.join(5)


async def proxy_behind(relay: Relay, environment: CellEnvironment) -> CellProxy:
    """A proxy of its own to the cell's Postgres, ordered through the relay, with a toxic on it."""
    admin = environment.admin
    proxy = CellProxy(relay.address, "pp-behind-a-relay", "127.0.0.1:0", f"{admin.host}:{admin.port}")
    await proxy.open()
    await proxy.add_toxic(LATE)
    return proxy


@pytest.mark.parametrize("status", [404, 500, 503])
async def test_row_09_a_toxic_that_cannot_be_removed_goes_with_its_proxy(
    status: int, relay: Relay, cell_env: CellEnvironment
) -> None:
    proxy = await proxy_behind(relay, cell_env)
    try:
        relay.refused = {("DELETE", True): status}
        await proxy.remove_toxic(LATE.name)
        with contextlib.closing(ToxiproxyClient(*relay.real)) as real:
            assert real.toxics(proxy.name) == (), "read back from the real server"
            assert real.proxy(proxy.name).enabled
        relay.refused = {}
        await proxy.add_toxic(LATE)
        relay.refused = {("DELETE", True): status}
        await proxy.reset()
        assert await proxy.toxics() == ()
    finally:
        relay.refused = {}
        await proxy.close()


async def test_row_09_what_cannot_be_healed_at_all_is_told(relay: Relay, cell_env: CellEnvironment) -> None:
    proxy = await proxy_behind(relay, cell_env)
    try:
        relay.refused = {("DELETE", True): 500, ("DELETE", False): 500}
        with pytest.raises(HealError, match=r"removing toxic late.*making the proxy anew failed too"):
            await proxy.remove_toxic(LATE.name)
        relay.refused = {}
        assert await proxy.toxics() == (LATE.name,), "it still stands, as was told"
        await proxy.remove_toxic(LATE.name)
    finally:
        relay.refused = {}
        await proxy.close()


def a_dead_pid() -> int:
    """The pid of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(10)
    return process.pid


async def test_row_10_proxies_of_dead_cells_go_and_all_others_stay(stack: Stack, cell_env: CellEnvironment) -> None:
    dead = a_dead_pid()
    admin = cell_env.admin
    upstream = f"{admin.host}:{admin.port}"
    theirs, living, left = "somebody-elses", f"{cell_env.proxy.name}-living", f"pp-{dead}-left"
    with contextlib.closing(ToxiproxyClient(*cell_env.proxy.api)) as client:
        for name in (theirs, living, left):
            client.create(name, "127.0.0.1:0", upstream)
            client.add_toxic(name, LATE)
        with psycopg.connect(admin.conninfo(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE cell_{dead}_left")  # every cell has one for as long as a proxy
        try:
            async with stack.cell("next", groups=("g0",)) as environment:
                assert await environment.leftovers() == (), "nobody's leftover is taken for this cell's"
            assert left not in client.proxy_names()
            assert client.toxics(theirs) == client.toxics(living) == (LATE.name,)
        finally:
            for name in (theirs, living, left):
                client.destroy(name)
