"""Whether what is tested has the versions that it had when a cell was recorded: only then is it a replay."""

from __future__ import annotations

from collections.abc import Mapping

from harness.core.verdict import Json


def changed_versions(then: Mapping[str, Json], now: Mapping[str, Json]) -> str:
    """What had another version then, in one sentence; empty if nothing had.

    Both are what ``campaign.gather_provenance`` says. Nothing recorded counts as changed: nothing shows that it is not.
    """
    if not then:
        return "versions differ, or may: the cell does not say under which versions it ran, so this is no replay"
    before, after = _versions(then), _versions(now)
    words = [
        f"{name} was {before.get(name) or 'absent'} and is {after.get(name) or 'absent'}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
    return f"versions differ, so this is no replay: {'; '.join(words)}" if words else ""


def _versions(provenance: Mapping[str, Json]) -> dict[str, Json]:
    packages = provenance.get("packages")
    return {**(packages if isinstance(packages, dict) else {}), "python": provenance.get("python")}
