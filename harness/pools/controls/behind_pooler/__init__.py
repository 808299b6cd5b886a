"""Controls behind a PgBouncer, one a file: they run where a scenario names them."""
