"""Requests are cancelled between the checkout of a connection and the try that would give it back."""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.incident import Incident
from harness.core.scenario import Bounds, Scenario
from harness.faults.black_hole import BlackHole

from .load import ONE_EACH

SCENARIO = Scenario(
    name="incidents/i_22_getconn_without_guard",
    title="The pool hangs after cancellations, although its own numbers look well",
    why="Clients go away while the network is silent, each takes a connection with it, and then the pool is empty.",
    question=4,
    load=ONE_EACH,
    plan=(Window(BlackHole(), 0.0, 8.0),),
    bounds=Bounds(deadline_s=3.0, recover_s=6.0, recover_why="calls of 3 s hang until the silence ends"),
    full_only=True,
    durabilities=("async",),
    incident=Incident(
        number=22,
        repo="Arfey/django-async-backend",
        issue=28,
        symptom=r"PoolTimeout: couldn't get a connection after 1\.00 sec",
        red="getconn_without_guard",
        green="self_healing",
    ),
)
