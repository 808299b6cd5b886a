"""Records of runs are read as text from anybody: what is not as we write it is refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import harness.campaign
import harness.slot
from harness.cli import main
from harness.core.cell import CellSpec, cell_id
from harness.core.errors import UsageError
from harness.core.facts import Facts, ThreadFacts
from harness.core.history import OpType
from harness.core.record import CellResult, Mark, ScenarioInfo, Timeline
from harness.core.shape import DEPTH_LIMIT, loads
from harness.core.verdict import Finding, Guarantee, Verdict
from harness.registry import default_registry
from harness.store import (
    CellFolder,
    HistoryWriter,
    Run,
    RunRecord,
    load_cells,
    open_cell,
    read_record,
    read_result,
)
from harness.verdicts import plan_of
from tests.security.bad_records import ALL, Bad

SPEC = CellSpec(
    id=cell_id("network/steady", "per_agent_pool", "async", 0), scenario="network/steady", strategy="per_agent_pool"
)
RESULT = CellResult(
    id=SPEC.id,
    scenario=SPEC.scenario,
    strategy=SPEC.strategy,
    agents=SPEC.agents,
    durability="async",
    seed=0,
    role="candidate",
    verdict=Verdict.PASS,
    findings=(Finding(guarantee=Guarantee.NO_HANG, verdict=Verdict.PASS, summary="s", evidence=(1,), codes=("L1",)),),
    timeline=Timeline(
        end_s=1.0,
        bands=(("f", 0.0, 1.0),),
        latencies=((0.5, 3.0, "ok"),),
        marks=(Mark(time_s=1.0, kind="leak", text="t"),),
    ),
    wall_s=1.5,
)


@pytest.fixture
def good_run(tmp_path: Path) -> Path:
    """The folder of a run with one judged cell, as we write it."""
    run = Run.create(out=tmp_path / "run")
    run.write_record(
        RunRecord(
            started="2026-01-01T00:00:00+00:00",
            planned=1,
            scenarios=(ScenarioInfo(name="network/steady", title="t", why="w", question=1),),
            must_catch=(("s", "c", "g"),),
            notes=("n",),
        )
    )
    folder = run.cell(SPEC.id)
    folder.write_spec(SPEC)
    writer = HistoryWriter(folder.history, {"cell": SPEC.id, "seed": 0})
    for n in range(3):
        writer.append(OpType.INFO, "phase", "runner", {"name": f"p{n}"}, time_s=float(n))
    writer.close()
    folder.write_facts(Facts(threads={"a": ThreadFacts(thread="a", agent="x", exists=True, turns=("t1",))}))
    folder.write_result(RESULT)
    return run.folder


def cell_of(run: Path) -> CellFolder:
    return CellFolder(run / "cells" / SPEC.id)


def path_of(run: Path, file: str) -> Path:
    return run / file if file == "run.json" else cell_of(run).path / file


def test_a_good_run_is_read_as_it_was_written(good_run: Path) -> None:
    spec, history, facts = open_cell(cell_of(good_run).path)
    assert spec == SPEC
    assert [op.value["name"] for op in history] == ["p0", "p1", "p2"]
    assert facts.threads["a"].turns == ("t1",)
    assert load_cells(good_run) == (RESULT,)
    assert read_record(good_run).must_catch == (("s", "c", "g"),)


def test_there_are_enough_of_them() -> None:
    assert len(ALL) >= 40
    assert len({bad.said for bad in ALL.values()}) > 60, "each says something of its own"


@pytest.mark.parametrize("name", ALL)
def test_what_is_bad_is_refused_before_anything_starts(
    name: str, good_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = ALL[name]
    spoilt = path_of(good_run, bad.file)
    spoilt.write_bytes(bad.spoil(spoilt.read_bytes()))
    before = sorted(good_run.parent.rglob("*"))
    monkeypatch.setattr(harness.campaign, "run_campaign", _must_not_be_called)
    monkeypatch.setattr(harness.slot.Slot, "launch", _must_not_be_called)
    monkeypatch.chdir(good_run.parent)
    command = ["report", str(good_run)] if bad.file in ("run.json",) else ["replay", str(cell_of(good_run).path)]
    assert main(command) == 2
    said = capsys.readouterr()
    assert said.out == "exit 2 usage: see the message above\n"
    assert "Traceback" not in said.err
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    for words in bad.said:
        assert words in said.err
    assert len(said.err) < 5000, "names of what there is, and no more of what was read"
    assert sorted(good_run.parent.rglob("*")) == before, "nothing was written"


def _must_not_be_called(*_: object, **__: object) -> None:
    raise AssertionError("something was started")


@pytest.mark.parametrize("file", ["cell.json", "facts.json", "verdict.json", "run.json"])
@pytest.mark.slow
def test_a_record_that_is_cut_anywhere_is_refused(file: str, good_run: Path) -> None:
    path = path_of(good_run, file)
    good = path.read_bytes()
    for length in range(len(good) - 2):
        path.write_bytes(good[:length])
        with pytest.raises(UsageError, match=file.replace(".", r"\.")):
            _read(good_run, file)


def _read(run: Path, file: str) -> object:
    if file == "run.json":
        return read_record(run)
    folder = cell_of(run).path
    return read_result(folder) if file == "verdict.json" else open_cell(folder)


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(2**64), 1e308, float("nan"), float("inf"), "", "\ud800", "SupervisorAgent", "ok"])
    | st.floats()
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
_FILES = st.sampled_from(["cell.json", "facts.json", "verdict.json", "run.json", "history.jsonl"])


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    file=_FILES, raw=st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace"))
)
@example(file="history.jsonl", raw=b"\xed\xa0\x80\n\n")
@example(file="cell.json", raw=b"[" * 100_000)
def test_bytes_of_any_kind_are_read_or_refused(good_run: Path, file: str, raw: bytes) -> None:
    path = path_of(good_run, file)
    good = path.read_bytes()
    try:
        path.write_bytes(raw)
        assert _read_or_refused(good_run, file) in (True, False)
        middle = len(good) // 2
        path.write_bytes(good[:middle] + raw + good[middle:])
        assert _read_or_refused(good_run, file) in (True, False)
    finally:
        path.write_bytes(good)


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=_FILES, value=_JSON, pick=st.randoms(use_true_random=False))
def test_any_value_in_any_place_is_read_or_refused(good_run: Path, file: str, value: Any, pick: Any) -> None:
    path = path_of(good_run, file)
    good = path.read_bytes()
    lines = good.decode().splitlines() if file == "history.jsonl" else [good.decode()]
    number = pick.randrange(len(lines))
    data = json.loads(lines[number])
    places = list(_places(data))
    put, _ = pick.choice(places)
    put(value)
    lines[number] = json.dumps(data)
    try:
        path.write_text("\n".join(lines) + "\n")
        assert _read_or_refused(good_run, file) in (True, False)
    finally:
        path.write_bytes(good)


def _places(data: Any) -> list[tuple[Callable[[Any], None], Any]]:
    """Every place in a JSON value, as what sets it."""
    found: list[tuple[Callable[[Any], None], Any]] = []
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        found.append((lambda new, place=data, key=key: place.__setitem__(key, new), value))  # type: ignore[misc]
        found += _places(value)
    return found


def _read_or_refused(run: Path, file: str) -> bool:
    """True if it was read; any exception but UsageError is a bug. What was read is of the types that it says."""
    try:
        found = _read(run, file)
        if file == "cell.json":
            spec = found[0]  # type: ignore[index]
            assert isinstance(spec.seed, int)
            assert all(isinstance(agent, str) for agent in spec.agents)
            plan_of(spec, default_registry().scenario("network/steady"), default_registry())
        if file == "history.jsonl":
            assert all(isinstance(op.value, dict) and isinstance(op.f, str) for op in found[1])  # type: ignore[index]
    except UsageError:
        return False
    return True


@settings(max_examples=200, deadline=None)
@given(_JSON.map(lambda value: json.dumps(value)) | st.text(max_size=60))
def test_loads_gives_what_json_gives_or_refuses(text: str) -> None:
    try:
        found = loads(text, "x")
    except UsageError as error:
        refused = str(error)
    else:
        assert repr(found) == repr(json.loads(text))
        return
    assert refused.startswith("x")


@pytest.mark.parametrize(("depth", "fine"), [(DEPTH_LIMIT, True), (DEPTH_LIMIT + 1, False)])
@pytest.mark.parametrize(("left", "right"), [("[", "]"), ('{"a":', "}")])
def test_the_limit_of_depth_is_exact(depth: int, fine: bool, left: str, right: str) -> None:
    text = left * depth + "0" + right * depth
    try:
        loads(text, "x")
    except UsageError:
        assert not fine
    else:
        assert fine


def test_brackets_in_texts_are_no_nesting() -> None:
    assert loads(json.dumps({"a": "[{" * 100 + '\\"['}), "x") == {"a": "[{" * 100 + '\\"['}


def test_a_row_without_an_end_is_not_taken_into_memory(good_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.store.ROW_LIMIT", 1000)
    path = cell_of(good_run).history
    path.write_bytes(path.read_bytes() + b"x" * 5000)
    with pytest.raises(UsageError, match=r"history\.jsonl, line 5: is longer than"):
        open_cell(cell_of(good_run).path)


def test_a_record_that_is_too_long_is_refused(good_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.store.RECORD_LIMIT_BYTES", 100)
    with pytest.raises(UsageError, match="is longer than 0 MiB"):
        open_cell(cell_of(good_run).path)


def test_nothing_that_a_record_names_is_loaded_from_beside_it(good_run: Path) -> None:
    evil = cell_of(good_run).path / "evil.py"
    evil.write_text("raise SystemExit('it was run')")
    bad = Bad("cell.json", (), lambda data: data.update(strategy=f"{evil}:Evil"))
    path = path_of(good_run, "cell.json")
    path.write_bytes(bad.spoil(path.read_bytes()))
    with pytest.raises(UsageError, match="a file that a record may not name"):
        open_cell(cell_of(good_run).path)
