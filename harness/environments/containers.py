"""The servers as containers, through testcontainers.

The images are public ones unless ``POOLPROOF_IMAGE_POSTGRES``, ``POOLPROOF_IMAGE_TOXIPROXY`` or
``POOLPROOF_IMAGE_PGBOUNCER`` name others. Ports are published on loopback. Where the containers' own addresses can be
reached (Linux), agents connect to Toxiproxy's directly: Docker's userland proxy, which serves loopback, would accept
connections that a closed Toxiproxy refuses and turn its resets into something milder.

testcontainers' Ryuk stays off unless the user's TESTCONTAINERS_RYUK_DISABLED says otherwise: it is one more image to
pull, and it gets the engine's socket. ``container_reaper`` cleans up after a harness that was killed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import docker  # type: ignore[import-untyped]
import psycopg
import requests
from docker.errors import DockerException  # type: ignore[import-untyped]
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from harness.core.environment import Capability, Endpoint, Note
from harness.core.errors import ComponentError, MissingComponent
from harness.environments.components import Component
from harness.environments.container_reaper import LABEL, remove_all
from harness.environments.leases import RunFolder
from harness.environments.local import POOLERS, no_tls
from harness.environments.pgbouncer import CONSOLE, configuration, console_clients, users_file
from harness.environments.ports import LOOPBACK
from harness.environments.postgres import CONNECT_OPTIONS, SUPERUSER, connect, set_up
from harness.environments.processes import clean_environment
from harness.environments.servers import Listener, Pooler
from harness.environments.toxiproxy import ToxiproxyClient
from harness.environments.toxiproxy_server import answers

IMAGES = {
    "postgres": ("POOLPROOF_IMAGE_POSTGRES", "postgres:18"),
    "toxiproxy": ("POOLPROOF_IMAGE_TOXIPROXY", "ghcr.io/shopify/toxiproxy:2.12.0"),
    "pgbouncer": ("POOLPROOF_IMAGE_PGBOUNCER", "edoburu/pgbouncer:latest"),
}

_POSTGRES_PORT = 5432
_API_PORT = 8474
_PGBOUNCER_PORT = 6432
#: Where proxies listen inside Toxiproxy's container: as many cells at a time.
_PROXY_PORTS = range(21000, 21008)
_POSTGRES_COMMAND = [
    part
    for setting in ("max_connections=300", "shared_buffers=64MB", "fsync=off", "synchronous_commit=off",
                    "full_page_writes=off", "log_line_prefix=%m [%p] %a ")
    for part in ("-c", setting)
]  # fmt: skip
_ENGINE_LIMIT_S = 60
_PULL_LIMIT_S = 600
_READY_LIMIT_S = 60.0
_POLL_S = 0.05


class ContainerServers:
    """Implements ``Servers`` with containers; made by ``start_containers``."""

    def __init__(self, run: RunFolder, missing: dict[Capability, MissingComponent]) -> None:
        self.missing: Mapping[Capability, MissingComponent] = missing
        self.components: tuple[Component, ...] = ()
        self.agent_password = secrets.token_urlsafe(18)
        self.upstream = f"postgres:{_POSTGRES_PORT}"
        self.folder = run.path
        self.logs: dict[str, Path] = {}
        self.admin: Endpoint
        self.api: tuple[str, int]
        self._run = run
        self._stack = run.path.name
        self._network = Network({"timeout": _ENGINE_LIMIT_S}, {"labels": {LABEL: self._stack}})
        self._ids: dict[str, str] = {}
        self._proxy_address: str | None = None
        self._reaper = _start_reaper(self._stack)

    def start(self, note: Note) -> None:
        """Start both servers; each is removed again by ``stop``, whatever happened here."""
        self._network.create()
        note("starting Postgres and Toxiproxy in containers")
        toxiproxy = self._container("toxiproxy", [_API_PORT, *_PROXY_PORTS])
        toxiproxy.with_command(["-host", "0.0.0.0", "-port", str(_API_PORT)])  # noqa: S104 - inside the container
        self._run_container("toxiproxy", toxiproxy)
        self.api = (LOOPBACK, _published(toxiproxy, _API_PORT))
        first_password = secrets.token_urlsafe(18)
        postgres = self._container("postgres", [_POSTGRES_PORT])
        postgres.with_envs(POSTGRES_USER=SUPERUSER, POSTGRES_PASSWORD=first_password, POSTGRES_DB="postgres")
        postgres.with_command(["postgres", *_POSTGRES_COMMAND])
        self._run_container("postgres", postgres)
        port = _published(postgres, _POSTGRES_PORT)
        admin = Endpoint(LOOPBACK, port, "postgres", SUPERUSER, first_password, CONNECT_OPTIONS)
        _until(lambda: _accepts(admin), "Postgres", postgres)
        password = secrets.token_urlsafe(18)
        set_up(admin, password, self.agent_password)
        self.admin = replace(admin, password=password)
        _until(lambda: answers(*self.api), "Toxiproxy", toxiproxy)
        self._proxy_address = _direct_address(toxiproxy)
        self.components = (*self._describe(), *_pgbouncer_component(self.missing))

    def listener(self) -> Listener:
        with contextlib.closing(ToxiproxyClient(*self.api)) as client:
            taken = {int(listen.rpartition(":")[2]) for listen in client.listens()}
        for port in _PROXY_PORTS:
            if port not in taken:
                listen = f"0.0.0.0:{port}"
                if self._proxy_address is not None:
                    return Listener(listen, self._proxy_address, port)
                return Listener(listen, LOOPBACK, self._published_by_id("toxiproxy", port))
        raise ComponentError(f"all {len(_PROXY_PORTS)} ports of this stack's Toxiproxy are taken")

    def start_pooler(self, mode: str, database: Endpoint, cell: str) -> Pooler:
        inside = replace(database, host="postgres", port=_POSTGRES_PORT)
        users = "/etc/pgbouncer/userlist.txt"
        ini = configuration(mode, inside, self.admin, listen="0.0.0.0", port=_PGBOUNCER_PORT, users=users)  # noqa: S104
        container = self._container("pgbouncer", [_PGBOUNCER_PORT], alias=cell)
        container.with_copy_into_container(ini.encode(), "/etc/pgbouncer/pgbouncer.ini")
        container.with_copy_into_container(users_file(inside, self.admin).encode(), users)
        # the image's own entry point would write a configuration from variables, each image in its own way
        container.with_kwargs(
            **container._kwargs, entrypoint=["pgbouncer", "/etc/pgbouncer/pgbouncer.ini"], user="65534:65534"
        )
        folder = self.folder / cell
        folder.mkdir()
        pooler = ContainerPooler(container, cell, folder / "pgbouncer.log", self.admin)
        try:
            _start(container, "pgbouncer")
            pooler.wait()
        except BaseException:
            pooler.stop()
            raise
        return pooler

    def collect_logs(self) -> None:
        with _engine() as client:
            for name, path in self.logs.items():
                with contextlib.suppress(DockerException, requests.RequestException):
                    path.write_bytes(client.containers.get(self._ids[name]).logs())

    def dead(self) -> tuple[str, ...]:
        """Asks over a connection of its own each time, so that it may be called in forked children."""
        dead = []
        with _engine() as client:
            for name, identity in self._ids.items():
                try:
                    running = client.containers.get(identity).status == "running"
                except DockerException:
                    running = False
                if not running:
                    dead.append(name.capitalize())
        return tuple(dead)

    def stop(self) -> None:
        try:
            remove_all(self._stack)
        except (DockerException, requests.RequestException) as error:
            raise ComponentError(f"the engine does not remove the containers of {self._stack}: {error}") from error
        finally:
            self._reaper.communicate(timeout=_ENGINE_LIMIT_S)
            self._run.remove()

    def _container(self, name: str, ports: list[int], alias: str | None = None) -> DockerContainer:
        container = DockerContainer(image_of(name), docker_client_kw={"timeout": _ENGINE_LIMIT_S})
        container.with_network(self._network).with_network_aliases(alias or name)
        for port in ports:
            container.ports[f"{port}/tcp"] = (LOOPBACK, None)  # type: ignore[assignment]  # passed on to docker as it is
        return container.with_kwargs(labels={LABEL: self._stack})

    def _run_container(self, name: str, container: DockerContainer) -> None:
        _start(container, name)
        self._ids[name] = container.get_container_id()
        self.logs[name] = self.folder / f"{name}.log"
        self.logs[name].touch()

    def _published_by_id(self, name: str, port: int) -> int:
        with _engine() as client:
            return int(client.containers.get(self._ids[name]).ports[f"{port}/tcp"][0]["HostPort"])

    def _describe(self) -> tuple[Component, ...]:
        with contextlib.closing(connect(self.admin)) as connection:
            row = connection.execute("SHOW server_version").fetchone()
        with contextlib.closing(ToxiproxyClient(*self.api)) as client:
            versions = {"postgres": str(row[0]) if row else "", "toxiproxy": client.version()}
        return tuple(Component(name, version, Path(image_of(name)), _why(name)) for name, version in versions.items())


class ContainerPooler:
    """A PgBouncer container. ``upstream`` is its alias in the stack's network."""

    def __init__(self, container: DockerContainer, alias: str, log: Path, admin: Endpoint) -> None:
        self.upstream = f"{alias}:{_PGBOUNCER_PORT}"
        self.log = log
        self._container = container
        self._admin = admin
        self._console: Endpoint | None = None
        log.touch()

    def wait(self) -> None:
        """Until its console answers. Raises ComponentError with the end of its log."""
        port = _published(self._container, _PGBOUNCER_PORT)
        self._console = replace(self._admin, host=LOOPBACK, port=port, dbname=CONSOLE)
        _until(self._answers, "PgBouncer", self._container)

    def _answers(self) -> bool:
        try:
            self.clients()
        except ComponentError:
            return False
        return True

    def clients(self) -> dict[str, int]:
        assert self._console is not None
        return console_clients(self._console)

    def alive(self) -> bool:
        try:
            self._container.reload()
        except DockerException:
            return False
        return self._container.status == "running"

    def stop(self) -> None:
        with contextlib.suppress(DockerException, requests.RequestException):
            self.log.write_bytes(b"".join(_logs(self._container)))
        with contextlib.suppress(docker.errors.NotFound):
            self._container.stop()


