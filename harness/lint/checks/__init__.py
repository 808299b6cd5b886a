"""One file for each thing that the lint looks at: a function from a subject to findings and what it could not see."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from harness.lint.checks.asyncio_deadline import asyncio_deadline
from harness.lint.checks.autocommit import autocommit
from harness.lint.checks.check_deadline import check_deadline
from harness.lint.checks.connect_timeout import connect_timeout
from harness.lint.checks.connection_sum import connection_sum
from harness.lint.checks.open_wait import open_wait
from harness.lint.checks.prepare_threshold import prepare_threshold
from harness.lint.checks.setup_everywhere import setup_everywhere
from harness.lint.checks.shared_saver import shared_saver
from harness.lint.checks.single_connection import single_connection
from harness.lint.checks.versions import versions
from harness.lint.finding import LintFinding, NotChecked
from harness.lint.subject import Subject

CHECKS: tuple[Callable[[Subject], Iterator[LintFinding | NotChecked]], ...] = (
    prepare_threshold,
    autocommit,
    connect_timeout,
    check_deadline,
    setup_everywhere,
    connection_sum,
    open_wait,
    versions,
    shared_saver,
    single_connection,
    asyncio_deadline,
)
