"""Scenarios: load + fault plan + bounds, one file per family, free of any strategy."""
