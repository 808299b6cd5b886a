"""What an installation promises: names that can be imported, entry points that exist, versions that fit."""

from __future__ import annotations

import ast
import importlib
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import harness

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """The project table of pyproject.toml."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        table: dict[str, Any] = tomllib.load(file)["project"]
    return table


@pytest.fixture(scope="module")
def lock() -> dict[str, str]:
    """Name to version, as pinned."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pin) == 2 for pin in pins), "requirements.lock: allowed are comments and name==version"
    return {pin[0]: pin[1] for pin in pins}


def _requirements(project: dict[str, Any]) -> list[Requirement]:
    return [Requirement(line) for line in [*project["dependencies"], *project["optional-dependencies"]["dev"]]]


def test_every_public_name_can_be_imported() -> None:
    for name in harness.__all__:
        assert getattr(harness, name) is not None
    assert set(dir(harness)) == set(harness.__all__)


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((ROOT / "harness" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    seen = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == set(harness.__all__) - {"__version__"}


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'harness' has no attribute 'Nothing'"):
        _ = harness.Nothing


def test_the_version_is_the_same_everywhere(project: dict[str, Any]) -> None:
    assert project["version"] == harness.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {harness.__version__}" in changelog


def test_the_console_script_leads_to_a_function(project: dict[str, Any]) -> None:
    module, _, function = project["scripts"]["poolproof"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_the_plugin_s_key_is_its_module(project: dict[str, Any]) -> None:
    """Any other key would collide with ``pytest_plugins`` in conftest.py, and pytest would not start."""
    assert project["entry-points"]["pytest11"] == {"harness.pytest_plugin": "harness.pytest_plugin"}
    assert '"harness.pytest_plugin"' in (ROOT / "conftest.py").read_text(encoding="utf-8")


def test_pins_fit_what_is_asked_for(project: dict[str, Any], lock: dict[str, str]) -> None:
    for requirement in _requirements(project):
        pinned = lock.get(canonicalize_name(requirement.name))
        assert pinned is not None, f"{requirement.name} is not in requirements.lock: nox -s lock"
        assert requirement.specifier.contains(pinned, prereleases=True), f"{requirement}: pinned is {pinned}"


def test_the_whole_closure_is_pinned(project: dict[str, Any], lock: dict[str, str]) -> None:
    missing = {name for name in _closure(_requirements(project)) if name not in lock}
    assert not missing, f"not in requirements.lock: {sorted(missing)}; nox -s lock"


def _closure(todo: list[Requirement]) -> Iterator[str]:
    """Names of everything that ``todo`` pulls in here; what is not installed here is taken by its name alone."""
    done: set[tuple[str, frozenset[str]]] = set()
    while todo:
        requirement = todo.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in done:
            continue
        done.add(key)
        yield key[0]
        try:
            further = distribution(requirement.name).requires or []
        except PackageNotFoundError:
            continue
        for line in further:
            inner = Requirement(line)
            extras = [*requirement.extras, ""]
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in extras):
                todo.append(inner)


def test_the_wheel_holds_the_three_packages_and_nothing_else() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        wheel = tomllib.load(file)["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel == {"packages": ["harness", "scenarios", "agents_under_test"]}
    for package in wheel["packages"]:
        assert (ROOT / package / "__init__.py").is_file()
