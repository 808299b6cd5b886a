"""Inside the copy that :mod:`tests.mutants` laid out: make the mutants, then ask the tests about each of them.

mutmut makes the mutants and the switch between them. The tests are collected once; each mutant is then switched on in
a fork of that process, which runs the tests that reach the mutated function until one fails. What noticed the mutant in
the last run, or others of its function, is asked first, so a mutant that is noticed takes about ten milliseconds.
"""

from __future__ import annotations

import gc
import importlib
import json
import math
import os
import resource
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings

#: Local names that hold words for a reader.
WORDS = frozenset(
    {"words", "told", "kept", "why", "where", "by", "how", "after", "advice", "reason", "left", "shown", "best"}
)
#: Module-level names that hold words.
_SAID = frozenset({"_ADVICE", "_SEE_LOGS"})
#: A mutant may take so many times as long as its tests without it, and so many seconds in any case.
TIMES_AS_LONG = 3.0
LEAST_S = 5.0
#: A mutant that loops for ever may take so many bytes beyond what is there at its start.
MEMORY = 2 << 30
#: So many tests that noticed mutants of a function, or of a file, lately are asked first.
REMEMBERED = 20


def main(task: str, children: int) -> int:
    """``make`` writes ``mutants.json``; ``ask`` reads ``chosen.json`` (mutant -> the test that may notice it), and
    writes ``results.*.jsonl``.
    """
    if task == "make":
        _make(children)
        return 0
    os.chdir("mutants")
    sys.path.insert(0, os.getcwd())
    asking = _Asking(json.loads(Path("../chosen.json").read_text()), children)
    options = json.loads(Path("../options.json").read_text())
    # That a test fails is all that is asked: looking for the smallest example takes a minute and more.
    settings.register_profile("mutants", database=None, phases=(Phase.explicit, Phase.generate))
    settings.load_profile("mutants")
    return int(pytest.main(["--rootdir=.", "-c", "../pyproject.toml", *options], plugins=[asking]))


# -- making -------------------------------------------------------------------------------------------------------


def _make(children: int) -> None:
    mutmut: Any = importlib.import_module("mutmut.__main__")
    data: Any = importlib.import_module("mutmut.mutation.data")
    files: Any = importlib.import_module("mutmut.utils.file_utils")
    _leave_out_what_is_only_said()
    importlib.import_module("mutmut.mutation.trampoline").set_mutant_under_test("mutant_generation")
    Path("mutants").mkdir()
    mutmut.copy_src_dir()
    mutmut.copy_also_copy_files()
    mutmut.setup_source_paths()
    mutmut.create_mutants(children)
    names: list[str] = []
    for path in files.walk_mutatable_files():
        of_file = data.SourceFileMutationData(path=path)
        of_file.load()
        names += of_file.exit_code_by_key
    Path("mutants.json").write_text(json.dumps(sorted(names)))


def _leave_out_what_is_only_said() -> None:
    """No mutants in sentences (strings with a space, f-strings and what stands in them, names that hold words), nor in
    how a number is rounded.
    """
    cst: Any = importlib.import_module("libcst")
    mutators: Any = importlib.import_module("mutmut.mutation.mutators")
    visitor: Any = importlib.import_module("mutmut.mutation.file_mutation").MutationVisitor

    def said(node: Any) -> bool:
        if isinstance(node, cst.SimpleString):
            return " " in node.value
        if isinstance(node, cst.IfExp):
            return said(node.body) or said(node.orelse)
        if isinstance(node, cst.BinaryOperation):
            return said(node.left) or said(node.right)
        if isinstance(node, cst.Name):
            return node.value in WORDS or node.value in _SAID
        if isinstance(node, cst.Subscript):
            return said(node.value)
        return isinstance(node, cst.FormattedString | cst.ConcatenatedString)

    def wordless(operator: Any) -> Any:
        def filtered(node: Any) -> Iterator[Any]:
            if said(node) or (isinstance(node, cst.Assign | cst.AnnAssign | cst.AugAssign) and said(node.value)):
                return
            for mutant in operator(node):
                if isinstance(node, cst.Call) and _lost_words(node, mutant, said):
                    continue
                yield mutant

        return filtered

    mutators.mutation_operators[:] = [(kind, wordless(operator)) for kind, operator in mutators.mutation_operators]
    skip = visitor._skip_node_and_children

    def skip_words(self: Any, node: Any) -> bool:
        rounded = isinstance(node, cst.Call) and isinstance(node.func, cst.Name) and node.func.value == "round"
        return rounded or isinstance(node, cst.FormattedString | cst.ConcatenatedString) or skip(self, node)

    visitor._skip_node_and_children = skip_words


def _lost_words(call: Any, mutant: Any, said: Any) -> bool:
    """True if what the mutated call lacks, or has replaced, is an argument that is only said."""
    kept = {id(argument) for argument in mutant.args}
    gone = [argument for argument in call.args if id(argument) not in kept]
    return len(gone) == 1 and said(gone[0].value)


# -- asking -------------------------------------------------------------------------------------------------------


