"""Real components up and down: Postgres, Toxiproxy and PgBouncer, on this machine or in containers.

``stack`` is the way in: a ``Stack`` is one Postgres and one Toxiproxy, and its ``cell`` gives one cell a database, a
proxy and, where asked, a PgBouncer of its own. One file per component (``postgres``, ``toxiproxy``, ``pgbouncer``),
one per provisioner (``local``, ``containers``); ``components`` decides which binaries are used, ``doctor`` reports
that decision without starting anything.
"""
