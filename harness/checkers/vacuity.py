"""The conditions without which a cell proves nothing, each from evidence in its own history.

Each condition is a function from the evidence to the gaps in it. A gap says what was vacuous and what to do about it.
The bounds were chosen on 260 windows of 220 cells of candidates, run three abreast on two busy cores: none came near
them (what was seen stands beside each; ``python -m tests.vacuity.bounds RUN`` says it of any run).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

from harness.checkers.effects import unseen
from harness.checkers.reading import Call, Damage, Reading, number, strings
from harness.core.environment import Capability
from harness.core.facts import Facts
from harness.core.fault import Effect
from harness.core.history import CALLS, Op, OpType
from harness.core.vacuity import Vacuity
from harness.core.verdict import Json

#: A re-creation is judged so long after it ended, at most; earlier if driving ends, but not before the grace is over.
RENEWED_WITHIN_S = 5.0
RENEWED_GRACE_S = 3.0
#: So much of a cell's turns may be left with an unknown fate. Seen: 18 %.
UNKNOWN_SHARE = 0.5
#: A window may miss its planned length, or the machine may stand still in it, by this share, and by this many seconds
#: in any case: the watchdog tells nothing shorter than 0.2 s. Seen: 0.25 s.
CLOCK_SHARE = 0.1
CLOCK_S = 0.5
#: More looks at the database than this must not fail under damage that leaves its own endpoint alone. Seen: none.
BLIND_LOOKS = 1

#: What the effects prove: connections were touched, calls were in the state that was asked for, operations felt it.
_PROVES: Mapping[str, Vacuity] = {
    Effect.RENEWS: Vacuity.V2,
    Effect.LINGERS: Vacuity.V2,
    Effect.RECREATES: Vacuity.V3,
    Effect.CHECKS: Vacuity.V3,
    Effect.SETS_UP: Vacuity.V3,
    Effect.STRANDS: Vacuity.V3,
    Effect.DRAINS: Vacuity.V3,
}
_ADVICE: Mapping[Vacuity, str] = {
    Vacuity.V2: "strike while connections stand open, and check that agents connect through the proxy",
    Vacuity.V3: "raise the load, or let the fault wait for the state that it needs",
    Vacuity.V4: "make the fault stronger or longer, and check that agents connect through the proxy",
}
#: What stands between agents and the database, and not on the harness' own way.
_OF_THE_WAY = frozenset({Capability.TOXIPROXY.value, Capability.PROTOCOL.value})
_SEE_LOGS = "see the cell's logs, run it again"


class Gap(NamedTuple):
    """One condition that was not met. ``code`` is None where the records themselves are not whole.

    ``host`` is as in ``Flaw``.
    """

    code: Vacuity | None
    text: str
    advice: str
    rows: tuple[int, ...] = ()
    host: bool = False

    def __str__(self) -> str:
        return f"{f'{self.code}: ' if self.code else ''}{self.text}; {self.advice}"


class Evidence:
    """One cell's history and facts, with what several conditions need."""

    def __init__(self, reading: Reading, facts: Facts) -> None:
        self.reading = reading
        self.facts = facts
        gate = reading.points("gate")
        self.gate: Mapping[str, Json] = gate[-1].value if gate else {}
        self.gate_rows = (gate[-1].index,) if gate else ()
        self.kinds: set[str] = set()
        self.answered_kinds: set[str] = set()
        self.answered_replicas: set[str] = set()
        self.threads: dict[str, None] = {}
        self.last_began_s = 0.0
        for call in reading.calls:
            self.kinds.add(call.kind)
            self.last_began_s = call.began_s
            if call.kind == "turn":
                self.threads[call.thread] = None
            if call.status == "ok":
                self.answered_kinds.add(call.kind)
                self.answered_replicas.add(f"{call.group}/{call.agent}")

    @cached_property
    def orders(self) -> dict[int, Op]:
        """The row that began each window, by its index."""
        return {op.index: op for op, _ in self.reading.pairs("fault")}

    @cached_property
    def met(self) -> dict[int, list[Call]]:
        """The calls that were under way during each window, by the row that began it."""
        found: dict[int, list[Call]] = {damage.row: [] for damage in self.reading.damages}
        if not found:
            return found
        spans = [(damage.row, damage.began_s, damage.ended_s) for damage in self.reading.damages]
        first_s, last_s = min(span[1] for span in spans), max(span[2] for span in spans)
        for call in self.reading.calls:
            ended_s = self.reading.end_s if call.ended_s is None else call.ended_s
            if call.began_s > last_s or ended_s < first_s:
                continue
            for row, began_s, healed_s in spans:
                if call.began_s <= healed_s and ended_s >= began_s:
                    found[row].append(call)
        return found

    def in_flight(self, damage: Damage, row: int | None = None) -> list[Call]:
        """The calls whose rows say that they were under way when the window began, or at ``row``."""
        at = damage.row if row is None else row
        return [
            call
            for call in self.met[damage.row]
            if call.invoke.index < at and (call.end is None or call.end.index > at)
        ]

    @cached_property
    def installed_at(self) -> dict[int, Op]:
        """The row that says that a window stood, by the index of the row that began it."""
        return {op.index: end for op, end in self.reading.pairs("fault") if end is not None and end.type is OpType.OK}

    @cached_property
    def saves_of(self) -> frozenset[int]:
        """The numbers of the calls of which a save was begun."""
        return frozenset(
            saver.parent
            for saver in self.reading.saver_calls
            if saver.parent is not None and saver.f in ("aput", "aput_writes")
        )

    @cached_property
    def groups(self) -> list[str]:
        """The replica groups, as the samples of the backends name them, else as the calls do."""
        sampled = {group for sample in self.reading.samples for group in sample.backends or ()}
        return sorted(sampled or {call.group for call in self.reading.calls})


