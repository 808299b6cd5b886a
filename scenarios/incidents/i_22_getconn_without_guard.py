"""Requests are cancelled between the checkout of a connection and the try that would give it back."""

from __future__ import annotations

from harness.core.fault import Window
from harness.core.incident import Incident
from harness.core.scenario import Scenario
from harness.core.verdict import Guarantee
from harness.faults.client_gone import ClientGone

from .load import ONE_EACH

SCENARIO = Scenario(
    name="incidents/i_22_getconn_without_guard",
    title="The pool hangs after cancellations, although its own numbers look well",
    why=(
        "Clients go away while network and database are well. Whoever goes between the checkout and the try takes a "
        "connection along, and once as many went as the pool has connections it is empty for good."
    ),
    question=4,
    load=ONE_EACH,
    plan=(Window(ClientGone(share=0.9, awaits=60), 0.0, 6.0),),
    must_catch=(("getconn_without_guard", Guarantee.RECOVERS),),
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
