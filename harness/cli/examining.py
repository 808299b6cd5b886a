"""``poolproof doctor``: what was found, where, in which version, and the fix for what was not."""

from __future__ import annotations

import dataclasses
import json

import click

from harness.cli.ending import COMPONENT, KEPT, Ending


def examine(*, as_json: bool) -> Ending:
    """Print every check; exit 4 if something is missing."""
    from harness.environments.doctor import diagnose

    checks = diagnose()
    missing = sum(not check.ok for check in checks)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(check) for check in checks], indent=1))
    for check in () if as_json else checks:
        facts = "  ".join(part for part in (check.version, check.where) if part) or "not found"
        chosen = f"  ({check.chosen_by})" if check.chosen_by else ""
        click.echo(f"{'✓' if check.ok else '✗'} {check.name:<30}  {facts}{chosen}")
        if check.fix:
            click.echo(f"    {'note' if check.ok else 'fix'}: {check.fix}")
    found = f"{missing} of {len(checks)} checks found a problem" if missing else "everything is there"
    return Ending(COMPONENT if missing else KEPT, found, line=not as_json)
