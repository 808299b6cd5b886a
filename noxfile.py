"""Everything that is run by name: ``nox -s chaos``, or tests, proof, lint, types, bench, containers, package.

A bare ``pip install nox`` on Python 3.11 or newer is enough; each session sets up what it needs, in the versions of
``requirements.lock``, and keeps it until one of the two files that decide it changes.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.reuse_venv = "yes"
nox.options.default_venv_backend = "virtualenv"
nox.options.sessions = ["lint", "types", "tests"]

ROOT = Path(__file__).resolve().parent
LOCK = ROOT / "requirements.lock"

#: After Ctrl-C, seconds for a partial report and for ending what was started, before nox kills.
GRACE_S = 60.0


@nox.session
def chaos(session: nox.Session) -> None:
    """Run scenarios against strategies: ``nox -s chaos -- --quick``. The report is in reports/latest."""
    _install(session, "-e", ".")
    _run(session, "poolproof", "run", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Poolproof's own tests: ``nox -s tests -- -k registry``."""
    _install(session, "-e", ".[dev]")
    _run(session, "pytest", *session.posargs)


@nox.session
def proof(session: nox.Session) -> None:
    """The tests that take long: what makes a verdict worth something, and the harness under fire."""
    _install(session, "-e", ".[dev]")
    _run(session, "pytest", "-m", "proof", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Whether the checkers' tests notice wrong checkers: ``nox -s mutants``, or ``-- --files no_hang recovers``."""
    _install(session, "-e", ".[dev,mutants]")
    _run(session, "python", "-m", "tests.mutants", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, format, and which part may import which."""
    _install(session, "ruff", "import-linter")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", env={"PYTHONPATH": str(ROOT)})


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict, over everything that is Python here."""
    _install(session, "-e", ".[dev]")
    session.run("mypy", *session.posargs)


@nox.session
def regressions(session: nox.Session) -> None:
    """Incidents that are bound to versions, in environments of their own; downloads. ``nox -s regressions -- I-18``."""
    _install(session, "-e", ".")
    folder = str(ROOT / ".nox" / "regressions-environments")
    _run(session, "python", "-m", "harness.regressions", "--environments", folder, *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """What the harness and the strategies cost: one JSON object."""
    _install(session, "-e", ".")
    _run(session, "python", "-m", "harness.bench", *session.posargs)


@nox.session
def containers(session: nox.Session) -> None:
    """The same on a real Docker engine (one is started where none runs), with images made on the spot: no pull."""
    _install(session, "-e", ".[dev]")
    engine = ("python", "-m", "harness.environments.engine", "--")
    _run(session, *engine, "python", "-m", "pytest", "tests/environments", "-m", "docker", "-rs", *session.posargs)
    scenario = "poolproof run network/reset_mid_turn --strategy per_agent_pool --environment containers --require-all"
    _run(session, *engine, "bash", "-c", f'set -e; eval "$(python -m harness.environments.images)"; {scenario}')


@nox.session(reuse_venv=False)
def package(session: nox.Session) -> None:
    """What a user gets: the wheel, installed into an empty environment, used from an empty folder."""
    with tempfile.TemporaryDirectory(prefix="poolproof-package-") as scratch:
        wheels, empty = Path(scratch, "wheels"), Path(scratch, "empty")
        empty.mkdir()
        session.run("pip", "wheel", "--no-deps", "--wheel-dir", str(wheels), str(ROOT), silent=True)
        (wheel,) = wheels.glob("poolproof-*.whl")
        session.install("-c", str(LOCK), str(wheel))
        with session.chdir(empty):
            _run(session, "poolproof", "list", "scenarios")
            _run(session, "poolproof", "run", "network/steady", "--strategy", "per_agent_pool")
            _run(session, "pytest", "scenarios", "-k", "steady and per_agent")


@nox.session(reuse_venv=False)
def lock(session: nox.Session) -> None:
    """Write requirements.lock anew, with the newest versions that fit."""
    session.install(".[dev,mutants]", "hatchling")
    frozen = session.run("pip", "freeze", "--exclude", "poolproof", silent=True)
    assert isinstance(frozen, str)
    comments = [line for line in LOCK.read_text().splitlines() if line.startswith("#")]
    pins = sorted(line.lower().replace("_", "-") for line in frozen.splitlines() if "==" in line)
    LOCK.write_text("".join(f"{line}\n" for line in (*comments, *pins)))


def _install(session: nox.Session, *requirements: str) -> None:
    """Install once for each state of the two files; a reused environment that is up to date costs nothing."""
    wanted = hashlib.sha256(repr(requirements).encode())
    for file in (LOCK, ROOT / "pyproject.toml"):
        wanted.update(file.read_bytes())
    stamp = Path(session.virtualenv.location) / "poolproof-installed"
    if stamp.is_file() and stamp.read_text() == wanted.hexdigest():
        return
    session.install("-c", str(LOCK), *requirements)
    stamp.write_text(wanted.hexdigest())


def _run(session: nox.Session, *command: str) -> None:
    """Run, and after Ctrl-C leave time to report what was found and to end what was started."""
    session.run(*command, interrupt_timeout=GRACE_S, terminate_timeout=GRACE_S)
