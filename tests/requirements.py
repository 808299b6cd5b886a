"""What a test needs of the machine beyond Postgres and Toxiproxy."""

from __future__ import annotations

import pytest

from harness.core.environment import Capability
from harness.environments.stack import Stack


def skip_without(stack: Stack, *needs: Capability) -> None:
    """Skip the test, with the reason and the fix, if ``stack`` could not provide all of ``needs``."""
    for need in needs:
        if need in stack.missing:
            pytest.skip(f"{stack.missing[need]}; {stack.missing[need].fix}")
