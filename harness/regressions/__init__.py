"""Incidents that are bound to versions, run in environments of their own: which version shows which.

``catalogue`` reads what is expected (a file beside each script), ``installing`` makes an environment for each set of
versions, ``running`` runs a script in one against a Postgres of its own, ``table`` compares and renders. It downloads
from the package index, so nothing else starts it: ``nox -s regressions``, or ``python -m harness.regressions``.
"""
