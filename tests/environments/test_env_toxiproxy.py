"""The Toxiproxy adapter against real servers, and against one that lies."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core.environment import Toxic
from harness.core.errors import ComponentError, HealError
from harness.environments.accounts import server_account
from harness.environments.cell import CellEnvironment
from harness.environments.components import find_toxiproxy
from harness.environments.leases import RunFolder
from harness.environments.reach import within_reach
from harness.environments.stack import Stack
from harness.environments.toxiproxy import CellProxy, ToxiproxyClient
from harness.environments.toxiproxy_server import ToxiproxyServer, start_toxiproxy

LATENCY = Toxic(name="late", type="latency", stream="downstream", attributes={"latency": 100, "jitter": 0})


@pytest.fixture
def second_server(stack: Stack) -> Iterator[ToxiproxyServer]:
    """Another server beside the stack's own."""
    run = RunFolder.create()
    account = server_account()
    server = start_toxiproxy(within_reach(find_toxiproxy(print), run, account), run, account)
    yield server
    server.stop()
    run.remove()


def proxy_names(api: tuple[str, int]) -> tuple[str, ...]:
    with contextlib.closing(ToxiproxyClient(*api)) as client:
        return client.proxy_names()


async def test_two_servers_are_never_mixed_up(cell_env: CellEnvironment, second_server: ToxiproxyServer) -> None:
    """toxiproxy-python's address is one global: a second client would redirect the first."""
    other = CellProxy(second_server.api, "other", "127.0.0.1:0", "127.0.0.1:9")
    await other.open()
    assert "other" not in proxy_names(cell_env.proxy.api)
    assert proxy_names(second_server.api) == ("other",)

    await cell_env.proxy.add_toxic(LATENCY)
    assert await other.toxics() == ()
    await other.add_toxic(LATENCY)
    await cell_env.proxy.remove_toxic(LATENCY.name)
    assert await other.toxics() == (LATENCY.name,)
    await other.close()
    assert cell_env.proxy.name in proxy_names(cell_env.proxy.api)


async def test_a_toxic_is_what_was_ordered_and_healing_is_idempotent(cell_env: CellEnvironment) -> None:
    told = await cell_env.proxy.add_toxic(LATENCY)
    assert told == {
        "name": "late",
        "type": "latency",
        "stream": "downstream",
        "toxicity": 1.0,
        "attributes": {"latency": 100, "jitter": 0},
    }
    await cell_env.proxy.remove_toxic("late")
    await cell_env.proxy.remove_toxic("late")
    await cell_env.proxy.set_enabled(False)
    await cell_env.proxy.add_toxic(LATENCY)
    assert await cell_env.leftovers() == ("toxic late", "the proxy is disabled")
    await cell_env.proxy.reset()
    await cell_env.proxy.reset()
    assert await cell_env.leftovers() == ()


async def test_an_unknown_toxic_is_refused_with_the_servers_reason(cell_env: CellEnvironment) -> None:
    with pytest.raises(ComponentError, match=r"adding toxic bad \(no_such_type\).*InvalidToxic"):
        await cell_env.proxy.add_toxic(Toxic(name="bad", type="no_such_type", stream="downstream", attributes={}))


async def test_enabling_on_a_stolen_port_raises(cell_env: CellEnvironment) -> None:
    """The library swallows this HTTP 500 and says that the proxy is enabled."""
    await cell_env.proxy.set_enabled(False)
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind((cell_env.endpoint.host, cell_env.endpoint.port))
        thief.listen()
        with pytest.raises(ComponentError, match="HTTP 500"):
            await cell_env.proxy.set_enabled(True)
        assert await cell_env.proxy.enabled() is False
        with pytest.raises(HealError, match="making the proxy anew failed too"):
            await cell_env.proxy.reset()
    await cell_env.proxy.reset()
    assert await cell_env.proxy.enabled() is True


