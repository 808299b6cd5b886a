"""The 39 faults and bad inputs that the harness itself has to survive, and where each is tested.

A test of row 7 is called ``test_row_07_...`` and lies in this folder, so ``pytest tests/fire -k row_07`` finds it. Run
this file (``python -m tests.fire.rows``) to write the table in ``README.md`` again after adding one.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
README = HERE / "README.md"


REPORTS = "tests/rendering/test_report_html.py"


class Row(NamedTuple):
    """``what`` happens to the harness, ``expected`` of it, and tests elsewhere that show parts of it as well."""

    what: str
    expected: str
    elsewhere: tuple[str, ...] = ()


ROWS: dict[int, Row] = {
    1: Row("SIGINT under load", "heals, partial report marked as interrupted, exit 130, nothing left"),
    2: Row("SIGINT twice", "the second one waits for nothing more and still ends everything; exit 130"),
    3: Row("SIGTERM", "as SIGINT once, exit 143"),
    4: Row(
        "SIGKILL of the harness in mid-fault",
        "every descendant gone within 5 s, history readable, the next start clears up",
        ("tests/environments/test_env_stack.py::test_sigkill_of_the_owner_ends_every_server",),
    ),
    5: Row("SIGKILL of a slot", "its servers die with it; the cell is ERROR, exit 4, the next cell runs"),
    6: Row(
        "SIGSTOP of a cell's process, then SIGCONT",
        "the pause is recorded, time decides nothing, no false alarm; it runs once more, alone",
    ),
    7: Row("Toxiproxy dies in mid-run", "ERROR, exit 4, no broken guarantee; the next cell has a new stack"),
    8: Row(
        "Toxiproxy's API hangs (SIGSTOP)",
        "each call ends within 5 s; ERROR; the next cell has a new stack",
        ("tests/environments/test_env_toxiproxy.py::test_a_frozen_server_costs_a_bounded_time",),
    ),
    9: Row(
        "removing a toxic answers 404 or 500",
        "the proxy is deleted and made anew, and read back; else HealError",
        ("tests/environments/test_env_toxiproxy.py::test_a_change_that_did_not_happen_is_an_error",),
    ),
    10: Row(
        "leftover proxies and toxics",
        "those of dead cells are removed, nobody else's",
        ("tests/environments/test_env_stack.py::test_what_a_killed_cell_left_is_removed_by_the_next",),
    ),
    11: Row(
        "Postgres does not start",
        "the end of its log in one message, no traceback, exit 4",
        ("tests/environments/test_env_odd_machines.py::test_a_postgres_that_does_not_start_shows_its_log",),
    ),
    12: Row("Postgres crashes whenever it recovers", "bounded, told with its log, exit 4"),
    13: Row(
        "a stale postmaster.pid, a stale lease",
        "told apart by start time; somebody else's process is never ended",
        ("tests/environments/test_env_components.py::test_reaping_takes_the_dead_and_spares_all_else",),
    ),
    14: Row("a port is taken between choosing and binding", "another port, at most five tries"),
    15: Row("two runs at once", "both pass, no shared path or port; the same --out: the second is refused"),
    16: Row("the disk is full for the records", "ERROR that names the disk, the last row from a reserve, exit 4"),
    17: Row("the disk is full for Postgres", "shown as a fault of the environment, exit 4"),
    18: Row(
        "a torn last row; garbage in the middle of a history",
        "torn tail: dropped and told; middle: no verdict, told with the line",
        (
            "tests/test_store.py::test_a_history_cut_anywhere_keeps_its_whole_rows",
            "tests/test_store.py::test_damage_in_the_middle_is_refused_with_its_line",
        ),
    ),
    19: Row("a result file half written", "not counted; the cell is judged again from its records"),
    20: Row(
        "a checker raises",
        "ERROR, exit 70, the other findings and the history are kept",
        ("tests/test_judge.py::test_a_checker_that_raises_is_our_own_bug_never_a_pass",),
    ),
    21: Row("a checker runs out of time or memory", "bounded, INVALID, exit 3, never PASS; the history kept"),
    22: Row(
        "a replica's process exits at once",
        "ERROR, exit 4, no hang; the next cell runs",
        ("tests/test_slot.py::test_a_process_that_ends_is_an_error_and_the_slot_goes_on",),
    ),
    23: Row(
        "a replica's event loop is blocked",
        "FAIL, told with its stack, ended",
        ("tests/test_slot.py::test_a_strategy_that_misbehaves_fails_its_cell_with_the_reason",),
    ),
    24: Row("an agent prints 100 MiB", "a file that is kept short while it grows: no pipe, so no deadlock"),
    25: Row(
        "an agent leaks files, threads, processes; a strategy connections",
        "what is left behind is ended with the cell, connections are told; the next cell knows nothing",
        ("tests/test_slot.py::test_a_strategy_that_misbehaves_fails_its_cell_with_the_reason",),
    ),
    26: Row("a limit of 64 open files", "one line and the fix before anything starts, exit 4"),
    27: Row("max_connections too low for the plan", "computed and refused with the sum, exit 4"),
    28: Row("the clock jumps", "intervals by the monotonic clock, the date only for display"),
    29: Row(
        "bad plans and plug-ins",
        "refused before anything starts, with place, value and what is allowed; exit 2",
        (
            "tests/security/test_security_loaders.py::test_what_is_bad_is_refused_before_anything_starts",
            "tests/test_cli.py::test_a_plugin_with_a_fault_is_one_sentence",
        ),
    ),
    30: Row("a plan with no fault or no turn", "refused unless it is meant as a baseline"),
    31: Row("a fault after the end, overlapping faults", "refused, with the arithmetic shown"),
    32: Row("a replay under other versions", "runs; the report says that the versions differ"),
    33: Row(
        "root or not, read-only home, odd temp dirs, long paths",
        "works, or one line",
        (
            "tests/environments/test_env_odd_machines.py::test_an_odd_temp_dir_and_no_room_in_memory",
            "tests/environments/test_env_odd_machines.py::test_a_closed_temp_dir_is_passed_over",
            "tests/environments/test_env_odd_machines.py::test_binaries_in_a_closed_folder",
        ),
    ),
    34: Row(
        "a binary is missing or of a wrong version",
        "one line with the fix, exit 4",
        ("tests/environments/test_env_components.py::test_the_doctor_names_a_bad_choice",),
    ),
    35: Row(
        "a report of 0, 1 or 200,000 calls",
        "renders, at most 5 MB, says that it left points out",
        (f"{REPORTS}::test_400_cells_stay_under_the_cap_and_the_report_says_what_it_leaves_out",),
    ),
    36: Row(
        "a cell, a slot or the whole harness is killed in mid-campaign; it is started again",
        "each planned cell has one result; a folder that holds a run is not written into",
    ),
    37: Row("no localhost, IPv6 only", "127.0.0.1 is bound by number; where there is none, one line and the fix"),
    38: Row(
        "the user's PG* variables, .pgpass, service file",
        "ignored for our own servers",
        ("tests/environments/test_env_stack.py::test_foreign_postgres_variables_are_ignored",),
    ),
    39: Row("an orphan could hold our stdout", "whoever reads our output sees its end within 5 s"),
}

_NAME = re.compile(r"test_row_(\d\d)_")


def tests_in(path: Path) -> set[str]:
    """Names of all test functions in a file, those in classes too."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {node.name for node in functions if node.name.startswith("test_")}


def tested() -> dict[int, list[str]]:
    """Row -> ``file::test`` of every test in this folder that is named by it."""
    found: dict[int, list[str]] = {}
    for path in sorted(HERE.glob("test_*.py")):
        for name in sorted(tests_in(path)):
            row = _NAME.match(name)
            if row is not None:
                found.setdefault(int(row.group(1)), []).append(f"{path.name}::{name}")
    return found


def table() -> str:
    """The table of the README."""
    lines = ["| row | what happens | what is expected | tests |", "| --- | --- | --- | --- |"]
    found = tested()
    for number, row in ROWS.items():
        names = "<br>".join(f"`{name}`" for name in (*found.get(number, ()), *row.elsewhere))
        lines.append(f"| {number} | {row.what} | {row.expected} | {names} |")
    return "\n".join(lines) + "\n"


def write_readme() -> None:
    """Put the table of today into the README."""
    before, mark, _ = README.read_text(encoding="utf-8").partition("| row |")
    assert mark, "the README has no table to replace"
    README.write_text(before + table(), encoding="utf-8")


if __name__ == "__main__":
    write_readme()
