"""The table version x incident: what is expected, how it is compared, and what is refused. Nothing is downloaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli.reproducing import script_alone, scripts_of_versions
from harness.core.errors import UsageError
from harness.regressions.__main__ import main
from harness.regressions.catalogue import PACKAGES, TODAY, Regression, Shown, catalogue, pins, versions_today
from harness.regressions.installing import Installed, NotInstallable, install
from harness.regressions.running import Ended
from harness.regressions.table import Cell, as_json, as_markdown, surprises

RIGHT = """
incident = 18
package = "psycopg-pool"
limit_s = 60
bound = "psycopg_pool before 3.2.8"
[expected]
"3.2.7" = "shows"
today = "does not"
"""
VERSIONS = {
    "psycopg": "3.3.9",
    "psycopg-pool": "3.3.3",
    "langgraph": "1.2.22",
    "langgraph-checkpoint-postgres": "3.2.0",
}


def regression_in(folder: Path, text: str = RIGHT) -> Regression:
    (folder / "v_18_check_loses.py").write_text("")
    (folder / "v_18_check_loses.toml").write_text(text)
    (found,) = catalogue(folder)
    return found


def cell(regression: Regression, version: str, shown: Shown, said: str = "") -> Cell:
    return Cell(
        regression=regression, version=version, pins=pins(regression, version, VERSIONS), ended=Ended(shown, said, 2.0)
    )


def test_every_version_bound_script_has_expectations_and_is_short() -> None:
    expected = {item.script.stem: item for item in catalogue()}
    assert set(scripts_of_versions()) <= set(expected)
    for name, path in scripts_of_versions().items():
        assert len(script_alone(path).splitlines()) < 80, name
        assert name.startswith(f"v_{expected[name].incident:02d}_")
    for item in expected.values():
        assert len(item.expected) > 1, f"{item.name} compares nothing"
        assert Shown.SHOWS in item.expected.values(), f"{item.name} shows nowhere"


def test_a_version_is_pinned_and_the_others_are_as_today(tmp_path: Path) -> None:
    regression = regression_in(tmp_path)
    assert pins(regression, "3.2.7", VERSIONS) == {**VERSIONS, "psycopg-pool": "3.2.7"}
    assert pins(regression, TODAY, VERSIONS) == VERSIONS
    assert set(versions_today()) == set(PACKAGES)


@pytest.mark.parametrize(
    ("said", "instead", "sentence"),
    [
        ('"psycopg-pool"', '"asyncpg"', "package is 'asyncpg'; allowed: psycopg, psycopg-pool, langgraph"),
        ("limit_s = 60", "limit_s = 0", "limit_s is 0; allowed: above 0, at most 300"),
        ("limit_s = 60", "limit_s = 301", "limit_s is 301"),
        ("incident = 18", "", "incident is missing, unknown or of another type"),
        ("incident = 18", "incident = 18\nincidents = 1", "incidents is missing, unknown"),
        ('"shows"', '"hangs"', r"expected holds ['hangs']; allowed: shows, does not, not installable"),
        ('today = "does not"', "", "no today"),
        ("incident = 18", "incident = ", "Invalid value"),
    ],
)
def test_a_wrong_file_is_refused(said: str, instead: str, sentence: str, tmp_path: Path) -> None:
    assert said in RIGHT
    with pytest.raises(UsageError) as caught:
        regression_in(tmp_path, RIGHT.replace(said, instead))
    assert sentence in str(caught.value)
    assert "v_18_check_loses.toml" in str(caught.value)


def test_expectations_without_a_script_are_refused(tmp_path: Path) -> None:
    (tmp_path / "v_18_gone.toml").write_text(RIGHT)
    with pytest.raises(UsageError, match=r"there is no v_18_gone\.py beside it"):
        catalogue(tmp_path)


def test_the_table_agrees_with_itself(tmp_path: Path) -> None:
    regression = regression_in(tmp_path)
    cells = [cell(regression, "3.2.7", Shown.SHOWS, "PoolTimeout: a | b"), cell(regression, TODAY, Shown.DOES_NOT)]
    text = as_markdown(cells)
    assert "| version | I-18 check_loses |" in text
    assert "| psycopg-pool 3.2.7 | shows |" in text
    assert "| psycopg-pool 3.3.3 (today) | does not |" in text
    assert r"| 2.0 | PoolTimeout: a \| b |" in text
    assert "Everything as expected." in text
    rows = json.loads(as_json(cells))["cells"]
    assert [(row["version"], row["measured"], row["as_expected"]) for row in rows] == [
        ("3.2.7", "shows", True),
        (TODAY, "does not", True),
    ]
    assert rows[0]["pins"]["psycopg-pool"] == "3.2.7"
    assert surprises(cells) == ()


def test_rows_are_in_the_order_of_versions(tmp_path: Path) -> None:
    regression = regression_in(tmp_path, RIGHT.replace('"3.2.7"', '"3.10.0" = "shows"\n"3.2.7"'))
    text = as_markdown([cell(regression, version, Shown.SHOWS) for version in ("3.10.0", TODAY, "3.2.7")])
    assert text.index("pool 3.2.7 |") < text.index("pool 3.3.3 (today) |") < text.index("pool 3.10.0 |")


@pytest.mark.parametrize("shown", [Shown.DOES_NOT, Shown.HANGS, Shown.BROKE, Shown.NOT_INSTALLABLE])
def test_what_was_not_expected_stands_out(shown: Shown, tmp_path: Path) -> None:
    cells = [cell(regression_in(tmp_path), "3.2.7", shown, "why")]
    (sentence,) = surprises(cells)
    assert sentence == f"I-18 check_loses with psycopg-pool 3.2.7: measured {shown.value!r}, expected 'shows': why"
    assert f"| psycopg-pool 3.2.7 | **{shown}** (expected: shows) |" in as_markdown(cells)
    assert sentence in as_markdown(cells)
    assert json.loads(as_json(cells))["cells"][0]["as_expected"] is False


def test_an_environment_that_is_whole_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def run(*command: str) -> str:
        ran.append(command[2])
        if command[2] == "venv":
            Path(command[-1]).mkdir(parents=True)
        return ""

    monkeypatch.setattr("harness.regressions.installing._run", run)
    first = install(VERSIONS, tmp_path)
    assert isinstance(first, Installed)
    assert ran == ["venv", "pip"]
    assert install(VERSIONS, tmp_path) == first
    assert ran == ["venv", "pip"]
    assert install({**VERSIONS, "psycopg": "3.3.5"}, tmp_path) != first
    (next(place for place in tmp_path.iterdir() if first.python.is_relative_to(place)) / "poolproof-installed").unlink()
    assert install(VERSIONS, tmp_path) == first  # it was not whole: made anew
    assert ran == ["venv", "pip"] * 3


@pytest.mark.slow
def test_what_pip_cannot_install_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    """A version that is none, so that no index is asked."""
    found = install({"langgraph": "is no version"}, tmp_path / "environments")
    assert isinstance(found, NotInstallable)
    assert "Invalid requirement" in found.why
    assert list((tmp_path / "environments").iterdir()) == []


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["I-1"], "no version-bound incident 1; known: I-14, I-18"),
        (["I-18", "--only", "1.0", "--environments", "nowhere"], "no incident has a version 1.0"),
    ],
)
def test_bad_input(args: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 2
    assert sentence in capsys.readouterr().err
