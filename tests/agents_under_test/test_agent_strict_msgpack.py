"""State is made of types that LangGraph reads back without being told to trust them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.core.environment import Environment
from tests.agents_under_test.agents_driving import AGENTS

pytestmark = pytest.mark.slow

_HERE = Path(__file__).parent


def test_every_agent_runs_under_strict_msgpack_without_a_word(cell_env: Environment) -> None:
    environment = {**os.environ, "LANGGRAPH_STRICT_MSGPACK": "true"}
    environment["PYTHONPATH"] = os.pathsep.join([str(_HERE), str(_HERE.parents[1])])
    done = subprocess.run(
        [sys.executable, "-W", "error", str(_HERE / "strict_msgpack_run.py"), cell_env.admin.conninfo()],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"{agent.name} whole" for agent in AGENTS]
