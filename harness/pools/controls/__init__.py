"""Strategies that are known to be broken, as they are written in services. A run that does not catch them proves
nothing.
"""
