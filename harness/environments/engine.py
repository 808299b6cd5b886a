"""A Docker engine for one command: the one that runs, or one started for it and gone afterwards.

``python -m harness.environments.engine -- COMMAND ...`` runs COMMAND with DOCKER_HOST set and ends with its status, or
with 75 when there is no engine and none can be started here (that takes root, dockerd and unshare). An engine of our
own lives in a network and a mount namespace of its own, so that no bridge, no firewall rule and no mount of it stays
behind; COMMAND runs in the same namespaces and sees no network but loopback and the containers'.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

import docker  # type: ignore[import-untyped]
import requests
from docker.errors import DockerException  # type: ignore[import-untyped]

from harness.core.errors import ComponentError
from harness.environments.accounts import Account
from harness.environments.leases import scratch_folder
from harness.environments.processes import clean_environment, command, start, wait_until

NO_ENGINE = 75

_UNIX = "unix://"
_DEFAULT_ADDRESS = f"{_UNIX}/var/run/docker.sock"
_PING_LIMIT_S = 5
_START_LIMIT_S = 60.0
_STOP_LIMIT_S = 30.0
_TOOLS = ("dockerd", "unshare", "ip")
_INSIDE = "--inside-namespaces"


def address() -> str:
    """Where the engine is expected, as Docker's own client has it."""
    return os.environ.get("DOCKER_HOST") or _DEFAULT_ADDRESS


def answers() -> bool:
    """True if the engine at ``address`` answers."""
    if address().startswith(_UNIX) and not _accepts(address().removeprefix(_UNIX)):
        return False  # docker's client would leave a socket open when it cannot connect
    try:
        client = docker.from_env(timeout=_PING_LIMIT_S)
        try:
            return bool(client.ping())
        finally:
            client.close()
    except (DockerException, requests.RequestException):
        return False


def _accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PING_LIMIT_S)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def can_start() -> bool:
    """True if an engine of our own can be tried."""
    return os.geteuid() == 0 and all(shutil.which(tool) for tool in _TOOLS)


def _run_with_own_engine(argv: Sequence[str]) -> int:
    """Called inside the new namespaces."""
    environment = clean_environment(PATH=os.environ.get("PATH", os.defpath))
    command(["ip", "link", "set", "lo", "up"], limit_s=_PING_LIMIT_S, environment=environment)
    with scratch_folder() as folder:
        os.environ["DOCKER_HOST"] = f"{_UNIX}{folder}/docker.sock"
        options = {"data-root": folder / "data", "exec-root": folder / "exec", "pidfile": folder / "pid"}
        child = start(
            "dockerd",
            [
                "dockerd",
                "--storage-driver=vfs",
                "-H",
                address(),
                *(f"--{name}={path}" for name, path in options.items()),
            ],
            log=folder / "dockerd.log",
            cwd=folder,
            account=Account(0, 0),
            environment=environment,
            death_signal=signal.SIGTERM,
        )
        try:
            if not wait_until(answers, child, _START_LIMIT_S):
                raise ComponentError(f"dockerd does not start; end of its log:\n{child.tail()}")
            return subprocess.call(list(argv))
        finally:
            child.stop(_STOP_LIMIT_S)


def main(argv: Sequence[str]) -> int:
    """See the module."""
    inside = list(argv[:1]) == [_INSIDE]
    words = list(argv[1:] if inside else argv)
    if words[:1] != ["--"] or len(words) < 2:
        print("usage: python -m harness.environments.engine -- COMMAND ...", file=sys.stderr)
        return 2
    try:
        if inside:
            return _run_with_own_engine(words[1:])
        if answers():
            return subprocess.call(words[1:])
        if not can_start():
            needs = f"starting one takes root and {', '.join(_TOOLS)}"
            print(f"no Docker engine answers, and {needs}", file=sys.stderr)
            return NO_ENGINE
        here = [sys.executable, "-m", "harness.environments.engine", _INSIDE, *words]
        return subprocess.call(["unshare", "--net", "--mount", "--kill-child", "--fork", *here])
    except (ComponentError, OSError) as error:
        print(error, file=sys.stderr)
        return NO_ENGINE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
