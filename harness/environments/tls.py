"""A Postgres that can speak TLS, and a certificate for it. The wheel's build cannot; a distribution's can."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.core.errors import ComponentError, MissingComponent
from harness.environments.accounts import Account
from harness.environments.components import Component, postgres_components
from harness.environments.processes import clean_environment, command

_LIMIT_S = 20.0
_LIBRARY = b"libssl.so"
_FIX = "apt-get install postgresql (it need not be started), or set POOLPROOF_POSTGRES_BIN to a build with TLS"


def find_tls_postgres() -> Component:
    """The first Postgres on this machine that was built with TLS. Raises MissingComponent with the fix."""
    found = []
    for component in postgres_components():
        if _LIBRARY in (component.path / "postgres").read_bytes():
            if shutil.which("openssl") is None:
                raise MissingComponent("no openssl to make a certificate with", "apt-get install openssl")
            return component
        found.append(f"{component.path} ({component.version})")
    raise MissingComponent(f"no Postgres with TLS: looked at {', '.join(found) or 'none'}", _FIX)


def make_certificate(folder: Path, account: Account) -> tuple[Path, Path]:
    """A key and a certificate that signs itself, both in ``folder`` and for ``account`` only: (certificate, key)."""
    certificate, key = folder / "server.crt", folder / "server.key"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-days", "2", "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)]
    try:
        command(argv, limit_s=_LIMIT_S, environment=clean_environment(), cwd=folder)
    except OSError as error:
        raise ComponentError(f"openssl cannot be run: {error}") from error
    key.chmod(0o600)
    account.own(key, certificate)
    return certificate, key