Condition = Callable[[Evidence], Iterator[Gap]]


def whole(evidence: Evidence) -> Iterator[Gap]:
    """The records are there from the first phase to the last."""
    if evidence.reading.torn:
        yield Gap(None, "the history ends in the middle of a row: its writer died", _SEE_LOGS)
    for phase, words in (
        ("gate", "load never began"),
        ("drive", "the gate never ended"),
        ("end", "the cell never ended"),
    ):
        if phase not in evidence.reading.phases:
            yield Gap(None, f"{words}: there is no phase {phase!r} in the history", _SEE_LOGS)


def installed(evidence: Evidence) -> Iterator[Gap]:
    """V1."""
    for damage in evidence.reading.damages:
        rows = (damage.row,)
        if not damage.installed:
            words, advice = "was never installed", "the component refused it: see its log and the error of this row"
            yield Gap(Vacuity.V1, f"{damage} {words}", advice, rows)
        elif not (damage.change or evidence.installed_at[damage.row].value.get("change")):
            words = "read nothing back from the component, so nothing shows that it stood"
            yield Gap(Vacuity.V1, f"{damage} {words}", "put what the component says into Witness.change", rows)
        if damage.installed and not damage.healed:
            yield Gap(Vacuity.V1, f"{damage} was never healed", "see the component's log, run the cell again", rows)


def touched(evidence: Evidence) -> Iterator[Gap]:
    """V2 to V4: the window met traffic, calls were in flight, and they felt it."""
    for damage in evidence.reading.damages:
        if not damage.installed:
            continue
        rows = (damage.row,)
        if damage.needs_in_flight:
            if not _met_saves(evidence, damage):
                words = "met no traffic: no saver call was under way or began in it"
                yield Gap(Vacuity.V2, f"{damage} {words}", _ADVICE[Vacuity.V2], rows)
            had = len(evidence.in_flight(damage))
            if had < damage.needs_in_flight:
                words = f"began with {had} calls in flight, {damage.needs_in_flight:.0f} are due"
                yield Gap(Vacuity.V3, f"{damage} {words}", _ADVICE[Vacuity.V3], rows)
        reason = unseen(damage, evidence.reading)
        if reason is not None:
            code = _PROVES.get(damage.effect, Vacuity.V4)
            yield Gap(code, f"{damage} {reason}", _ADVICE[code], rows, host=_yardstick_is_spoiled(evidence, damage))