async def test_nobody_is_given_the_port_of_a_disabled_proxy(cell_env: CellEnvironment) -> None:
    await cell_env.proxy.set_enabled(False)
    address = (cell_env.endpoint.host, cell_env.endpoint.port)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=1)
    with socket.socket() as other, pytest.raises(OSError, match="Address already in use"):
        other.bind(address)
    await cell_env.proxy.set_enabled(True)


def wait_all_threads_stopped(pid: int) -> None:
    """A signal is only on its way when ``kill`` returns: a thread that still runs could answer."""
    stop_s = time.monotonic() + 5
    tasks = Path(f"/proc/{pid}/task")
    while {stat.read_text().rpartition(")")[2].split()[0] for stat in tasks.glob("*/stat")} != {"T"}:
        assert time.monotonic() < stop_s
        time.sleep(0.01)


@pytest.mark.slow
async def test_a_frozen_server_costs_a_bounded_time(second_server: ToxiproxyServer) -> None:
    proxy = CellProxy(second_server.api, "frozen", "127.0.0.1:0", "127.0.0.1:9")
    await proxy.open()
    os.kill(second_server.child.pid, signal.SIGSTOP)
    wait_all_threads_stopped(second_server.child.pid)
    began = time.monotonic()
    beats = 0

    async def heart() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.05)
            beats += 1

    beating = asyncio.create_task(heart())
    with pytest.raises(ComponentError, match="timed out"):
        await proxy.add_toxic(LATENCY)
    beating.cancel()
    assert time.monotonic() - began < 5
    assert beats > 20, "the event loop stood still during the call"
    os.kill(second_server.child.pid, signal.SIGCONT)
    await proxy.close()


async def test_the_users_http_proxy_is_ignored(monkeypatch: pytest.MonkeyPatch, second_server: ToxiproxyServer) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with contextlib.closing(ToxiproxyClient(*second_server.api)) as client:
        assert client.version() == "2.12.0"


async def test_a_cancelled_change_is_over_before_its_healing(cell_env: CellEnvironment) -> None:
    """Else the toxic would be installed after it was removed, and stand for ever."""
    for _ in range(10):
        adding = asyncio.create_task(cell_env.proxy.add_toxic(LATENCY))
        await asyncio.sleep(0)
        adding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await adding
        await cell_env.proxy.remove_toxic(LATENCY.name)
        assert await cell_env.proxy.toxics() == ()


class Liar(http.server.BaseHTTPRequestHandler):
    """Answers 200 to every order and does nothing; refuses to remove toxics."""

    def _answer(self, body: object, status: int = 200) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self) -> None:
        toxic = {"name": "stuck", "type": "timeout", "stream": "upstream", "toxicity": 1.0, "attributes": {}}
        proxy = {"name": "p", "upstream": "u:1", "listen": "l:1", "enabled": True, "toxics": [toxic]}
        self._answer([toxic] if self.path.endswith("/toxics") else {"p": proxy})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer({})

    def do_DELETE(self) -> None:
        self._answer({"error": "broken"}, 500)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Keep the test's output clean."""


@pytest.fixture
def liar() -> Iterator[tuple[str, int]]:
    """The address of a server that lies."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Liar)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield "127.0.0.1", server.server_port
    server.shutdown()
    server.server_close()
    thread.join(5)


async def test_a_change_that_did_not_happen_is_an_error(liar: tuple[str, int]) -> None:
    proxy = CellProxy(liar, "p", "l:1", "u:1")
    with pytest.raises(ComponentError, match="the server says there is none"):
        await proxy.add_toxic(LATENCY)
    with pytest.raises(ComponentError, match="disabling proxy p: the server still says the opposite"):
        await proxy.set_enabled(False)
    with pytest.raises(HealError, match="removing toxic stuck"):
        await proxy.remove_toxic("stuck")
    with pytest.raises(ComponentError, match="HTTP 500"):
        await proxy.close()


async def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(ComponentError, match=r"Toxiproxy at 127\.0\.0\.1:9: asking for the version"):
        ToxiproxyClient("127.0.0.1", 9).version()
