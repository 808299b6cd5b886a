"""Makes the users' calls where the replica groups are processes: through a balancer, as a client of containers does."""

from __future__ import annotations

from dataclasses import replace

from harness.core.scenario import Bounds
from harness.core.workload import Action, Outcome
from harness.driving.caller import Caller
from harness.driving.ending import Ending
from harness.driving.recorder import Recorder
from harness.driving.replica_link import lost
from harness.driving.replicas import Replicas
from harness.driving.traffic import CellTraffic
from harness.driving.watchdog import Watchdog


class DistantCaller(Caller):
    """A call is recorded here, by its user, and served there. Calls come from the cell's own loop only."""

    def __init__(
        self,
        replicas: Replicas,
        *,
        bounds: Bounds,
        durability: str,
        recorder: Recorder,
        traffic: CellTraffic,
        watchdog: Watchdog,
    ) -> None:
        super().__init__(
            {}, bounds=bounds, durability=durability, recorder=recorder, traffic=traffic, watchdog=watchdog
        )
        self._replicas = replicas

    async def call(self, user: str, action: Action) -> Outcome:
        """Make one call and wait for its end, as far as its user can know of it."""
        link = self._replicas.taker(action.group)
        asked = action.group
        action = replace(action, group=asked if link is None else link.group)
        value = self._invocation(user, action)
        if action.group != asked:
            value["asked"] = asked
        row = self._recorder.invoke(action.kind, user, value)
        self._note_use(action)
        outcome = Outcome("hung")

        def tell(ending: Ending) -> None:
            nonlocal outcome
            outcome = self._tell(row, action, ending)

        if link is None:
            tell(lost("refused", ordered=False))
            return outcome
        self._traffic.began()
        self._watchdog.opened(row, self._bounds.deadline_s)

        def ended(ending: Ending) -> None:
            self._watchdog.closed(row)
            self._traffic.ended()
            tell(ending)

        limits_s = (self._bounds.deadline_s, self._bounds.hang_fail_s)
        clean = await link.call(row, action, limits_s, ended)
        return outcome if clean else Outcome("hung")
