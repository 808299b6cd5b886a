"""Without a container engine: one sentence, and what to do."""

from __future__ import annotations

import pytest

from harness.core.errors import MissingComponent
from harness.environments import engine
from harness.environments.stack import Stack


@pytest.mark.slow
def test_no_engine_is_missing_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    with pytest.raises(MissingComponent, match="no container engine answers") as caught:
        Stack.open("containers")
    assert "--environment local" in caught.value.fix


def test_the_engine_runner_says_when_it_cannot(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    monkeypatch.setattr(engine, "can_start", lambda: False)
    assert engine.main(["--", "true"]) == engine.NO_ENGINE
    assert "no Docker engine answers" in capsys.readouterr().err
    assert engine.main(["true"]) == 2
