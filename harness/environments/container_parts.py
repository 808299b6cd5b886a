"""Single containers, by way of testcontainers: which image, starting, ports, logs. Every wait has a bound."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator

import docker  # type: ignore[import-untyped]
import requests
from docker.errors import DockerException, ImageNotFound  # type: ignore[import-untyped]
from testcontainers.core.container import DockerContainer
from testcontainers.core.exceptions import ContainerStartException

from harness.core.environment import Note
from harness.core.errors import ComponentError, MissingComponent
from harness.environments.toxiproxy_server import answers

IMAGES = {
    "postgres": ("POOLPROOF_IMAGE_POSTGRES", "postgres:18"),
    "toxiproxy": ("POOLPROOF_IMAGE_TOXIPROXY", "ghcr.io/shopify/toxiproxy:2.12.0"),
    "pgbouncer": ("POOLPROOF_IMAGE_PGBOUNCER", "edoburu/pgbouncer:latest"),
}

ENGINE_LIMIT_S = 60

_PULL_LIMIT_S = 600
_READY_LIMIT_S = 60.0
_POLL_S = 0.05
_TAIL_CHARS = 2000


def image_of(name: str) -> str:
    """The image that a component is run from."""
    variable, default = IMAGES[name]
    return os.environ.get(variable) or default


def why_image(name: str) -> str:
    """Why it is this image, in words."""
    variable = IMAGES[name][0]
    return variable if os.environ.get(variable) else f"default image ({variable} chooses another)"


def have_image(client: docker.DockerClient, name: str, note: Note) -> None:
    """Pull the image unless the engine has it. Raises MissingComponent with the fix."""
    image = image_of(name)
    try:
        client.images.get(image)
    except ImageNotFound:
        note(f"pulling {image}")
        try:
            with engine_client(_PULL_LIMIT_S) as patient:
                patient.images.pull(image)
        except (DockerException, requests.RequestException) as error:
            raise MissingComponent(
                f"the image {image} cannot be pulled: {error}", f"set {IMAGES[name][0]} to an image that the engine has"
            ) from error


@contextlib.contextmanager
def engine_client(limit_s: int = ENGINE_LIMIT_S) -> Iterator[docker.DockerClient]:
    """A connection to the engine of its own, so that nothing is shared across a fork."""
    client = docker.from_env(timeout=limit_s)
    try:
        yield client
    finally:
        client.close()


def start_container(container: DockerContainer, name: str) -> None:
    """Create and start it. Raises ComponentError."""
    try:
        container.start()
    except (DockerException, requests.RequestException) as error:
        raise ComponentError(f"the container of {name} ({image_of(name)}) does not start: {error}") from error


def published(container: DockerContainer, port: int) -> int:
    """The port on loopback that leads to this port inside."""
    wrapped = container.get_wrapped_container()
    wrapped.reload()
    bindings = wrapped.ports.get(f"{port}/tcp")
    if not bindings:
        raise ComponentError(f"port {port} is not published; the container's log ends:\n{tail_of(container)}")
    return int(bindings[0]["HostPort"])


def direct_address(container: DockerContainer, port: int) -> str | None:
    """The container's own address, if it can be reached from here."""
    networks = container.get_wrapped_container().attrs["NetworkSettings"]["Networks"]
    for network in networks.values():
        address = str(network.get("IPAddress") or "")
        if address and answers(address, port):
            return address
    return None


def until_ready(ready: Callable[[], bool], name: str, container: DockerContainer) -> None:
    """Wait for ``ready``. Raises ComponentError with the end of the log when the container ends or time is up."""
    deadline = time.monotonic() + _READY_LIMIT_S
    while not ready():
        container.reload()
        if container.status == "exited" or time.monotonic() > deadline:
            raise ComponentError(f"{name} does not start; the container's log ends:\n{tail_of(container)}")
        time.sleep(_POLL_S)


def logs_of(container: DockerContainer) -> tuple[bytes, ...]:
    """What it printed to stdout and to stderr; says so instead of raising when that cannot be had."""
    try:
        return container.get_logs()
    except (DockerException, requests.RequestException, ContainerStartException) as error:
        return (f"(no log: {error})".encode(),)


def tail_of(container: DockerContainer) -> str:
    """The end of its log, for a message."""
    return b"".join(logs_of(container)).decode(errors="replace")[-_TAIL_CHARS:]
