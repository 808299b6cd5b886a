"""Removes the containers of a stack whose harness died. Run as ``python -m harness.environments.container_reaper``.

Containers are children of the engine, so no death signal reaches them. This small process waits at the end of a pipe
that only the harness and its forks hold: end of file means that all of them are gone, however that happened. It does
what testcontainers' Ryuk does, without another image to pull and without giving a container the engine's socket.
"""

from __future__ import annotations

import os
import signal
import sys

import docker  # type: ignore[import-untyped]
from docker.errors import APIError, NotFound  # type: ignore[import-untyped]

LABEL = "poolproof.stack"
_LIMIT_S = 20


def remove_all(stack: str) -> None:
    """Remove every container and network that carries this stack's label. Raises what the engine raises."""
    client = docker.from_env(timeout=_LIMIT_S)
    try:
        wanted = {"label": f"{LABEL}={stack}"}
        for container in client.containers.list(all=True, filters=wanted):
            try:
                container.remove(force=True, v=True)
            except (NotFound, APIError):
                continue  # somebody else is removing it
        for network in client.networks.list(filters=wanted):
            network.remove()
    finally:
        client.close()


def main() -> None:
    """Wait for the end of stdin, then clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # those are for the harness; this one outlives it on purpose
    while os.read(0, 4096):
        pass
    remove_all(sys.argv[1])


if __name__ == "__main__":
    main()
