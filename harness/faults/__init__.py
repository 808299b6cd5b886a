"""One fault per file: a frozen dataclass whose fields are its configuration; ``active`` does the damage, leaving it
heals.
"""
