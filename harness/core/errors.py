"""Poolproof's own errors. What a strategy or an agent raises is a finding, never one of these."""

from __future__ import annotations


class PoolproofError(Exception):
    """Base of everything that Poolproof itself raises on purpose; the message is fit for the user's eyes."""


class UsageError(PoolproofError):
    """The user's input is wrong: unknown name, bad plug-in file, impossible plan (exit 2)."""


class ComponentError(PoolproofError):
    """A real component could not start, died, or did not do what it was told (exit 4)."""


class MissingComponent(ComponentError):
    """A component cannot be had on this machine: the cell is SKIP, unless ``--require-all`` (then exit 4).

    ``fix`` says in one sentence what the user can do about it.
    """

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


class HealError(ComponentError):
    """A fault would not heal: the environment is thrown away (ERROR)."""


def kind_of(value: object) -> str:
    """``an int``, ``a list``: what a value is, as part of a sentence."""
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
