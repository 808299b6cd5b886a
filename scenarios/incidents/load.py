"""Who calls where an incident is shown, and how soon all must be served again.

A user for each agent is enough to show a symptom that is no matter of load. And what is asked is whether a cure brings
everybody back at all: how fast it does is measured in the other families, on the same faults and with ten users.
"""

from __future__ import annotations

from harness.core.scenario import Bounds
from harness.workloads.closed_loop import ClosedLoop

ONE_EACH = ClosedLoop(users_n=5)
BACK = Bounds(recover_s=6.0, recover_why="an incident asks whether everybody is served again, not how fast")
