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
from collections.abc import Mapping
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
from harness.core.redaction import hide
from harness.environments import engine
from harness.environments.components import Component
from harness.environments.container_parts import (
    ENGINE_LIMIT_S,
    direct_address,
    engine_client,
    have_image,
    image_of,
    logs_of,
    published,
    start_container,
    until_ready,
    why_image,
)
from harness.environments.container_reaper import LABEL, remove_all
from harness.environments.databases import Databases, OwnDatabases
from harness.environments.leases import RunFolder
from harness.environments.local import POOLERS, no_tls
from harness.environments.pgbouncer import CONSOLE, configuration, console_clients, console_reconnect, users_file
from harness.environments.ports import LOOPBACK
from harness.environments.postgres import CONNECT_OPTIONS, SUPERUSER, connect, set_up
from harness.environments.processes import clean_environment
from harness.environments.servers import Listener, Pooler
from harness.environments.toxiproxy import ToxiproxyClient
from harness.environments.toxiproxy_server import answers

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
        self._network = Network({"timeout": ENGINE_LIMIT_S}, {"labels": {LABEL: self._stack}})
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
        self.api = (LOOPBACK, published(toxiproxy, _API_PORT))
        first_password = secrets.token_urlsafe(18)
        postgres = self._container("postgres", [_POSTGRES_PORT])
        postgres.with_envs(POSTGRES_USER=SUPERUSER, POSTGRES_PASSWORD=first_password, POSTGRES_DB="postgres")
        postgres.with_command(["postgres", *_POSTGRES_COMMAND])
        self._run_container("postgres", postgres)
        port = published(postgres, _POSTGRES_PORT)
        admin = Endpoint(LOOPBACK, port, "postgres", SUPERUSER, first_password, CONNECT_OPTIONS)
        until_ready(lambda: _accepts(admin), "Postgres", postgres)
        password = secrets.token_urlsafe(18)
        hide(first_password, password, self.agent_password)
        set_up(admin, password, self.agent_password)
        self.admin = replace(admin, password=password)
        until_ready(lambda: answers(*self.api), "Toxiproxy", toxiproxy)
        self._proxy_address = direct_address(toxiproxy, _API_PORT)
        self.components = (*self._describe(), *_pgbouncer_component(self.missing))

    @property
    def databases(self) -> Databases:
        return OwnDatabases(self.admin, self.agent_password, self.api)

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

    def start_pooler(self, mode: str, database: Endpoint, cell: str, settings: Mapping[str, str]) -> Pooler:
        inside = replace(database, host="postgres", port=_POSTGRES_PORT)
        users = "/etc/pgbouncer/userlist.txt"
        everywhere = "0.0.0.0"  # noqa: S104 - inside the container
        ini = configuration(
            mode, inside, self.admin, listen=everywhere, port=_PGBOUNCER_PORT, users=users, settings=settings
        )
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
            start_container(container, "pgbouncer")
            pooler.wait()
        except BaseException:
            pooler.stop()
            raise
        return pooler

    def collect_logs(self) -> None:
        with engine_client() as client:
            for name, path in self.logs.items():
                with contextlib.suppress(DockerException, requests.RequestException):
                    path.write_bytes(client.containers.get(self._ids[name]).logs())

    def dead(self) -> tuple[str, ...]:
        """Asks over a connection of its own each time, so that it may be called in forked children."""
        dead = []
        with engine_client() as client:
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
            self._reaper.communicate(timeout=ENGINE_LIMIT_S)
            self._run.remove()

    def _container(self, name: str, ports: list[int], alias: str | None = None) -> DockerContainer:
        container = DockerContainer(image_of(name), docker_client_kw={"timeout": ENGINE_LIMIT_S})
        container.with_network(self._network).with_network_aliases(alias or name)
        for port in ports:
            container.ports[f"{port}/tcp"] = (LOOPBACK, None)  # type: ignore[assignment]  # passed on to docker as it is
        return container.with_kwargs(labels={LABEL: self._stack})

    def _run_container(self, name: str, container: DockerContainer) -> None:
        start_container(container, name)
        self._ids[name] = container.get_container_id()
        self.logs[name] = self.folder / f"{name}.log"
        self.logs[name].touch()

    def _published_by_id(self, name: str, port: int) -> int:
        with engine_client() as client:
            return int(client.containers.get(self._ids[name]).ports[f"{port}/tcp"][0]["HostPort"])

    def _describe(self) -> tuple[Component, ...]:
        with contextlib.closing(connect(self.admin)) as connection:
            row = connection.execute("SHOW server_version").fetchone()
        with contextlib.closing(ToxiproxyClient(*self.api)) as client:
            versions = {"postgres": str(row[0]) if row else "", "toxiproxy": client.version()}
        return tuple(
            Component(name, version, Path(image_of(name)), why_image(name)) for name, version in versions.items()
        )


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
        port = published(self._container, _PGBOUNCER_PORT)
        self._console = replace(self._admin, host=LOOPBACK, port=port, dbname=CONSOLE)
        until_ready(self._answers, "PgBouncer", self._container)

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

    def reconnect(self) -> None:
        assert self._console is not None
        console_reconnect(self._console)

    def revive(self) -> str:
        """Nothing: in a container that is the engine's business."""
        return ""

    def stop(self) -> None:
        with contextlib.suppress(DockerException, requests.RequestException):
            self.log.write_bytes(b"".join(logs_of(self._container)))
        with contextlib.suppress(docker.errors.NotFound):
            self._container.stop()


def start_containers(needs: frozenset[Capability], note: Note) -> ContainerServers:
    """Check the engine, get the images, start Postgres and Toxiproxy. Raises MissingComponent or ComponentError."""
    if "TESTCONTAINERS_RYUK_DISABLED" not in os.environ:
        testcontainers_config.ryuk_disabled = True
    missing: dict[Capability, MissingComponent] = {Capability.POSTGRES_TLS: no_tls()}
    if not engine.answers():
        raise MissingComponent(
            f"no container engine answers at {engine.address()}",
            "start Docker, or use --environment local, which needs none",
        )
    with engine_client() as client:
        for name in ("postgres", "toxiproxy"):
            have_image(client, name, note)
        missing.update(_pgbouncer_problem(client, needs, note))
    servers = ContainerServers(RunFolder.create(), missing)
    try:
        servers.start(note)
    except BaseException as error:
        servers.stop()
        if isinstance(error, DockerException | requests.RequestException):
            raise ComponentError(f"the container engine does not obey: {error}") from error
        raise
    return servers


def _pgbouncer_problem(
    client: docker.DockerClient, needs: frozenset[Capability], note: Note
) -> dict[Capability, MissingComponent]:
    reason = MissingComponent("PgBouncer was not asked for when this stack was opened", "name it in needs")
    if needs & POOLERS:
        try:
            have_image(client, "pgbouncer", note)
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
    return (Component("pgbouncer", image.rpartition(":")[2], Path(image), why_image("pgbouncer")),)


def _accepts(admin: Endpoint) -> bool:
    try:
        connect(admin).close()
    except psycopg.OperationalError:
        return False
    return True


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
