"""Configurations that people had when they reported an incident in public, kept as close to the report as can be.

They run in the scenarios of ``scenarios/incidents`` and nowhere else, and have to show there what those people saw.
"""
