"""PgBouncer from the distribution's package, without root and without installing anything.

No package index for Python carries a binary. apt can work entirely in folders of our own: it reads the machine's
sources, downloads the package and the libraries that it depends on, and ``dpkg -x`` unpacks them into the cache. The
names of the libraries differ between releases, so they are read from ``apt-cache depends``.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from harness.core.environment import Note
from harness.core.errors import ComponentError, MissingComponent
from harness.environments.cache import cache_key, cache_root, made_once
from harness.environments.leases import scratch_folder
from harness.environments.processes import clean_environment, command

_FIX = "install pgbouncer, or set POOLPROOF_PGBOUNCER to its binary"
_FETCH_LIMIT_S = 240.0
_QUERY_LIMIT_S = 30.0
#: Present on every machine that runs Python; their copies would only get in the way of the system's.
_SYSTEM = re.compile(r"^(libc6|libgcc|gcc-|debconf|lsb-base|adduser|init-system|sysvinit|ucf|python)")
_PASSED_ON = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def _key() -> str:
    try:
        release = Path("/etc/os-release").read_text()
    except OSError:
        release = ""
    return cache_key("pgbouncer", release, os.uname().machine)


def cached() -> Path | None:
    """The folder that an earlier run unpacked."""
    entry = cache_root() / _key()
    return entry if entry.is_dir() else None


def possible() -> bool:
    """True if this system has apt."""
    return all(shutil.which(tool) for tool in ("apt-get", "apt-cache", "dpkg"))


def plan() -> str:
    """In words: what the first run will do."""
    if possible():
        return "the distribution's package will be downloaded with apt at the first run, about 5 s; no root needed"
    return f"{_FIX} (this system has no apt to fetch it with)"


def parts(entry: Path) -> tuple[Path, tuple[Path, ...]]:
    """The binary in an unpacked folder, and the folders with its libraries."""
    binary = entry / "usr" / "sbin" / "pgbouncer"
    libraries = {path.parent for path in entry.rglob("*.so.*")}
    return binary, tuple(sorted(libraries))


def fetch(note: Note) -> Path:
    """Download and unpack it into the cache. Raises MissingComponent when that cannot be done."""
    if not possible():
        raise MissingComponent("PgBouncer is not here, and this system has no apt to fetch it with", _FIX)

    def make(entry: Path) -> None:
        with scratch_folder() as scratch:
            _unpack_into(entry, scratch, note)

    return made_once(_key(), make, limit_s=_FETCH_LIMIT_S)


def _unpack_into(entry: Path, scratch: Path, note: Note) -> None:
    note("fetching PgBouncer from the distribution's packages (unpacked into the cache, nothing is installed)")
    state, cache, packages = scratch / "state", scratch / "cache", scratch / "packages"
    for folder in (state / "lists" / "partial", cache / "archives" / "partial", packages):
        folder.mkdir(parents=True)
    options = [f"Dir::State={state}", "Dir::State::status=/var/lib/dpkg/status", f"Dir::Cache={cache}"]
    options += ["Debug::NoLocking=1", "APT::Sandbox::User=", "Acquire::Retries=2", "Acquire::http::Timeout=20"]
    apt = [part for option in options for part in ("-o", option)]
    environment = clean_environment(**{name: os.environ[name] for name in _PASSED_ON if name in os.environ})
    environment["PATH"] = f"{os.defpath}:/usr/sbin:/sbin"

    def run(*argv: str, limit_s: float = _QUERY_LIMIT_S) -> str:
        return command(argv, limit_s=limit_s, environment=environment, cwd=packages)

    try:
        try:
            run("apt-get", *apt, "update", "-q", limit_s=_FETCH_LIMIT_S / 2)
        except ComponentError as error:  # one broken source must not hide the others
            note(f"apt-get update complained: {str(error).splitlines()[-1]}")
        wanted = ["pgbouncer", *_libraries(run("apt-cache", *apt, "depends", "--important", "pgbouncer"))]
        run("apt-get", *apt, "download", "-q", *wanted, limit_s=_FETCH_LIMIT_S / 2)
        for package in sorted(packages.glob("*.deb")):
            run("dpkg", "-x", str(package), str(entry))
        binary, libraries = parts(entry)
        found = ":".join(str(folder) for folder in libraries)
        command(
            [str(binary), "--version"], limit_s=_QUERY_LIMIT_S, environment={**environment, "LD_LIBRARY_PATH": found}
        )
    except (ComponentError, OSError) as error:
        raise MissingComponent(f"PgBouncer could not be fetched with apt: {error}", _FIX) from error


def _libraries(depends: str) -> list[str]:
    """The libraries among the lines ``  Depends: libevent-2.1-7`` (alternatives are marked with a bar)."""
    names = re.findall(r"^\s*\|?Depends: ([a-z0-9][a-z0-9+.-]*)", depends, flags=re.MULTILINE)
    return [name for name in names if name.startswith("lib") and not _SYSTEM.match(name)]
