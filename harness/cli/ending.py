"""How a command ends: its exit status, the last line on stdout, and what the user sees of an error.

Nobody but the authors should ever have to read a traceback: wrong input is one sentence, and an error of our own is one
sentence and the path of a file to send in.
"""

from __future__ import annotations

import io
import os
import platform
import re
import shlex
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import click

from harness.cli.secret_arguments import hide_secrets
from harness.core.errors import ComponentError, MissingComponent, UsageError
from harness.core.redaction import RedactedStream, redacted

KEPT, BROKEN, USAGE, UNPROVED, COMPONENT, NOTHING, BUG, INTERRUPTED = 0, 1, 2, 3, 4, 5, 70, 130

_SECRETS = (
    (re.compile(r"password\s*=\s*('(?:[^'\\]|\\.)*'|\S+)"), "password=***"),
    (re.compile(r"(\w+://[^\s:/@]*):[^\s@]+@"), r"\1:***@"),
)


class _Stdout(RedactedStream):
    """Standard output that may lose its reader (``| head``): the rest goes nowhere, the exit status stays."""

    def write(self, text: str) -> int:
        """See the class."""
        try:
            return super().write(text)
        except BrokenPipeError:
            _drop_stdout()
            return len(text)

    def flush(self) -> None:
        """See the class."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            _drop_stdout()


@dataclass(frozen=True, slots=True)
class Ending:
    """The exit status of a command and why; ``line`` False keeps stdout to the data alone (``--json``, lists)."""

    status: int
    reason: str
    line: bool = True


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status and never raises."""
    args = list(sys.argv[1:] if argv is None else argv)
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Stdout(sys.stdout), RedactedStream(sys.stderr)
    try:
        return _main(args, blot=argv is None)
    finally:
        sys.stdout, sys.stderr = streams


def _main(args: list[str], *, blot: bool) -> int:
    from harness.cli.app import app

    hide_secrets(args, blot=blot)
    ending = _ended(lambda: app.main(args, prog_name="poolproof", standalone_mode=False, obj=args), args)
    if ending.line:
        click.echo(f"exit {ending.status} {ending.reason}")
    sys.stdout.flush()
    return ending.status


def _ended(command: Callable[[], object], args: Sequence[str]) -> Ending:
    line = "--json" not in args
    try:
        ending = command()
        return ending if isinstance(ending, Ending) else Ending(KEPT, "", line=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return Ending(USAGE, "no command given", line)
    except click.ClickException as error:
        _show(error)
        return Ending(USAGE, "usage: see the message above", line)
    except UsageError as error:
        _complain(error)
        return Ending(USAGE, "usage: see the message above", line)
    except ComponentError as error:
        _complain(error)
        if isinstance(error, MissingComponent):
            click.echo(f"fix: {error.fix}", err=True)
        return Ending(COMPONENT, "a component could not start or would not heal", line)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return Ending(INTERRUPTED, "interrupted", line)
    except Exception as error:  # noqa: BLE001 - the last frontier: the user gets a sentence and a file
        click.echo(f"poolproof itself failed: {_hidden(_one_line(error))}", err=True)
        click.echo(f"please send this file with a report of the bug: {_bug_file(args)}", err=True)
        return Ending(BUG, "a bug of poolproof's own", line)


def _show(error: click.ClickException) -> None:
    """click's own words, without the password of a misspelt option."""
    said = io.StringIO()
    error.show(file=said)
    click.echo(_hidden(said.getvalue()), err=True, nl=False)


def _complain(error: Exception) -> None:
    click.echo(f"error: {_hidden(_one_line(error, with_type=False))}", err=True)


def _one_line(error: Exception, *, with_type: bool = True) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if with_type else text


def _hidden(text: str) -> str:
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return redacted(text)


def _bug_file(args: Sequence[str]) -> str:
    """Write what a bug report needs, passwords left out, and return where it is."""
    from harness import __version__

    facts = (
        f"poolproof {__version__}\npython {platform.python_version()} on {platform.platform()}\n"
        f"command poolproof {shlex.join(args)}\n\n{traceback.format_exc()}"
    )
    try:
        handle, path = tempfile.mkstemp(prefix="poolproof-bug-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(_hidden(facts))
    except OSError as error:
        return f"(it could not be written: {error})"
    return path


def _drop_stdout() -> None:
    """Whoever read stdout is gone: let the interpreter's own flush at exit go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
