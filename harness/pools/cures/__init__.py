"""Cures of single incidents that are no strategy for a whole service: they run in ``scenarios/incidents`` alone."""
