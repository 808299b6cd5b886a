"""Images made on the spot from the binaries that the local environment uses, and the libraries that they link.

``python -m harness.environments.images`` builds three images on the engine that answers and prints the variables that
choose them. Nothing is pulled: this is how the container environment is proved where no registry can be reached.
"""

from __future__ import annotations

import io
import re
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path

import docker  # type: ignore[import-untyped]
from docker.errors import DockerException  # type: ignore[import-untyped]

from harness.core.environment import Note
from harness.core.errors import ComponentError, MissingComponent
from harness.environments.components import Component, find_pgbouncer, find_postgres, find_toxiproxy
from harness.environments.container_parts import IMAGES
from harness.environments.leases import scratch_folder
from harness.environments.processes import command

REPOSITORY = "poolproof-local"

_BUILD_LIMIT_S = 300
_LDD_LIMIT_S = 20.0
_LIBRARIES = "/libs"
#: dlopened, so ldd does not name it; part of libc since glibc 2.34.
_NSS = (
    "/lib/x86_64-linux-gnu/libnss_files.so.2",
    "/lib/aarch64-linux-gnu/libnss_files.so.2",
    "/lib64/libnss_files.so.2",
)
_USERS = "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"

#: As the public image understands them: POSTGRES_USER, POSTGRES_PASSWORD, and a command that begins with "postgres".
_POSTGRES_ENTRY = """\
#!/bin/sh
set -e
umask 077
printf '%s' "$POSTGRES_PASSWORD" > /tmp/password
initdb -U "$POSTGRES_USER" -A scram-sha-256 --pwfile=/tmp/password --encoding=UTF8 --no-locale --no-sync
echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
echo "listen_addresses = '*'" >> "$PGDATA/postgresql.conf"
exec "$@"
"""


def build_images(note: Note) -> dict[str, str]:
    """Build them; returns the variables to set, name to image. Raises MissingComponent or ComponentError."""
    built = {}
    for component in (find_postgres(), find_toxiproxy(note), find_pgbouncer(note)):
        image = f"{REPOSITORY}/{component.name}:{component.version}"
        note(f"building {image} from {component.path}")
        with scratch_folder() as scratch:
            root = scratch / "root"
            root.mkdir()
            instructions = _FILL[component.name](component, root)
            _build(image, root, instructions)
        built[IMAGES[component.name][0]] = image
    return built


def _postgres(component: Component, root: Path) -> list[str]:
    install = component.path.parent
    place = root / "opt" / install.parent.name / install.name
    shutil.copytree(install, place, symlinks=True, ignore=shutil.ignore_patterns("include", "__pycache__"))
    bundled = install.parent.parent / f"{install.parent.name}.libs"
    if bundled.is_dir():
        shutil.copytree(bundled, root / "opt" / bundled.name)
    shell = Path("/bin/sh").resolve()
    _copy(shell, root / "bin" / "sh")
    binaries = [component.path / "postgres", component.path / "initdb", shell]
    _copy_libraries(binaries, root, component.environment())
    entry = root / "entry.sh"
    entry.write_text(_POSTGRES_ENTRY)
    entry.chmod(0o755)
    return [
        f"ENV PATH=/{(place / component.path.name).relative_to(root)}:/bin",
        "ENV PGDATA=/tmp/data",
        "USER nobody",
        'ENTRYPOINT ["/entry.sh"]',
        "STOPSIGNAL SIGINT",
    ]


def _toxiproxy(component: Component, root: Path) -> list[str]:
    _copy(component.path, root / "toxiproxy")
    _copy_libraries([component.path], root, component.environment())
    return ["USER nobody", 'ENTRYPOINT ["/toxiproxy"]']


def _pgbouncer(component: Component, root: Path) -> list[str]:
    _copy(component.path, root / "bin" / "pgbouncer")
    _copy_libraries([component.path], root, component.environment())
    (root / "etc" / "pgbouncer").mkdir(parents=True)
    return ["ENV PATH=/bin", "USER nobody", 'ENTRYPOINT ["/bin/pgbouncer"]']


_FILL = {"postgres": _postgres, "toxiproxy": _toxiproxy, "pgbouncer": _pgbouncer}


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755)


def _copy_libraries(binaries: Iterable[Path], root: Path, environment: dict[str, str]) -> None:
    """What ldd names goes to one folder; the loader itself to the place where binaries expect it."""
    for binary in binaries:
        try:
            listing = command(["ldd", str(binary)], limit_s=_LDD_LIMIT_S, environment=environment)
        except ComponentError as error:
            if "not a dynamic executable" in str(error):
                continue
            raise
        for library in re.findall(r"=> (/\S+) \(", listing):
            _copy(Path(library), root / _LIBRARIES[1:] / Path(library).name)
        for loader in re.findall(r"^\s*(/\S*ld-\S+) \(", listing, flags=re.MULTILINE):
            _copy(Path(loader), root / loader[1:])
    for library in _NSS:
        if Path(library).is_file():
            _copy(Path(library), root / _LIBRARIES[1:] / Path(library).name)


def _build(image: str, root: Path, instructions: list[str]) -> None:
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc" / "passwd").write_text(_USERS)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    lines = ["FROM scratch", "ADD root.tar /", f"ENV LD_LIBRARY_PATH={_LIBRARIES}", *instructions]
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        _add(archive, "Dockerfile", "\n".join(lines).encode())
        _add(archive, "root.tar", _packed(root))
    context.seek(0)
    try:
        client = docker.from_env(timeout=_BUILD_LIMIT_S)
        try:
            client.images.build(fileobj=context, custom_context=True, tag=image, rm=True, forcerm=True)
        finally:
            client.close()
    except DockerException as error:
        raise ComponentError(f"the image {image} cannot be built: {error}") from error


def _packed(root: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(root, arcname=".", filter=_as_root)
    return buffer.getvalue()


def _as_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    if entry.name == ".":
        entry.mode = 0o755
    return entry


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def main() -> None:
    """Build all images and print ``export`` lines for a shell."""
    try:
        built = build_images(lambda text: print(f"# {text}"))
    except MissingComponent as error:
        raise SystemExit(f"{error}: {error.fix}") from None
    except (ComponentError, DockerException, OSError) as error:
        raise SystemExit(str(error)) from None
    for name, image in built.items():
        print(f"export {name}={image}")


if __name__ == "__main__":
    main()
