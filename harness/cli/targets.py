"""The options for a server of the user's own, and ``poolproof init-target``.

None of them can be set by an environment variable: what may be written to is said in the command itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from harness.cli.ending import KEPT, Ending
from harness.core.errors import UsageError

if TYPE_CHECKING:
    from harness.environments.target_dsn import Target  # it imports psycopg

_REMOTE = click.option(
    "--allow-remote",
    "remote",
    multiple=True,
    metavar="HOST",
    help="The target may be there, beyond this machine. May be given several times.",
)


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--target-dsn``, ``--i-own-this-database`` and ``--allow-remote``."""
    for option in (
        _REMOTE,
        click.option(
            "--i-own-this-database",
            "owned",
            metavar="NAME",
            help="The target's database; it is yours, and poolproof init-target has marked it.",
        ),
        click.option(
            "--target-dsn",
            metavar="DSN|@FILE",
            help="Run on a Postgres of yours and not on one that Poolproof starts; each cell gets a new database.",
        ),
    ):
        command = option(command)
    return command


def remote_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--allow-remote`` alone."""
    return _REMOTE(command)


def target_of(dsn: str | None, owned: str | None, remote: Sequence[str], environment: str = "auto") -> Target | None:
    """The target that the options name, looked at on a living connection; None if they name none.

    Raises UsageError, with one sentence, for everything that is not as it must be.
    """
    from harness.environments.target_dsn import read_target
    from harness.environments.target_guards import look

    if dsn is None:
        if owned is not None or remote:
            given = "--i-own-this-database" if owned is not None else "--allow-remote"
            raise UsageError(f"{given} is about the server that --target-dsn names; allowed: both, or none")
        return None
    if owned is None:
        raise UsageError("--target-dsn needs --i-own-this-database NAME, the database that is yours")
    if environment == "containers":
        raise UsageError("--target-dsn and --environment containers exclude each other: one Postgres is enough")
    target = read_target(dsn, owned, remote)
    look(target)
    return target


def init(dsn: str, remote: Sequence[str]) -> Ending:
    """Mark an empty database of the user's own as one that may be used."""
    from harness.environments.target import init_target
    from harness.environments.target_dsn import database_of, read_target

    name = database_of(dsn)
    version = init_target(read_target(dsn, name, remote))
    return Ending(KEPT, f"the database {name!r} (PostgreSQL {version}) is marked: poolproof run may use it now")