def image_of(name: str) -> str:
    """The image that a component is run from."""
    variable, default = IMAGES[name]
    return os.environ.get(variable) or default


def _why(name: str) -> str:
    variable = IMAGES[name][0]
    return variable if os.environ.get(variable) else f"default image ({variable} chooses another)"


def start_containers(needs: frozenset[Capability], note: Note) -> ContainerServers:
    """Check the engine, get the images, start Postgres and Toxiproxy. Raises MissingComponent or ComponentError."""
    if "TESTCONTAINERS_RYUK_DISABLED" not in os.environ:
        testcontainers_config.ryuk_disabled = True
    missing: dict[Capability, MissingComponent] = {Capability.POSTGRES_TLS: no_tls()}
    try:
        with _engine() as client:
            client.ping()
            for name in ("postgres", "toxiproxy"):
                _have_image(client, name, note)
            missing.update(_pgbouncer_problem(client, needs, note))
    except (DockerException, requests.RequestException) as error:
        raise MissingComponent(
            f"no container engine answers: {error}", "start Docker, or use --environment local, which needs none"
        ) from error
    servers = ContainerServers(RunFolder.create(), missing)
    try:
        servers.start(note)
    except BaseException:
        servers.stop()
        raise
    return servers


def _pgbouncer_problem(
    client: docker.DockerClient, needs: frozenset[Capability], note: Note
) -> dict[Capability, MissingComponent]:
    reason = MissingComponent("PgBouncer was not asked for when this stack was opened", "name it in needs")
    if needs & POOLERS:
        try:
            _have_image(client, "pgbouncer", note)
        except MissingComponent as error:
            reason = error
        else:
            return {}
    return dict.fromkeys(POOLERS, reason)


