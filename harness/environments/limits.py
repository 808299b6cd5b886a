"""What the machine must allow: asked before anything starts, and told in one line with the fix."""

from __future__ import annotations

import resource

from harness.core.errors import MissingComponent

#: Open files that a run needs in one process: Toxiproxy holds two for each of Postgres's connections.
FILES = 1024


def enough_files() -> None:
    """Raise this process's own limit of open files to what a run needs. Raises MissingComponent where it may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= FILES:
        return
    if hard != resource.RLIM_INFINITY and hard < FILES:
        raise MissingComponent(
            f"a process may open {hard} files here, and a run needs {FILES}",
            f"allow more before starting it: ulimit -n {FILES} (containers: --ulimit nofile={FILES})",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, hard))