def _yardstick_is_spoiled(evidence: Evidence, damage: Damage) -> bool:
    """True if the gate says what a fault must exceed to be felt, and the machine stood still in the gate."""
    reading = evidence.reading
    compared = damage.effect in (Effect.DISTURBS, Effect.DELAYS) and "tells" not in damage.change
    return compared and reading.host_stalls.overlaps(0.0, reading.gate_end_s)


def _met_saves(evidence: Evidence, damage: Damage) -> bool:
    return any(
        saver.began_s <= damage.ended_s and (saver.ended_s is None or saver.ended_s >= damage.began_s)
        for saver in evidence.reading.saver_calls
    )


def unaffected(evidence: Evidence) -> Iterator[Gap]:
    """V5: damage to the proxy leaves the way alone on which the harness itself looks at the database.

    Windows that damage something else at the same time are not judged.
    """
    failed_s = [op.time_s for op in evidence.reading.points("connections") if "error" in op.value]
    if not failed_s:
        return
    aimed = {damage.row: _aims_at_the_proxy(evidence, damage) for damage in evidence.reading.damages}
    for damage in evidence.reading.damages:
        alone = all(
            aimed[other.row]
            for other in evidence.reading.damages
            if other.began_s <= damage.ended_s and other.ended_s >= damage.began_s
        )
        blind = sum(damage.began_s <= time_s <= damage.ended_s for time_s in failed_s)
        if alone and blind > BLIND_LOOKS:
            words = f"{damage} was aimed at the proxy, and {blind} looks past the proxy failed as well"
            advice = "the database or the machine had a trouble of its own: see Postgres' log, run the cell again"
            yield Gap(Vacuity.V5, words, advice, (damage.row,))


def _aims_at_the_proxy(evidence: Evidence, damage: Damage) -> bool:
    """Or at nothing but the strategy: a re-creation that is ordered needs nothing of the environment."""
    value = evidence.orders[damage.row].value
    return "needs" in value and set(strings(value, "needs")) <= _OF_THE_WAY


def renewed(evidence: Evidence) -> Iterator[Gap]:
    """V6: no ordered re-creation left everything as it was.

    Judged by the backends' pids. Where a pooler stands before Postgres (``behind_pooler``) those are the pooler's and
    say nothing, so the strategy's own numbers must show it: a pool opened, or connections made, since.
    """
    reading = evidence.reading
    for op, end in reading.pairs("recreate"):
        if op.value.get("ordered") is not True or end is None or end.type is not OpType.OK:
            continue
        judged_s = min(end.time_s + RENEWED_WITHIN_S, reading.driving_end_s)
        if judged_s < end.time_s + RENEWED_GRACE_S:
            continue
        behind = op.value.get("behind_pooler") is True
        kept = _same_numbers(evidence, op, judged_s) if behind else _same_backends(evidence, op, judged_s)
        if kept:
            words = f"the re-creation of group {op.process} at {op.time_s:.2f} s renewed nothing: {kept}"
            advice = "let recreate() replace every connection, or drain the pool"
            yield Gap(Vacuity.V6, words, advice, (op.index, end.index))


def _same_backends(evidence: Evidence, op: Op, judged_s: float) -> str:
    before, after = evidence.reading.sample_at(op.time_s), evidence.reading.sample_at(judged_s)
    if before is None or after is None:
        return ""
    old = (before.backends or {}).get(op.process, frozenset())
    stayed = bool(old) and old <= (after.backends or {}).get(op.process, frozenset())
    return f"all its {len(old)} backends stayed" if stayed else ""