def _pgbouncer_component(missing: Mapping[Capability, MissingComponent]) -> tuple[Component, ...]:
    """Its version is what the image's tag says: it runs in cells only."""
    if POOLERS & set(missing):
        return ()
    image = image_of("pgbouncer")
    return (Component("pgbouncer", image.rpartition(":")[2], Path(image), _why("pgbouncer")),)


def _have_image(client: docker.DockerClient, name: str, note: Note) -> None:
    image = image_of(name)
    try:
        client.images.get(image)
    except docker.errors.ImageNotFound:
        note(f"pulling {image}")
        try:
            with _engine(_PULL_LIMIT_S) as patient:
                patient.images.pull(image)
        except (DockerException, requests.RequestException) as error:
            raise MissingComponent(
                f"the image {image} cannot be pulled: {error}", f"set {IMAGES[name][0]} to an image that the engine has"
            ) from error


@contextlib.contextmanager
def _engine(limit_s: int = _ENGINE_LIMIT_S) -> Iterator[docker.DockerClient]:
    client = docker.from_env(timeout=limit_s)
    try:
        yield client
    finally:
        client.close()


def _start(container: DockerContainer, name: str) -> None:
    try:
        container.start()
    except (DockerException, requests.RequestException) as error:
        raise ComponentError(f"the container of {name} ({image_of(name)}) does not start: {error}") from error


