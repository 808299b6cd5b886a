"""The commands and their arguments. What a command needs is imported when it runs, so that ``--help`` is quick."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from harness import __version__
from harness.cli.ending import Ending
from harness.cli.targets import remote_option, target_options
from harness.core.cell import DURABILITIES
from harness.core.redaction import redacted

ENVIRONMENTS = ("auto", "local", "containers")
#: ``prepared``: transaction mode, with prepared statements that the pooler keeps.
POOLERS = ("none", "session", "transaction", "prepared")

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
_RUN_OR_LATEST = "RUN is a run's folder, a name under reports/, or latest."


@click.group(context_settings=_SETTINGS)
@click.version_option(__version__, "--version", prog_name="poolproof", message="%(prog)s %(version)s")
def app() -> None:
    """Prove which connection-pool strategy keeps LangGraph agents alive when Postgres misbehaves.

    \b
    Exit status: 0 all kept, 1 a guarantee broken, 2 usage, 3 nothing proved, 4 a component could not start or
    would not heal, 5 nothing selected, 70 a bug of ours, 130 or 143 interrupted.
    """


def _json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else, on stdout.")(command)


@app.command()
@click.argument("scenarios", nargs=-1, metavar="[SCENARIO]...")
@click.option("--strategy", "strategies", multiple=True, metavar="NAME|file.py:Class", help="Default: every one.")
@click.option("--agent", "agents", multiple=True, metavar="NAME|file.py:Name", help="Default: the five shipped.")
@click.option("--durability", type=click.Choice(DURABILITIES), help="LangGraph's; default: async.")
@click.option("--environment", type=click.Choice(ENVIRONMENTS), default="auto", show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, metavar="N")
@click.option("--repeat", type=click.IntRange(1, 1000), metavar="N", help="Run each cell N times, seed by seed.")
@click.option("--quick", is_flag=True, help="Only the scenarios that CI runs.")
@click.option("--full", is_flag=True, help="Every durability, three seeds each: for the night.")
@click.option("--jobs", type=click.IntRange(1, 64), metavar="N", help="Cells under load at once; default: measured.")
@click.option("--require-all", is_flag=True, help="A missing component is exit 4, not SKIP. On when CI is set.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Default: a new folder under reports/.")
@target_options
@_json_option
def run(
    scenarios: tuple[str, ...],
    strategies: tuple[str, ...],
    agents: tuple[str, ...],
    durability: str | None,
    environment: str,
    seed: int,
    repeat: int | None,
    quick: bool,
    full: bool,
    jobs: int | None,
    require_all: bool,
    out: Path | None,
    target_dsn: str | None,
    owned: str | None,
    remote: tuple[str, ...],
    as_json: bool,
) -> Ending:
    """Run scenarios against strategies, judge every guarantee, and report.

    SCENARIO is a name (network/reset_mid_turn), a family (network), or path/to/file.py[:NAME]; default: all.
    """
    from harness.cli.running import run_cells
    from harness.cli.targets import target_of
    from harness.environments.target_dsn import TARGET
    from harness.selection import Size, Wish, ci_requires_all

    if quick and full:
        raise click.UsageError("--quick and --full exclude each other")
    target = target_of(target_dsn, owned, remote, environment)
    wish = Wish(
        scenarios=scenarios,
        strategies=strategies,
        agents=agents,
        durability=durability,
        seed=seed,
        repeat=repeat,
        size=Size.QUICK if quick else Size.FULL if full else Size.DEFAULT,
        environment=environment if target is None else TARGET,
    )
    required = require_all or ci_requires_all()
    return run_cells(wish, command=_command(), out=out, jobs=jobs, require_all=required, as_json=as_json, target=target)


@app.command("list")
@click.argument("what", type=click.Choice(["scenarios", "strategies", "agents", "faults"]))
@_json_option
def list_(what: str, as_json: bool) -> Ending:
    """What there is to run."""
    from harness.cli.listing import show

    return show(what, as_json=as_json)


@app.command(epilog=_RUN_OR_LATEST)
@click.argument("run_name", metavar="RUN")
def verify(run_name: str) -> Ending:
    """Judge an old run again from its records, and compare with the verdicts that it stored."""
    from harness.cli.old_runs import verify_run

    return verify_run(run_name)


@app.command(epilog=_RUN_OR_LATEST)
@click.argument("run_name", metavar="RUN")
def report(run_name: str) -> Ending:
    """Write the reports of an old run again from its records."""
    from harness.cli.old_runs import report_run

    return report_run(run_name)


@app.command()
@click.argument("cell", metavar="CELL")
@click.option("--times", type=click.IntRange(1, 1000), default=1, show_default=True, metavar="N")
@target_options
def replay(cell: str, times: int, target_dsn: str | None, owned: str | None, remote: tuple[str, ...]) -> Ending:
    """Run a cell again with the same plan and seed, and say how often it ended the same way.

    CELL is a cell's folder, or its id in any run under reports/ (the newest that has it).
    """
    from harness.cli.replaying import replay_cell
    from harness.cli.targets import target_of
    from harness.selection import ci_requires_all

    target = target_of(target_dsn, owned, remote)
    return replay_cell(cell, times=times, command=_command(), require_all=ci_requires_all(), target=target)


@app.command()
@click.argument("incident", metavar="INCIDENT")
def reproduce(incident: str) -> Ending:
    """Print an incident as a script that stands alone, fit to be attached to an upstream issue.

    INCIDENT is its scenario (incidents/i_01_pool_recreated) or its number (I-1).
    """
    from harness.cli.reproducing import reproduce as show

    return show(incident)


@app.command()
@click.argument("reference", metavar="REFERENCE")
@click.option("--pooler", type=click.Choice(POOLERS), help="Its mode; default: read off the address.")
@click.option("--max-connections", type=click.IntRange(4, 262_143), metavar="N", help="The server's; default: 100.")
@click.option("--replicas", type=click.IntRange(1, 10_000), default=1, show_default=True, metavar="N")
@_json_option
def lint(reference: str, pooler: str | None, max_connections: int | None, replicas: int, as_json: bool) -> Ending:
    """Look for misconfigurations in a pool or a pool strategy, without connecting; exit 1 if there are any.

    REFERENCE is path/to/file.py:Name, package.module:Name, or the name of a strategy. Name may lead into a class:
    service.py:BaseAgent._shared_pool.
    """
    from harness.cli.linting import show
    from harness.lint import Given

    given = Given(pooler=pooler, max_connections=max_connections, replicas=replicas)
    return show(reference, given, as_json=as_json)


@app.command("init-target")
@click.argument("dsn", metavar="DSN|@FILE")
@remote_option
def init_target(dsn: str, remote: tuple[str, ...]) -> Ending:
    """Mark an empty database of yours, named chaos_..., as one that --target-dsn may use."""
    from harness.cli.targets import init

    return init(dsn, remote)


@app.command()
@_json_option
def doctor(as_json: bool) -> Ending:
    """Which components were found, where, in which version, and how to get those that are missing."""
    from harness.cli.examining import examine

    return examine(as_json=as_json)


def _command() -> str:
    """The command as the user typed it; ``main`` hands the arguments over as the context's object."""
    return redacted(shlex.join(["poolproof", *click.get_current_context().obj]))
