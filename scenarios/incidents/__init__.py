"""Incidents that people reported in public, each in a file of its own: what they saw, and what cures it.

The red arm is the configuration that they had and must show their symptom, matched by its text; the green arm is the
cure and must keep every guarantee; both run under one plan. ``docs/incidents.md`` has the whole catalogue.
"""
