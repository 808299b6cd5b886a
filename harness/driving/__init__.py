"""What stands between the runner and the thing under test: it calls, records, watches and reads back.

Read in this order: ``recorder`` (rows of the history), ``saver`` and ``database`` (what a strategy is given, wrapped
so that the history sees it), ``replica`` and ``request`` (one agent, one call), ``group`` and ``traffic`` (a strategy
and its load), ``watchdog``, ``sampler`` and ``background`` (what happens beside the calls), ``final_reads`` (what is
really stored).
"""