def _published(container: DockerContainer, port: int) -> int:
    """The port on loopback that leads to this port inside."""
    wrapped = container.get_wrapped_container()
    wrapped.reload()
    bindings = wrapped.ports.get(f"{port}/tcp")
    if not bindings:
        raise ComponentError(f"port {port} is not published; the container's log ends:\n{_tail(container)}")
    return int(bindings[0]["HostPort"])


def _direct_address(container: DockerContainer) -> str | None:
    """The container's own address, if it can be reached from here."""
    networks = container.get_wrapped_container().attrs["NetworkSettings"]["Networks"]
    for network in networks.values():
        address = str(network.get("IPAddress") or "")
        if address and answers(address, _API_PORT):
            return address
    return None


def _until(ready: Callable[[], bool], name: str, container: DockerContainer) -> None:
    deadline = time.monotonic() + _READY_LIMIT_S
    while not ready():
        container.reload()
        if container.status == "exited" or time.monotonic() > deadline:
            raise ComponentError(f"{name} does not start; the container's log ends:\n{_tail(container)}")
        time.sleep(_POLL_S)


def _accepts(admin: Endpoint) -> bool:
    try:
        connect(admin).close()
    except psycopg.OperationalError:
        return False
    return True


def _logs(container: DockerContainer) -> tuple[bytes, ...]:
    try:
        return container.get_logs()
    except DockerException as error:
        return (f"(no log: {error})".encode(),)


def _tail(container: DockerContainer) -> str:
    return b"".join(_logs(container)).decode(errors="replace")[-2000:]


def _start_reaper(stack: str) -> subprocess.Popen[bytes]:
    passed_on = {name: value for name, value in os.environ.items() if name.startswith(("DOCKER_", "PYTHON", "HOME"))}
    return subprocess.Popen(
        [sys.executable, "-m", "harness.environments.container_reaper", stack],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
        env={
            **clean_environment(),
            **passed_on,
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        },
    )
