"""The account that servers run as: an unprivileged one when the harness is root, the caller's own otherwise.

Postgres refuses to run as root and PgBouncer should not. Nothing is created on the machine for this: ``nobody`` is
there already. Only folders that we made ourselves are ever given to it.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from harness.core.errors import ComponentError


@dataclass(frozen=True, slots=True)
class Account:
    """A user id and a group id that servers run as."""

    uid: int
    gid: int

    def own(self, *paths: Path) -> None:
        """Give files that we made to this account; nothing to do when it is the caller's own."""
        if self.uid != os.geteuid():
            for path in paths:
                os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def own_tree(self, root: Path) -> None:
        """Give a whole folder that we made to this account."""
        if self.uid == os.geteuid():
            return
        self.own(root)
        for folder, folders, files in os.walk(root):
            for name in (*folders, *files):
                os.chown(os.path.join(folder, name), self.uid, self.gid, follow_symlinks=False)


def server_account() -> Account:
    """``nobody`` for root, else whoever runs us. Raises ComponentError for a user id without a name.

    Postgres looks its user up and ends when there is no such entry, as in a container that runs under a bare number.
    """
    uid = os.geteuid()
    try:
        entry = pwd.getpwnam("nobody") if uid == 0 else pwd.getpwuid(uid)
    except KeyError:
        who = "this machine has no user 'nobody'" if uid == 0 else f"user id {uid} has no name on this machine"
        raise ComponentError(f"{who}, and Postgres does not run without: add an entry to /etc/passwd") from None
    return Account(entry.pw_uid, entry.pw_gid if uid == 0 else os.getegid())