def _same_numbers(evidence: Evidence, op: Op, judged_s: float) -> str:
    reading = evidence.reading
    if any(
        pool.process == op.process and op.time_s <= pool.time_s <= judged_s and pool.value.get("event") == "open"
        for pool in reading.points("pool")
    ):
        return ""
    made = [
        (stats.time_s, number(stats.value, "connections_num", -1.0))
        for stats in reading.points("stats")
        if stats.process == op.process
    ]
    before = [count for time_s, count in made if time_s <= op.time_s and count >= 0]
    after = [count for time_s, count in made if op.time_s < time_s <= judged_s and count >= 0]
    if not before or not after or after[-1] != before[-1]:
        return ""
    return f"its pool had made {before[-1]:.0f} connections before it, and no more {judged_s - op.time_s:.1f} s later"


def _taken_away(evidence: Evidence) -> Iterator[Damage]:
    return (damage for damage in evidence.reading.damages if not damage.usable)


def answered(evidence: Evidence) -> Iterator[Gap]:
    """V7."""
    kinds = evidence.gate.get("kinds")
    if not isinstance(kinds, dict) or not kinds:
        yield Gap(
            Vacuity.V7,
            "the gate names no kind of call that it tried",
            _SEE_LOGS,
        )
        return
    tried = {kind for kind in kinds if kind in CALLS} | evidence.kinds
    for kind in sorted(tried - evidence.answered_kinds):
        words = f"no {kind} ever succeeded: each kind of call must, at some time, to prove anything"
        yield Gap(Vacuity.V7, words, f"drive longer (tail_s), or leave {kind} out of the load", evidence.gate_rows)
    for damage in evidence.reading.damages:
        # While another window takes the database away, nobody need be answered.
        away = any(d.began_s < damage.ended_s and damage.began_s < d.ended_s for d in _taken_away(evidence))
        answered = any(call.status == "ok" for call in evidence.met[damage.row])
        if damage.usable and damage.needs_in_flight and not (away or answered):
            words = f"nobody who met {damage} was ever answered, although it leaves the database usable"
            yield Gap(Vacuity.V7, words, "raise the deadline, or make the window longer", (damage.row,))
    healed_s = evidence.reading.healed_s
    if healed_s is not None and evidence.reading.calls and evidence.last_began_s < healed_s:
        words = "no call began after the last window had ended, so nothing shows what is left of the damage"
        yield Gap(Vacuity.V7, words, "drive longer (tail_s), or let the workload go on")


def known(evidence: Evidence) -> Iterator[Gap]:
    """V8: most turns were acknowledged in the end, or had certainly not begun to be saved."""
    turns = [call for call in evidence.reading.calls if call.kind == "turn"]
    begun: dict[str, int] = {}
    for call in turns:
        if call.status != "ok" and call.invoke.call in evidence.saves_of:
            begun.setdefault(call.turn, call.invoke.index)
    if not begun:
        return
    sure = {call.turn for call in turns if call.status == "ok"}
    sent = len({call.turn for call in turns})
    rows = [row for turn, row in begun.items() if turn not in sure]
    if len(rows) > UNKNOWN_SHARE * sent:
        words = (
            f"of {sent} turns {len(rows)} were begun to be saved and never acknowledged: "
            f"nothing can be asked of those ({UNKNOWN_SHARE:.0%} are allowed)"
        )
        yield Gap(Vacuity.V8, words, "let users repeat a turn, shorten the window, or drive longer", tuple(rows[:20]))


def read_back(evidence: Evidence) -> Iterator[Gap]:
    """V9."""
    unread = []
    for name in evidence.threads:
        thread = evidence.facts.threads.get(name)
        if thread is None or thread.turns is None or thread.sql_turns is None:
            unread.append(name)
    if unread:
        why = f": {evidence.facts.problems[0]}" if evidence.facts.problems else ""
        words = (
            f"{len(unread)} of {len(evidence.threads)} threads were not read back by both readers ({unread[0]}{why})"
        )
        yield Gap(Vacuity.V9, words, "see the cell's logs: the database did not answer at the end")


