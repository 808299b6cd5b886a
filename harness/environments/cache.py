"""Things that are made once and kept: built binaries, unpacked packages, Postgres template folders.

The root is ``$POOLPROOF_CACHE``, else ``$XDG_CACHE_HOME/poolproof``, else ``~/.cache/poolproof``. An entry appears by
one rename, so it is whole or absent, and a file lock keeps two runs from making the same entry twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.core.errors import ComponentError

_POLL_S = 0.1


def cache_root() -> Path:
    """The cache's folder; it need not exist yet."""
    chosen = os.environ.get("POOLPROOF_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base and os.path.isabs(base) else Path.home() / ".cache") / "poolproof"


def cache_key(name: str, *parts: str) -> str:
    """``name`` and a short digest of everything that the entry depends on."""
    return f"{name}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:12]}"


def made_once(key: str, make: Callable[[Path], None], *, limit_s: float) -> Path:
    """The cache entry ``key``; if it is absent, ``make`` fills a fresh folder which then takes that name.

    ``limit_s`` bounds the wait for another run that is making it now. Raises ComponentError when the cache cannot be
    written or that wait is too long; what ``make`` raises passes through, and nothing is kept.
    """
    root = cache_root()
    entry = root / key
    if entry.is_dir():
        return entry
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / f"{key}.lock", limit_s):
            if not entry.is_dir():
                for stale in root.glob(f".{key}-*"):  # of a run that was killed; we hold the lock
                    shutil.rmtree(stale, ignore_errors=True)
                with tempfile.TemporaryDirectory(prefix=f".{key}-", dir=root, ignore_cleanup_errors=True) as folder:
                    fresh = Path(folder) / "entry"
                    fresh.mkdir(mode=0o755)
                    make(fresh)
                    fresh.rename(entry)
    except OSError as error:
        raise ComponentError(
            f"the cache {root} cannot be used ({error}); set POOLPROOF_CACHE to a folder that you may write to"
        ) from error
    return entry


@contextmanager
def _locked(path: Path, limit_s: float) -> Iterator[None]:
    deadline = time.monotonic() + limit_s
    with path.open("w") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ComponentError(
                        f"another run has been busy with {path.name} for {limit_s:.0f} s; end it, or delete {path}"
                    ) from None
                time.sleep(_POLL_S)
        yield
