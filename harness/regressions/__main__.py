"""``python -m harness.regressions [INCIDENT]...``: the table version x incident; exits 1 if it is not as expected."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness.core.errors import ComponentError, UsageError
from harness.regressions.catalogue import catalogue
from harness.regressions.matrix import measure
from harness.regressions.table import as_json, as_markdown, surprises

#: Where environments are kept, and where the table goes.
FOLDER, REPORTS = Path(".nox") / "regressions-environments", Path("reports")


def main(argv: list[str] | None = None) -> int:
    """0 if everything is as expected, 1 if not, 2 for bad input, 4 if Postgres could not start."""
    parser = argparse.ArgumentParser(prog="python -m harness.regressions")
    parser.add_argument("incidents", nargs="*", metavar="INCIDENT", help="I-18; default: all")
    parser.add_argument("--only", action="append", default=[], metavar="VERSION", help="today, or 3.2.7")
    parser.add_argument("--environments", type=Path, default=FOLDER, metavar="DIR")
    parser.add_argument("--out", type=Path, default=REPORTS, metavar="DIR")
    args = parser.parse_args(argv)
    try:
        everything = catalogue()
        wanted = {text.upper().removeprefix("I-") for text in args.incidents}
        known = {str(item.incident) for item in everything}
        if wanted - known:
            known_text = ", ".join(f"I-{number}" for number in sorted(known, key=int))
            raise UsageError(f"no version-bound incident {', '.join(sorted(wanted - known))}; known: {known_text}")
        chosen = [item for item in everything if not wanted or str(item.incident) in wanted]
        if args.only and not any(version in item.expected for item in chosen for version in args.only):
            raise UsageError(f"no incident has a version {', '.join(args.only)}")
        note = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
        cells = list(measure(chosen, args.environments.resolve(), only=args.only, note=note))
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ComponentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 4
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "regressions.md").write_text(as_markdown(cells), encoding="utf-8")
    (args.out / "regressions.json").write_text(as_json(cells), encoding="utf-8")
    print(as_markdown(cells), end="")
    return 1 if surprises(cells) else 0


if __name__ == "__main__":
    sys.exit(main())
