"""``poolproof lint``: exit status, what goes to which stream, and the warning before a run of one's own strategy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import main
from harness.core.cell import CellSpec
from harness.lint.warning import warnings

HERE = Path(__file__).resolve().parent
MINE = """
from harness import PoolStrategy

class Mine(PoolStrategy):
    name = "mine"

    async def open(self):
        self.saver = make_saver()

    async def checkpointer(self, agent):
        return self.saver
"""


def cells(*strategies: str) -> list[CellSpec]:
    return [CellSpec(id=name, scenario="network/steady", strategy=name, seed=0) for name in strategies]


def test_findings_are_exit_1(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    assert main(["lint", "wrong_service.py:pool"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "pool pool and 1 more of its module"
    assert lines[-1] == "exit 1 11 findings in pool pool and 1 more of its module"
    text = " ".join(" ".join(lines).split())
    assert "✗ check_deadline wrong_service.py:18: the check of each checkout has no deadline" in text
    assert "value check=writable" in text
    assert "causes I-10, I-19; poolproof run incidents/i_10_check_backs_off" in text
    assert "not checked: the server and what stands before it" in text
    assert max(map(len, lines)) <= 110
    assert "hunter2" not in text


def test_nothing_found_is_exit_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", f"{HERE}/right_service.py:pool"]) == 0
    out = capsys.readouterr().out
    assert "not checked: " in out
    assert out.splitlines()[-1] == "exit 0 nothing found in pool pool"


def test_json_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", f"{HERE}/wrong_service.py:pool", "--pooler", "session", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"reference", "subject", "findings", "not_checked"}
    checks = {finding["check"] for finding in document["findings"]}
    assert "autocommit" in checks
    assert "prepare_threshold" not in checks
    (found,) = [finding for finding in document["findings"] if finding["check"] == "open_wait"]
    assert (found["file"], found["incidents"]) == (str(HERE / "wrong_service.py"), ["I-1", "I-3"])
    assert found["line"] > 1
    assert set(found) == {"check", "what", "file", "line", "value", "allowed", "fix", "incidents", "scenarios", "mode"}


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["nowhere.py:pool"], "nowhere.py: no such file"),
        ([f"{HERE}/wrong_service.py:BaseAgent"], "BaseAgent is the class BaseAgent, neither a pool nor a strategy"),
        ([f"{HERE}/wrong_service.py:BaseAgent.not_made_yet"], "is None, for the pool is made later"),
        ([], "Missing argument 'REFERENCE'"),
        (["self_healing", "--pooler", "statement"], "'statement' is not one of"),
        (["self_healing", "--replicas", "0"], "0 is not in the range"),
    ],
)
def test_bad_input_is_exit_2(args: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", *args]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert "Traceback" not in captured.err
    assert captured.out.splitlines()[-1].startswith("exit 2 ")


def test_a_run_warns_of_ones_own_strategies_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    mine = f"{tmp_path}/mine.py:Mine"
    (line,) = warnings(cells("naive_recreate", mine, "shared_saver", mine))
    assert line.startswith(f"lint        {tmp_path}/mine.py:11 return self.saver: agents share one saver")
    assert line.endswith(f"(I-13, I-14); poolproof lint {mine}")
    assert warnings(cells("naive_recreate", "self_healing")) == ()


def test_what_cannot_be_linted_is_left_to_the_run(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        MINE.replace('name = "mine"', 'name = "mine"\n    def __init__(self, database):\n        raise OSError')
    )
    assert warnings(cells(f"{tmp_path}/mine.py:Mine")) == ()
