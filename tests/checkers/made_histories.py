"""Makes histories by hand, row by row, and the facts that an honest system would leave behind."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from harness.core.facts import Facts, ThreadFacts
from harness.core.history import ErrorInfo, History, Op, OpType
from harness.core.scenario import Bounds
from harness.core.verdict import Finding, Json, Verdict

AGENT = "SupervisorAgent"
THREAD = f"{AGENT}.u0.0"
BOUNDS = Bounds()

OPERATIONAL = ErrorInfo(
    "OperationalError",
    "the connection is lost",
    ("OperationalError", "DatabaseError", "Error", "Exception", "BaseException"),
    declared=True,
)
TIMEOUT = ErrorInfo("TimeoutError", "", ("TimeoutError", "OSError", "Exception", "BaseException"), declared=True)
CANCELLED = ErrorInfo("CancelledError", "", ("CancelledError", "BaseException"))
CLOSED = ErrorInfo(
    "PoolClosed",
    "the pool 'g0-1' is already closed",
    ("PoolClosed", "OperationalError", "DatabaseError", "Error", "Exception", "BaseException"),
    pool_closed=True,
)


class MadeCell:
    """Rows in the order in which they are made; ``now_s`` goes on by itself, and may be set to any later time."""

    def __init__(self) -> None:
        self.rows: list[Op] = []
        self.now_s = 0.0
        self.state: dict[str, list[str]] = {}
        self.answers: dict[str, list[str]] = {}
        self._calls: dict[int, Op] = {}

    def row(
        self,
        kind: OpType,
        f: str,
        process: str,
        value: dict[str, Json],
        call: int | None = None,
        error: ErrorInfo | None = None,
    ) -> Op:
        """Append one row at ``now_s``."""
        op = Op(len(self.rows), self.now_s, kind, f, process, call, value, error)
        self.rows.append(op)
        return op

    def point(self, f: str, process: str, value: dict[str, Json]) -> Op:
        """A row without a call."""
        return self.row(OpType.INFO, f, process, value)

    def phase(self, name: str) -> None:
        self.point("phase", "runner", {"name": name})

    def invoke(self, f: str, process: str, value: dict[str, Json]) -> int:
        """Begin an operation; the number is for :meth:`complete`."""
        number = len(self._calls) + 1
        self._calls[number] = self.row(OpType.INVOKE, f, process, value, number)
        return number

    def complete(
        self,
        call: int,
        kind: OpType = OpType.OK,
        value: dict[str, Json] | None = None,
        error: ErrorInfo | None = None,
    ) -> Op:
        """End it."""
        begun = self._calls[call]
        return self.row(kind, begun.f, begun.process, value or {}, call, error)

    # -- calls of users -------------------------------------------------------------------------------------------

    def begin(
        self, kind: str = "turn", turn: str = "t1", *, thread: str = THREAD, group: str = "g0", **more: Any
    ) -> int:
        """A user's call, begun now. ``turn`` is the part of its id after the thread, or a whole id."""
        agent, user = thread.split(".")[:2]
        identity = turn if "/" in turn else f"{thread}/{turn}"
        value: dict[str, Json] = {
            "user": user,
            "agent": agent,
            "group": group,
            "replica": f"{group}/{agent}",
            "thread": thread,
            "turn": identity,
            "attempt": 1,
            "deadline_s": 8.0,
            **more,
        }
        if kind == "turn":
            self.state.setdefault(thread, [])  # the final reads look at each thread that a turn was sent to
        return self.invoke(kind, user, value)

    def call(
        self,
        kind: str = "turn",
        turn: str = "t1",
        *,
        thread: str = THREAD,
        group: str = "g0",
        status: str = "ok",
        took_s: float = 0.1,
        turns: Sequence[str] | None = None,
        waiting: Sequence[str] = (),
        error: ErrorInfo | None = None,
        value: dict[str, Json] | None = None,
        **more: Any,
    ) -> int:
        """A whole call. An ``ok`` turn is stored and answered honestly, unless ``turns`` says what its reply shows."""
        number = self.begin(kind, turn, thread=thread, group=group, **more)
        identity = turn if "/" in turn else f"{thread}/{turn}"
        self.now_s += took_s
        reply: dict[str, Json] = {}
        if status == "ok":
            self._store(kind, identity, thread, bool(waiting), more.get("target", ""))
            shown = self.state.get(thread, []) if turns is None else list(turns)
            reply = {"turns": list(shown), "text": "fine", "waiting": list(waiting)} if kind != "delete" else {}
        if status == "refused":
            self.complete(number, OpType.INFO, {"refused": True, "code": "busy", "retry_after_s": 1.0, **(value or {})})
        elif status != "open":
            plain = error if error is not None else None if status == "ok" else OPERATIONAL
            self.complete(number, OpType(status), {**reply, **(value or {})}, plain)
        return number

    def _store(self, kind: str, turn: str, thread: str, waiting: bool, target: str) -> None:
        held, answers = self.state.setdefault(thread, []), self.answers.setdefault(thread, [])
        if kind == "turn" and turn not in held:
            held.append(turn)
        if kind in ("turn", "resume") and not waiting and turn not in answers:
            answers.append(turn)
        if kind == "fork" and target in held:
            del held[held.index(target) :]
            answers[:] = [answer for answer in answers if answer in held]
        if kind == "delete":
            held.clear()
            answers.clear()

    def save(
        self,
        f: str = "aput",
        *,
        parent: int | None = None,
        thread: str = THREAD,
        group: str = "g0",
        turn: str = "t1",
        took_s: float = 0.01,
        error: ErrorInfo | None = None,
    ) -> int:
        """A saver call."""
        agent = thread.split(".")[0]
        number = self.invoke(f, f"{group}/{agent}", {"thread": thread, "parent": parent, "turn": f"{thread}/{turn}"})
        self.now_s += took_s
        self.complete(number, OpType.OK if error is None else OpType.INFO, {}, error)
        return number

    def attempt(self, parent: int, n: int = 1, *, error: ErrorInfo | None = None, took_s: float = 0.05) -> None:
        """An attempt inside a call."""
        number = self.invoke("attempt", "u0", {"parent": parent, "n": n, "step": "send"})
        self.now_s += took_s
        self.complete(number, OpType.OK if error is None else OpType.INFO, {}, error)

    # -- faults and samples ---------------------------------------------------------------------------------------

    def strike(self, number: int = 0, *, kind: str = "reset_peer", effect: str = "disturbs", **more: Any) -> None:
        """A window begins."""
        value: dict[str, Json] = {
            "window": number,
            "fault": {"kind": kind},
            "kind": kind,
            "usable": False,
            "effect": effect,
            "delay_ms": 0.0,
            "holds_connections": False,
            "needs_in_flight": 0,
            "needs": ["toxiproxy"],
            "in_flight": 3,
            **more,
        }
        call = self.invoke("fault", "faults", value)
        self.complete(call, OpType.OK, {"window": number, "change": {"toxic": kind}})

    def heal(self, number: int = 0, **change: Json) -> None:
        """It ends; ``change`` is what the component says last."""
        self.complete(
            self.invoke("heal", "faults", {"window": number}), OpType.OK, {"window": number, "change": change}
        )

    def sample(self, **backends: Sequence[int]) -> None:
        """A row of the sampler."""
        self.sample_row(**backends)

    def sample_row(self, **backends: Sequence[int]) -> int:
        """The same; its index."""
        value: dict[str, Json] = {"backends": {group: list(pids) for group, pids in backends.items()}}
        return self.point("connections", "sampler", value).index

    def everybody(self, *, status: str = "ok", took_s: float = 0.05, round_: int = 0) -> None:
        """One turn on each of two groups, by a user of its own thread."""
        for number, group in enumerate(("g0", "g1")):
            self.call(
                "turn", f"t{round_}", thread=f"{AGENT}.u{number + 1}.0", group=group, status=status, took_s=took_s
            )

    # -- ends -----------------------------------------------------------------------------------------------------

    def gate(self) -> None:
        """Load without faults: both groups answer, backends are seen, everything is as it should be."""
        self.phase("gate")
        self.sample(g0=[1, 2], g1=[3, 4])
        for _ in range(5):
            self.save("aput")
        self.everybody(round_=1)
        answered: dict[str, Json] = {f"g0/{AGENT}": 1, f"g1/{AGENT}": 1}
        self.point("gate", "runner", {"kinds": {"turn": 2}, "agents": [AGENT], "answered": answered})
        self.phase("drive")

    def end(self) -> None:
        """The phases after driving."""
        for name in ("converged", "quiet", "final_reads", "teardown", "end"):
            self.phase(name)

    @property
    def history(self) -> History:
        return History(self.rows)

    def facts(self, *, thread: str = THREAD, **changes: Any) -> Facts:
        """What an honest system holds; ``changes`` are made to the facts of ``thread``."""
        threads = {name: self._honest(name, held) for name, held in self.state.items()}
        if changes:
            threads[thread] = dataclasses.replace(threads.get(thread) or self._honest(thread, []), **changes)
        tables = tuple(name for name, facts in threads.items() if facts.exists)
        return Facts(threads=threads, table_threads=tables, leftover_backends={"g0": 0, "g1": 0})

    def _honest(self, name: str, held: Sequence[str]) -> ThreadFacts:
        answers = tuple(self.answers.get(name, ()))
        return ThreadFacts(
            thread=name,
            agent=name.split(".")[0],
            exists=bool(held),
            turns=tuple(held),
            answers=answers,
            effects=tuple(f"{turn}/node" for turn in answers),
            waiting=tuple(f"{turn}!" for turn in held if turn not in answers),
            sql_turns=tuple(held),
            history_turns=tuple(held),
            checkpoints=len(held),
        )


def turns_of(*numbers: int, thread: str = THREAD) -> tuple[str, ...]:
    """``t1`` ... of a thread, as whole ids."""
    return tuple(f"{thread}/t{number}" for number in numbers)


def shows(finding: Finding, verdict: Verdict, *codes: str) -> None:
    """Assert the verdict and the anomaly codes of a finding."""
    assert (finding.verdict, finding.codes) == (verdict, codes), finding
