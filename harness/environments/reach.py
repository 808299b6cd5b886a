"""Binaries that the servers' account can run.

A virtual environment or a cache below root's home (mode 0700) is closed to the unprivileged user that servers run as.
We never change the modes of folders that we did not make: what is out of reach is copied into the run folder.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from harness.core.errors import ComponentError
from harness.environments.accounts import Account
from harness.environments.components import Component
from harness.environments.leases import RunFolder
from harness.environments.processes import command

_PROBE_LIMIT_S = 20.0
_VERSION_FLAGS = {"toxiproxy": "-version"}


def within_reach(component: Component, run: RunFolder, account: Account) -> Component:
    """The component as it is when ``account`` can run it, else a copy of it in the run folder."""
    if account.uid == os.geteuid():
        return component
    binary = component.path / "postgres" if component.name == "postgres" else component.path
    argv = [str(binary), _VERSION_FLAGS.get(component.name, "--version")]
    try:
        command(argv, limit_s=_PROBE_LIMIT_S, account=account, environment=component.environment())
    except (PermissionError, ComponentError):  # the latter: it starts, but a library of its own is out of reach
        return _copied(component, run.path / "bin")
    return component


def _copied(component: Component, target: Path) -> Component:
    """A copy of what the component needs, under ``target``, with the same layout inside."""
    target.mkdir(mode=0o755, exist_ok=True)
    target.chmod(0o755)
    if component.name == "postgres":
        root = component.path.parent
        place = target / "lib" / root.parent.name / root.name
        shutil.copytree(root, place, symlinks=True, ignore=shutil.ignore_patterns("include", "pg_*", "__pycache__"))
        libraries = root.parent.parent / f"{root.parent.name}.libs"  # a wheel's bundled libraries lie beside it
        if libraries.is_dir():
            shutil.copytree(libraries, target / "lib" / libraries.name)
        return replace(component, path=place / component.path.name)
    binary = target / component.path.name
    shutil.copy2(component.path, binary)
    copies = []
    for number, folder in enumerate(component.libraries):
        copies.append(target / f"{component.name}-libs-{number}")
        shutil.copytree(folder, copies[-1], symlinks=True)
    return replace(component, path=binary, libraries=tuple(copies))
