"""Facts survive their JSON; verdicts merge worst first."""

from __future__ import annotations

import json
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import UsageError
from harness.core.facts import Facts, ThreadFacts, facts_from_json, facts_to_json
from harness.core.verdict import Finding, Guarantee, Json, Verdict

_IDS = st.lists(st.text(max_size=8), max_size=3).map(tuple)
_THREADS = st.builds(
    ThreadFacts,
    thread=st.text(max_size=8),
    agent=st.text(max_size=8),
    exists=st.booleans(),
    turns=st.none() | _IDS,
    answers=_IDS,
    effects=_IDS,
    problems=_IDS,
    waiting=_IDS,
    sql_turns=st.none() | _IDS,
    history_turns=_IDS,
    forks=st.integers(0, 9),
    orphan_writes=st.integers(0, 9),
    dangling_parents=st.integers(0, 9),
    checkpoints=st.integers(0, 9),
)
_FACTS = st.builds(
    Facts,
    threads=st.lists(_THREADS, max_size=3).map(lambda threads: {thread.thread: thread for thread in threads}),
    table_threads=_IDS,
    leftover_backends=st.dictionaries(st.text(max_size=4), st.integers(0, 9), max_size=3),
    leftovers=_IDS,
    problems=_IDS,
    complete=st.booleans(),
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(_FACTS)
def test_facts_round_trip(facts: Facts) -> None:
    assert facts_from_json(json.loads(json.dumps(facts_to_json(facts)))) == facts


def test_facts_with_nothing_in_them_hold_nothing() -> None:
    assert facts_from_json({}) == Facts()


@pytest.mark.parametrize("row", [{}, {"thread": "a", "agent": "x", "exists": True, "turns": [], "new": 1}])
def test_facts_of_another_shape_are_refused(row: dict[str, Json]) -> None:
    with pytest.raises(UsageError, match=r"threads\['a'\]: has (no|a) field"):
        facts_from_json({"threads": {"a": row}})


WORST_FIRST = [Verdict.FAIL, Verdict.ERROR, Verdict.INVALID, Verdict.SLOW, Verdict.PASS, Verdict.SKIP]


def test_verdicts_are_ranked_worst_first() -> None:
    assert sorted(Verdict, key=lambda verdict: verdict.rank) == WORST_FIRST
    for several in permutations(WORST_FIRST, 3):
        assert Verdict.worst(several) is min(several, key=WORST_FIRST.index)


def test_nothing_decided_is_invalid() -> None:
    assert Verdict.worst([]) is Verdict.INVALID


@given(st.lists(st.sampled_from(Verdict), min_size=1), st.sampled_from(Verdict))
def test_one_more_verdict_never_makes_it_better(verdicts: list[Verdict], more: Verdict) -> None:
    assert Verdict.worst([*verdicts, more]).rank <= Verdict.worst(verdicts).rank


def test_findings_are_frozen() -> None:
    finding = Finding(guarantee=Guarantee.RECOVERS, verdict=Verdict.PASS, summary="")
    with pytest.raises(AttributeError):
        finding.verdict = Verdict.FAIL  # type: ignore[misc]
