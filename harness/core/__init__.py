"""The vocabulary: small frozen types and protocols that everything else speaks.

Nothing here does I/O, and nothing here imports any other part of Poolproof. Read in this order: ``verdict`` (what
is decided), ``history`` (what happened), ``pool`` and ``agent`` (what is under test), ``fault`` and ``environment``
(what goes wrong, and where), ``workload`` and ``scenario`` (the experiment), ``cell`` and ``record`` (the unit that
runs, and what is reported of it).
"""
