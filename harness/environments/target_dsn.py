"""The user's word for a server of their own: a DSN, the name of the database that they say is theirs, hosts beyond
this machine.

A DSN that could mean two places is refused here, whatever stands there. What it really led to is looked at again on
every living connection (``target_guards``).
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from harness.core.environment import Endpoint
from harness.core.errors import UsageError
from harness.core.redaction import SHORTEST, can_hide, hide
from harness.core.verdict import Json

#: What a cell's record calls the environment.
TARGET = "target"
#: A database that may be used says so in its name.
NAME = re.compile(r"chaos_[a-z0-9_]{1,40}")
#: What a DSN may hold; everything else could lead elsewhere, or change what our statements mean.
KEYWORDS = ("host", "port", "dbname", "user", "password", "sslmode", "connect_timeout", "application_name")
_SSL_MODES = ("disable", "allow", "prefer", "require")
_LONGEST_DSN = 4096
_ABOUT = "write postgresql://USER@127.0.0.1:PORT/chaos_NAME"


@dataclass(frozen=True, slots=True)
class Target:
    """A server of the user's own. ``name`` is the database that they said is theirs; ``remote`` are the hosts beyond
    loopback that they allowed; ``run`` stands in the name of every database that this run makes.
    """

    endpoint: Endpoint
    name: str
    remote: tuple[str, ...] = ()
    run: str = field(default_factory=lambda: secrets.token_hex(4))

    def to_json(self) -> dict[str, Json]:
        """For the pipe to a slot, with the password: it goes nowhere else."""
        remote: list[Json] = list(self.remote)
        place = self.endpoint
        values: dict[str, Json] = {"host": place.host, "port": place.port, "dbname": place.dbname, "user": place.user}
        options: dict[str, Json] = dict(place.options)
        return {
            **values,
            "password": place.password,
            "options": options,
            "name": self.name,
            "remote": remote,
            "run": self.run,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> Target:
        """The inverse of :meth:`to_json`; its password is a secret of this process from then on."""
        text = {key: str(data[key]) for key in ("host", "dbname", "user", "password", "name", "run")}
        options, remote, port = data["options"], data["remote"], data["port"]
        assert isinstance(options, dict)
        assert isinstance(remote, list)
        assert isinstance(port, int)
        hide(text["password"])
        chosen = {key: str(value) for key, value in options.items()}
        endpoint = Endpoint(text["host"], port, text["dbname"], text["user"], text["password"], chosen)
        return cls(endpoint, text["name"], tuple(str(host) for host in remote), text["run"])


def read_target(dsn: str, name: str, remote: Sequence[str] = ()) -> Target:
    """The target that the user named; UsageError, without a word of the DSN's password, for what cannot be one.

    ``dsn`` may be ``@FILE``: its first line, from a file that nobody else may read.
    """
    values = _parsed(_from_file(Path(dsn[1:])) if dsn.startswith("@") else dsn)
    if not NAME.fullmatch(name):
        raise UsageError(
            f"--i-own-this-database is {name!r}; allowed: a name like chaos_tests (chaos_, then lower case letters, "
            "digits and _), so that no database is taken by mistake"
        )
    if values["dbname"] != name:
        raise UsageError(
            f"--target-dsn names the database {values['dbname']!r} and --i-own-this-database says {name!r}; "
            "allowed: the same name in both"
        )
    password = values.get("password", "")
    if password and not can_hide(password):
        raise UsageError(
            f"the password of --target-dsn is too plain to be kept out of logs and reports; allowed: {SHORTEST} "
            "characters and more, not letters alone"
        )
    hide(password)
    options = {"sslmode": values["sslmode"]} if "sslmode" in values else {}
    port = int(values["port"])
    return Target(Endpoint(values["host"], port, name, values["user"], password, options), name, tuple(remote))


def database_of(dsn: str) -> str:
    """The database that a DSN names; UsageError as in :func:`read_target`."""
    return _parsed(_from_file(Path(dsn[1:])) if dsn.startswith("@") else dsn)["dbname"]


def _parsed(dsn: str) -> dict[str, str]:
    """Its keywords. libpq's own complaint would quote the DSN, and with it the password."""
    if len(dsn) > _LONGEST_DSN or not dsn.isprintable():
        raise UsageError(f"--target-dsn is no connection string; {_ABOUT}")
    try:
        values = {key: str(value) for key, value in conninfo_to_dict(dsn).items()}
    except psycopg.ProgrammingError:
        raise UsageError(f"--target-dsn cannot be read as a connection string; {_ABOUT}") from None
    for keyword in sorted(values.keys() - set(KEYWORDS)):
        raise UsageError(
            f"--target-dsn sets {keyword}, which could lead elsewhere or change what statements mean; "
            f"allowed: {', '.join(KEYWORDS)}"
        )
    for keyword in ("host", "dbname", "user"):
        if not values.get(keyword):
            raise UsageError(f"--target-dsn names no {keyword}, and none is guessed; {_ABOUT}")
    values.setdefault("port", "5432")
    if "," in values["host"] or "," in values["port"]:
        raise UsageError(f"--target-dsn names several hosts ({values['host']!r}); allowed: one")
    if not values["port"].isdecimal() or not 0 < int(values["port"]) < 65536:
        raise UsageError(f"--target-dsn has the port {values['port']!r}; allowed: 1 to 65535")
    if values["host"].startswith(("/", "@")):
        raise UsageError(
            f"--target-dsn names a unix socket ({values['host']!r}), where no proxy can stand in between; "
            "allowed: an address such as 127.0.0.1"
        )
    if "sslmode" in values and values["sslmode"] not in _SSL_MODES:
        raise UsageError(f"--target-dsn has sslmode {values['sslmode']!r}; allowed: {', '.join(_SSL_MODES)}")
    if "=" in values["dbname"] or "://" in values["dbname"]:
        raise UsageError(f"--target-dsn holds a second connection string as its dbname; {_ABOUT}")
    return values


def _from_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise UsageError(f"--target-dsn @{path}: others may read that file; allowed: chmod 600 {path}")
            raw = file.read(_LONGEST_DSN + 1)
    except OSError as error:
        raise UsageError(f"--target-dsn @{path}: cannot be read ({error.strerror or error})") from error
    lines = raw.decode("utf-8", errors="replace").splitlines()
    if not lines or not lines[0].strip():
        raise UsageError(f"--target-dsn @{path}: the first line is empty; {_ABOUT}")
    return lines[0].strip()
