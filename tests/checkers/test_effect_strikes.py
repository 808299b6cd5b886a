"""A hit at a moment of the protocol is seen if a saver call was waiting for just that message, and felt it."""

from __future__ import annotations

import pytest

from harness.checkers.exercised import Exercised
from harness.core.verdict import Json, Verdict
from tests.checkers.made_histories import BOUNDS, OPERATIONAL, MadeCell, shows


def _cell(*, error: bool, took_s: float, hits: list[Json], delay_ms: float = 0.0, f: str = "aput") -> MadeCell:
    """A whole cell with one saver call, from 3.5 s on, in the window from 3 to 6 s."""
    cell = MadeCell()
    cell.gate()
    cell.now_s = 3.0
    cell.strike(effect="strikes", delay_ms=delay_ms)
    cell.now_s = 3.5
    cell.save(f, took_s=took_s, error=OPERATIONAL if error else None)
    cell.now_s = 6.0
    cell.heal(seen=7, struck=len(hits), hits=hits)
    cell.everybody(round_=2)
    cell.end()
    return cell


def _hit(time_s: float) -> Json:
    return {"connection": 1, "message": "answer to the commit of INSERT INTO checkpoints", "time_s": time_s}


@pytest.mark.parametrize("more", [[], [_hit(5.0)]])
def test_a_save_that_waited_for_the_message_and_failed_shows_it(more: list[Json]) -> None:
    cell = _cell(error=True, took_s=0.1, hits=[_hit(3.55), *more])
    shows(Exercised().check(cell.history, cell.facts(), BOUNDS), Verdict.PASS)


@pytest.mark.parametrize(("took_s", "codes"), [(0.7, ()), (0.6, ("V4",))])
def test_a_stall_is_seen_by_its_length(took_s: float, codes: tuple[str, ...]) -> None:
    cell = _cell(error=False, took_s=took_s, hits=[_hit(3.55)], delay_ms=800.0)
    verdict = Verdict.INVALID if codes else Verdict.PASS
    shows(Exercised().check(cell.history, cell.facts(), BOUNDS), verdict, *codes)


@pytest.mark.parametrize(
    ("hits", "error", "words"),
    [
        ([], True, "hit no message: 7 of its moments came"),
        (["nonsense"], True, "hit no message"),
        ([_hit(4.5)], True, "hit 1 messages, and no saver call that waited for one of them failed"),
        ([_hit(3.55)], False, "hit 1 messages, and no saver call that waited for one of them failed"),
    ],
)
def test_without_a_hit_that_was_felt_nothing_is_proved(hits: list[Json], error: bool, words: str) -> None:
    cell = _cell(error=error, took_s=0.1, hits=hits)
    finding = Exercised().check(cell.history, cell.facts(), BOUNDS)
    assert finding.verdict is Verdict.INVALID
    assert words in finding.summary
