"""Candidates behind a PgBouncer that is newer, or set up otherwise: they run where a scenario names them."""
