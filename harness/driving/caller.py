"""Makes the users' calls: through the strategy's ``serve``, recorded, watched, and never rescued before deadline + 12
s.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Mapping

from harness.core.history import ErrorInfo, OpType
from harness.core.pool import Answered, Degraded, Reply
from harness.core.redaction import redacted
from harness.core.scenario import Bounds
from harness.core.verdict import Json
from harness.core.workload import Action, Outcome
from harness.driving.exceptions import describe
from harness.driving.group import Group, cancel_hard
from harness.driving.recorder import CURRENT_CALL, Call, Recorder
from harness.driving.request import DrivenRequest
from harness.driving.traffic import CellTraffic
from harness.driving.watchdog import Watchdog

_TEXT_LIMIT = 300


class Caller:
    """One for the whole cell; calls may come from several loops. What it counts tells the runner when to go on."""

    def __init__(
        self,
        groups: Mapping[str, Group],
        *,
        bounds: Bounds,
        durability: str,
        recorder: Recorder,
        traffic: CellTraffic,
        watchdog: Watchdog,
    ) -> None:
        self._groups = groups
        self._bounds = bounds
        self._durability = durability
        self._recorder = recorder
        self._traffic = traffic
        self._watchdog = watchdog
        self._lock = threading.Lock()
        #  Calls answered since the last ``forget``: by kind, and by (group, agent) since that one last failed to
        # answer.
        self.answered: Counter[str] = Counter()
        self.answered_by: Counter[tuple[str, str]] = Counter()
        #: Kinds of call that were ever tried, and those that were ever answered.
        self.tried: set[str] = set()
        self.succeeded: set[str] = set()
        #: When the last call that was not answered ended, on the cell's clock.
        self.last_unanswered_s = 0.0
        #: Every thread that was used, with its agent; and the turn ids that were sent to it.
        self.threads: dict[str, str] = {}
        self.turns: dict[str, list[str]] = {}

    def forget(self) -> None:
        """Count answers from now on."""
        with self._lock:
            self.answered.clear()
            self.answered_by.clear()

    async def call(self, user: str, action: Action) -> Outcome:
        """Make one call and wait for its end, all attempts included."""
        group = self._groups[action.group]
        row = self._recorder.invoke(action.kind, user, self._invocation(user, action))
        request = DrivenRequest(
            group.replicas[action.agent],
            action,
            durability=self._durability,
            deadline_s=self._bounds.deadline_s,
            recorder=self._recorder,
            call=row,
            errors=group.strategy.errors,
        )
        self._note_use(action)
        CURRENT_CALL.set(row)  # the task below, and all that it starts, work for this call
        self._traffic.began()
        self._watchdog.opened(row, self._bounds.deadline_s)
        task = asyncio.ensure_future(group.strategy.serve(group.replicas[action.agent], request))
        try:
            await asyncio.wait({task}, timeout=self._bounds.deadline_s + self._bounds.hang_fail_s)
            hung = not task.done()
        finally:
            dead = await cancel_hard(task)
            self._watchdog.closed(row)
            self._traffic.ended()
        outcome = self._complete(row, action, request, task, hung, group.strategy.errors)
        if not await request.settle() or not dead or row.open_writes:
            # LangGraph does not cancel a run's saves, and a second cancellation makes it leave without awaiting them.
            return Outcome("hung")
        return outcome

    def _invocation(self, user: str, action: Action) -> dict[str, Json]:
        value: dict[str, Json] = {
            "user": user,
            "agent": action.agent,
            "group": action.group,
            "replica": f"{action.group}/{action.agent}",
            "thread": action.turn.thread_id,
            "turn": action.turn.id,
            "attempt": action.attempt,
            "deadline_s": self._bounds.deadline_s,
        }
        if action.target:
            value["target"] = action.target
        return value

    def _note_use(self, action: Action) -> None:
        with self._lock:
            self.tried.add(action.kind)
            self.threads[action.turn.thread_id] = action.agent
            turns = self.turns.setdefault(action.turn.thread_id, [])
            if action.kind == "turn" and action.turn.id not in turns:
                turns.append(action.turn.id)

    def _complete(
        self,
        row: Call,
        action: Action,
        request: DrivenRequest,
        task: asyncio.Task[Reply],
        hung: bool,
        errors: tuple[type[BaseException], ...],
    ) -> Outcome:
        """Record how the call ended, and say it to the user."""
        extra: dict[str, Json] = {"hung": True} if hung else {}
        if hung or not task.done() or task.cancelled():
            error: BaseException | None = None
            info = ErrorInfo("CancelledError", "the call ended in a cancellation", ("CancelledError", "BaseException"))
            if hung:
                info = ErrorInfo(
                    "TimeoutError", "no answer by deadline + 12 s; the harness cancelled", ("TimeoutError",)
                )
        else:
            error = task.exception()
            info = describe(error, errors) if error is not None else ErrorInfo("", "")
            if error is None:
                reply: object = task.result()
                if isinstance(reply, Answered):
                    return self._answered(row, action, reply)
                if isinstance(reply, Degraded):
                    code = redacted(reply.code)[:_TEXT_LIMIT]
                    extra |= {"refused": True, "code": code, "retry_after_s": reply.retry_after_s}
                    self._unanswered(row, OpType.INFO, extra, None)
                    return Outcome("info")
                text = f"serve() returned {redacted(repr(reply))[:100]}; allowed: Answered or Degraded"
                info = ErrorInfo("TypeError", text, ("TypeError", "Exception", "BaseException"))
        sure = (
            error is not None
            and row.writes == 0
            and request.settled
            and not isinstance(error, TimeoutError | asyncio.CancelledError)
        )
        self._unanswered(row, OpType.FAIL if sure else OpType.INFO, extra, info)
        return Outcome("fail" if sure else "info")

    def _answered(self, row: Call, action: Action, reply: Answered) -> Outcome:
        value: dict[str, Json] = {
            "text": redacted(reply.text)[:_TEXT_LIMIT],
            "turns": list(reply.turns),
            "waiting": list(reply.waiting),
        }
        self._recorder.complete(row, OpType.OK, value)
        with self._lock:
            self.succeeded.add(action.kind)
            self.answered[action.kind] += 1
            self.answered_by[action.group, action.agent] += 1
        return Outcome("ok", waiting=reply.waiting, turns=reply.turns)

    def _unanswered(self, row: Call, kind: OpType, value: dict[str, Json], error: ErrorInfo | None) -> None:
        self._recorder.complete(row, kind, value, error)
        with self._lock:
            self.last_unanswered_s = self._recorder.clock.now_s()
            # it has to show itself again
            self.answered_by.pop((str(row.value["group"]), str(row.value["agent"])), None)
