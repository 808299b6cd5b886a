"""The first lines of a slot's process: what cannot be imported is told in a sentence, where a traceback would stand.

``python -m harness.slot_start harness.slot_process OPTIONS`` runs the module's ``main``.
"""

from __future__ import annotations

import importlib
import json
import sys


def main() -> int:
    """Exit status 4 if the module cannot be imported; whoever started us reads why from the pipe."""
    name = sys.argv.pop(1)
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        words = f"{sys.executable} cannot import what a slot needs ({type(error).__name__}: {error})"
        fix = "install Poolproof with its dependencies into this Python, in versions that fit: pip install poolproof"
        print(json.dumps({"failed": f"{words}; {fix}"}), flush=True)
        return 4
    sys.argv[0] = str(module.__file__)
    module.main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