class _Asking:
    """A pytest plug-in: in place of running the collected tests once, it runs them against each mutant."""

    def __init__(self, chosen: Mapping[str, str], children: int) -> None:
        self._chosen = chosen
        self._children = children
        self._failed = ""
        self._took_s: dict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember the first test that failed, and how long each took."""
        self._took_s[report.nodeid] += report.duration
        if report.failed and not self._failed:
            self._failed = report.nodeid

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Instead of pytest's own."""
        if session.testsfailed:
            raise session.Interrupted("the tests cannot be collected")
        items = {item.nodeid: item for item in session.items}
        self._look_at_reach(items)
        reach: dict[str, list[str]] = defaultdict(list)
        for test, (took_s, functions) in json.loads(Path("../reach.json").read_text()).items():
            self._took_s[test] = took_s
            for function in functions:
                reach[function].append(test)
        self._prove_that_mutants_act(items)
        gc.collect()
        gc.freeze()  # or each fork would copy what the collector looks at
        functions = sorted({name.rpartition("__mutmut_")[0] for name in self._chosen})
        workers = []
        for number in range(self._children):
            mine = set(functions[number :: self._children])
            if (pid := os.fork()) == 0:
                try:
                    self._work(number, mine, items, reach)
                except BaseException as error:  # a fork must not go on as its parent
                    print(f"worker {number}: {error!r}", flush=True)
                    os._exit(1)
                os._exit(0)
            workers.append(pid)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers]
        if any(codes):
            raise session.Interrupted(f"workers ended with {codes}")
        return True

    def _look_at_reach(self, items: dict[str, pytest.Item]) -> None:
        """Write which functions each test reaches; what fails here fails without any mutant."""
        if self._in_fork(lambda: self._reach(items), 600.0) != 0:
            raise pytest.UsageError("the tests do not pass without any mutant")

    def _reach(self, items: dict[str, pytest.Item]) -> int:
        state: Any = importlib.import_module("mutmut.state").state()
        os.environ["MUTMUT_DEPENDENCY_DEPTH"] = "-1"
        _switch_on("stats")
        found = {}
        for name, item in items.items():
            state._stats.clear()
            _run(item)
            found[name] = [self._took_s[name], sorted(state._stats)]
        Path("../reach.json").write_text(json.dumps(found))
        print(f"without any mutant: {self._failed or 'all pass'}", flush=True)
        return 1 if self._failed else 0

    def _prove_that_mutants_act(self, items: dict[str, pytest.Item]) -> None:
        def fails() -> int:
            _switch_on("fail")
            return 1 if self._first_failure(list(items.values())) else 0

        if self._in_fork(fails, 600.0) == 0:
            raise pytest.UsageError("no test fails when every mutated function raises")

    def _work(
        self, number: int, functions: set[str], items: dict[str, pytest.Item], reach: dict[str, list[str]]
    ) -> None:
        noticed: dict[str, list[str]] = defaultdict(list)
        with Path(f"../results.{number}.jsonl").open("w") as sink:
            for name in self._chosen:
                function = name.rpartition("__mutmut_")[0]
                if function not in functions:
                    continue
                began_s = time.monotonic()
                rest = dict.fromkeys(sorted(reach[function], key=self._took_s.__getitem__))
                first = dict.fromkeys((self._chosen[name], *noticed[function], *noticed[_module(name)]))
                tests = [*(test for test in first if test in rest), *(test for test in rest if test not in first)]
                status = self._ask(name, [items[test] for test in tests]) if tests else "no tests"
                killer = ""
                if status == "killed":
                    killer = Path(f"../killer.{os.getpid()}").read_text()
                    for place in (function, _module(name)):
                        noticed[place] = list(dict.fromkeys((killer, *noticed[place])))[:REMEMBERED]
                row = {"name": name, "status": status, "by": killer, "took_s": round(time.monotonic() - began_s, 3)}
                sink.write(json.dumps(row) + "\n")
                sink.flush()

    def _ask(self, name: str, items: list[pytest.Item]) -> str:
        limit_s = LEAST_S + TIMES_AS_LONG * sum(self._took_s[item.nodeid] for item in items)
        killer = Path(f"../killer.{os.getpid()}")

        def noticed() -> int:
            _switch_on(name)
            failed = self._first_failure(items)
            killer.write_text(failed)
            return 1 if failed else 0

        code = self._in_fork(noticed, limit_s)
        return {0: "survived", 1: "killed", -signal.SIGXCPU: "timeout", -signal.SIGALRM: "timeout"}.get(code, "odd")

    def _first_failure(self, items: list[pytest.Item]) -> str:
        for item in items:
            _run(item)
            if self._failed:
                break
        return self._failed

    @staticmethod
    def _in_fork(body: Any, limit_s: float) -> int:
        """The exit code of ``body`` in a fork, minus the signal if one ended it; 70 if it raised."""
        if (pid := os.fork()) == 0:
            code = 70
            try:
                resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit_s), math.ceil(limit_s) + 5))
                pages = int(Path("/proc/self/statm").read_text().split()[0])
                resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
                signal.alarm(math.ceil(limit_s * 10))
                code = body()
            except BaseException as error:  # a fork must not go on as its parent
                print(f"in a fork: {error!r}", flush=True)
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _switch_on(name: str) -> None:
    importlib.import_module("mutmut.mutation.trampoline").set_mutant_under_test(name)


def _run(item: pytest.Item) -> None:
    """With pytest's own rules: fixtures, marks, warnings are errors."""
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
