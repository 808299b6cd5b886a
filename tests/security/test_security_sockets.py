"""Everything listens on 127.0.0.1: the kernel's own tables say so, for every process of a running stack."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest

from harness.core.cell import CellSpec, cell_id
from harness.core.environment import Capability
from harness.environments.processes import children_of
from harness.environments.stack import Stack
from harness.environments.target_guards import is_loopback
from harness.slot import Slot
from harness.store import CellFolder

pytestmark = pytest.mark.slow
PLUGIN = Path(__file__).resolve().parent.parent / "plugins" / "secretive.py"
_LISTENS = "0A"
_SOCKET = re.compile(r"socket:\[(\d+)\]")


@dataclass(frozen=True)
class Socket:
    """A socket in state LISTEN: whose it is, and where."""

    process: str
    address: str
    port: int


def listening(pids: set[int]) -> set[Socket]:
    """What the processes listen on, TCP over IPv4 and IPv6; and any UDP port that they have open."""
    owners = dict(_sockets_of(pids))
    found = set()
    for table, state in (("tcp", _LISTENS), ("tcp6", _LISTENS), ("udp", "07"), ("udp6", "07")):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == state and fields[9] in owners:
                address, port = _address(fields[1])
                found.add(Socket(owners[fields[9]], address, port))
    return found


def _sockets_of(pids: set[int]) -> Iterator[tuple[str, str]]:
    for pid in pids:
        with contextlib.suppress(OSError):
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    match = _SOCKET.fullmatch(os.readlink(entry))
                    if match:
                        yield match.group(1), name


def _address(text: str) -> tuple[str, int]:
    """The kernel writes addresses as 32-bit words in its own byte order."""
    raw, _, port = text.partition(":")
    words = [bytes.fromhex(raw[n : n + 8]) for n in range(0, len(raw), 8)]
    swapped = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    return str(ip_address(swapped)), int(port, 16)


def family(pid: int) -> set[int]:
    """A process and all below it."""
    found = {pid}
    for child in children_of(pid):
        found |= family(child)
    return found


def test_the_tables_are_read_right() -> None:
    """What is open to everybody is seen to be so, or the next tests prove nothing."""
    with socket.create_server(("0.0.0.0", 0)) as everywhere, socket.create_server(("127.0.0.1", 0)) as here:
        found = {(s.address, s.port) for s in listening({os.getpid()})}
        assert ("0.0.0.0", everywhere.getsockname()[1]) in found
        assert ("127.0.0.1", here.getsockname()[1]) in found
    if socket.has_ipv6:
        with contextlib.suppress(OSError), socket.create_server(("::", 0), family=socket.AF_INET6) as six:
            assert ("::", six.getsockname()[1]) in {(s.address, s.port) for s in listening({os.getpid()})}


async def test_a_stack_with_a_cell_and_a_pooler(stack: Stack) -> None:
    pooler = Capability.PGBOUNCER_SESSION if Capability.PGBOUNCER_SESSION in stack.capabilities else None
    async with stack.cell("sockets", groups=("g0",), pooler=pooler) as environment:
        found = listening(family(os.getpid()))
        assert all(is_loopback(s.address) for s in found), found
        ports = {s.port: s.process for s in found}
        assert ports[environment.endpoint.port] == "toxiproxy-serve" or "toxiproxy" in ports[environment.endpoint.port]
        assert "postgres" in ports[environment.admin.port]
        assert ("pgbouncer" in ports.values()) is (pooler is not None)
        assert len(found) >= 4 - (pooler is None), "API, proxy, Postgres, PgBouncer"


#: What a cell needs -> what listens beside the API, the proxy and the shared Postgres: how many of which program.
_OWN = {
    Capability.PROTOCOL: {"python": 1, "postgres": 0},
    Capability.SERVER_PROCESS: {"python": 0, "postgres": 1},
    Capability.SERVER_STANDBY: {"python": 1, "postgres": 2},
}


@pytest.mark.parametrize("need", _OWN)
async def test_a_cell_that_starts_more(need: Capability, stack: Stack) -> None:
    """The middle and the switch before a standby are processes of the harness that listen; all else are servers."""

    def places() -> set[Socket]:
        return listening(family(os.getpid()))

    before = places()
    async with stack.cell("sockets", groups=("g0",), needs=frozenset({need})):
        found = places()
        assert all(is_loopback(s.address) for s in found), found
        for program, number in _OWN[need].items():
            assert len([s for s in found - before if s.process.startswith(program)]) == number, found - before
    assert places() == before, "what a cell opens is closed with it"


@pytest.mark.proof
@pytest.mark.parametrize("scenario", [f"{PLUGIN}:QUIET", "process/replica_drained"])
def test_a_slot_while_a_cell_runs(scenario: str, tmp_path: Path) -> None:
    """The harness's own processes too, and the replicas where those are processes: they listen on nothing at all."""
    slot = Slot.start("local")
    try:
        place = CellFolder(tmp_path / "cell")
        place.logs.mkdir(parents=True)
        strategy = "pgbouncer_session" if "pgbouncer_session" not in slot.missing else "per_agent_pool"
        spec = CellSpec(id=cell_id("quiet", strategy, "async", 0), scenario=scenario, strategy=strategy)
        slot.begin(spec, place)
        seen: set[Socket] = set()
        deadline = time.monotonic() + 120.0
        while slot.poll() is None:
            assert time.monotonic() < deadline
            seen |= listening(family(slot.pid))
            time.sleep(0.1)
    finally:
        slot.close()
    assert all(is_loopback(s.address) for s in seen), seen
    processes = {s.process for s in seen}
    assert not [name for name in processes if name.startswith(("python", "pytest"))], processes
    assert {"postgres"} <= processes
    assert any("toxiproxy" in name for name in processes)