def took_part(evidence: Evidence) -> Iterator[Gap]:
    """V10."""
    agents = strings(evidence.gate, "agents")
    if evidence.gate and not agents:
        yield Gap(
            Vacuity.V10,
            "the gate names no agent",
            _SEE_LOGS,
            evidence.gate_rows,
        )
    due = {f"{group}/{agent}" for group in evidence.groups for agent in agents}
    for name in sorted(due - evidence.answered_replicas):
        words = f"{name} never answered, so it was not tested"
        yield Gap(Vacuity.V10, words, "give the load more users, or drive longer", evidence.gate_rows)


def through_the_proxy(evidence: Evidence) -> Iterator[Gap]:
    """V11, where the environment can tell (``route`` of the gate's row)."""
    if evidence.gate.get("route") is not True:
        return
    routes = evidence.reading.points("route")
    past: dict[str, int] = {}
    through: set[str] = set()
    for op in routes:
        past.update(dict.fromkeys(strings(op.value, "past"), op.index))
        through.update(strings(op.value, "through"))
    if past:
        first = next(iter(past))
        words = f"{len(past)} connections to the database did not come through the proxy ({first})"
        advice = "no fault can hit those: let the strategy connect with database.conninfo alone"
        yield Gap(Vacuity.V11, words, advice, tuple(dict.fromkeys(past.values())))
    served = {name.partition("/")[0] for name in evidence.answered_replicas}
    for group in sorted(served - through):
        words = f"no connection of group {group}, which answered calls, was ever traced to the proxy"
        yield Gap(Vacuity.V11, words, "let the strategy connect with database.conninfo alone")


def on_time(evidence: Evidence) -> Iterator[Gap]:
    """V14."""
    begun_s: dict[int, float] = {}
    for op, _ in evidence.reading.pairs("heal"):
        begun_s.setdefault(int(number(op.value, "window", -1.0)), op.time_s)
    advice = "the machine was too busy, or stopped: run the cell again, alone (--jobs 1)"
    for damage in evidence.reading.damages:
        order = evidence.orders[damage.row].value
        planned_s = number(order, "stop_s") - number(order, "start_s")
        if planned_s > 0 and damage.number in begun_s:
            ended_s = begun_s[damage.number]
            allowed_s = max(CLOCK_S, CLOCK_SHARE * planned_s)
            # Installing may take longer than the window: then the order itself was slow, and not the clock.
            stood = evidence.installed_at.get(damage.row)
            late_s = ended_s - max(damage.began_s + planned_s, stood.time_s if stood is not None else 0.0)
            early_s = damage.began_s + planned_s - ended_s
            if late_s > allowed_s or early_s > allowed_s:
                words = f"{damage} was planned for {planned_s:.2f} s and lasted {ended_s - damage.began_s:.2f} s"
                yield Gap(Vacuity.V14, words, advice, (damage.row,))
        stood_s = evidence.reading.standstills.covered_s(damage.began_s, damage.ended_s)
        if stood_s > max(CLOCK_S, CLOCK_SHARE * (damage.ended_s - damage.began_s)):
            words = f"the machine stood still for {stood_s:.2f} s of {damage}"
            yield Gap(Vacuity.V14, words, advice, (damage.row,), host=True)


def unjudged(evidence: Evidence) -> list[str]:
    """The conditions that this environment, or this old history, gives no evidence of, in words."""
    found = []
    if evidence.gate.get("route") is not True:
        found.append(f"{Vacuity.V11}: nothing here tells which way a connection went")
    if any("stop_s" not in op.value for op in evidence.orders.values()):
        found.append(f"{Vacuity.V14}: the history does not say how long its windows were to last")
    return found


CONDITIONS: tuple[Condition, ...] = (
    whole,
    installed,
    touched,
    unaffected,
    renewed,
    answered,
    known,
    read_back,
    took_part,
    through_the_proxy,
    on_time,
)
