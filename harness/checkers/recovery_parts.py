"""Where the time goes between the heal and the first save that succeeds: four parts, each from the history alone.

The parts follow one another and add up to ``recovery_first_save_s``. They are of the replica group that saved last of
all for the first time, since that one decides how long users waited.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from harness.checkers.reading import Reading, SaverCall
from harness.core.history import ErrorInfo
from harness.core.verdict import Json

#: Errors of a connection that is dead or silent; those of somebody who waited for one and got none say nothing of it.
_OF_CONNECTIONS = frozenset({"OperationalError", "TimeoutError"})
_WAITED = frozenset({"PoolTimeout", "TooManyRequests", "PoolClosed", "CancelledError"})


class Parts(NamedTuple):
    """Seconds. ``detection_s``: nothing had told the group anything yet: no call to the saver, health check or
    re-creation had ended, no new connection had appeared. ``stale_s``: until the last call to the saver that failed on
    a connection. ``backoff_s``: until the first connection newer than the heal. ``saving_s``: the rest.

    New connections are seen by samples 100 ms apart. Behind a pooler they are the pooler's.
    """

    detection_s: float
    stale_s: float
    backoff_s: float
    saving_s: float

    @property
    def all_s(self) -> float:
        """From the heal to the end of the first save begun after it, or under way then, that succeeded."""
        return sum(self)


def recovery_parts(reading: Reading) -> dict[str, Json]:
    """Empty without windows, or if a group that called never saved again."""
    healed_s = reading.healed_s
    if healed_s is None:
        return {}
    groups = {call.group for call in reading.calls}
    by_group: defaultdict[str, list[SaverCall]] = defaultdict(list)
    for saver in reading.saver_calls:
        if saver.ended_s is not None and saver.ended_s >= healed_s:
            by_group[saver.replica.partition("/")[0]].append(saver)
    found = [_parts(group, by_group[group], reading, healed_s) for group in sorted(groups)]
    known = [parts for parts in found if parts is not None]
    if not known or len(known) < len(found):
        return {}
    slowest = max(known, key=lambda parts: parts.all_s)
    split = {f"recovery_{name}": round(value, 3) for name, value in slowest._asdict().items()}
    return {"recovery_first_save_s": round(slowest.all_s, 3), **split}


def _parts(group: str, savers: Sequence[SaverCall], reading: Reading, healed_s: float) -> Parts | None:
    saved = [saver for saver in savers if saver.f == "aput" and saver.end is not None and saver.end.error is None]
    first = min(saved, key=_ended_s, default=None)
    if first is None:
        return None
    ended_s = _ended_s(first)
    connected_s = _connected_s(group, reading, healed_s)
    told_s = [_ended_s(saver) for saver in savers]
    for f in ("ensure_healthy", "recreate"):
        told_s += [end.time_s for op, end in reading.pairs(f) if end is not None and op.process == group]
    told_s += [max(first.began_s, healed_s)]
    detected_s = min(
        [time_s for time_s in told_s if time_s >= healed_s] + ([] if connected_s is None else [connected_s])
    )
    dead_s = [_ended_s(s) for s in savers if s.end is not None and _of_connection(s.end.error)]
    stale_s = max([detected_s, *(time_s for time_s in dead_s if time_s <= ended_s)])
    retried_s = stale_s if connected_s is None else max(stale_s, min(connected_s, ended_s))
    return Parts(detected_s - healed_s, stale_s - detected_s, retried_s - stale_s, ended_s - retried_s)


def _ended_s(saver: SaverCall) -> float:
    assert saver.ended_s is not None
    return saver.ended_s


def _of_connection(error: ErrorInfo | None) -> bool:
    if error is None:
        return False
    return error.type not in _WAITED and not _OF_CONNECTIONS.isdisjoint((error.type, *error.classes))


def _connected_s(group: str, reading: Reading, healed_s: float) -> float | None:
    """When a backend was first seen in ``group`` that was not there before the heal; None if none was."""
    at = bisect_right(reading.samples, healed_s, key=lambda sample: sample.time_s)
    old: frozenset[int] = frozenset()
    for sample in reading.samples[:at]:
        old |= (sample.backends or {}).get(group, frozenset())
    for sample in reading.samples[at:]:
        if (sample.backends or {}).get(group, frozenset()) - old:
            return sample.time_s
    return None
