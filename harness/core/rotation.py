"""What a password becomes when it is rotated.

The fault sets it, and a strategy that asks for the password anew is told: in production a secret store knows both.
"""

from __future__ import annotations


def rotated(password: str) -> str:
    """The next one."""
    return f"rotated-{password}"
