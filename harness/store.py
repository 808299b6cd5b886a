"""What lies where under ``reports/``: written in stages while a run goes on, read back by ``verify`` and ``report``.

::

    reports/latest -> 20261121T120400Z-1f3a              the newest run that has a report
    reports/20261121T120400Z-1f3a/
        run.json                                         what was asked for, before anything starts
        report.html  summary.json  junit.xml  summary.md
        cells/<cell id>/cell.json                        before the cell starts
                        history.jsonl                    row by row, while it runs
                        facts.json  verdict.json  logs/
                        first/                           all that, of an attempt that a busy machine spoiled

Every file but the history appears whole or not at all (written beside its place, forced to disk, renamed). The
history is appended to; its last row may be torn if the writer died, and is then dropped by the reader.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from harness.core.cell import CellSpec
from harness.core.errors import ComponentError, UsageError
from harness.core.facts import Facts, facts_from_json, facts_to_json
from harness.core.history import SCHEMA, ErrorInfo, History, Op, OpType, parse_history
from harness.core.record import CellResult, ScenarioInfo
from harness.core.redaction import redacted, redacted_json, to_json_line
from harness.core.shape import build, loads, shown
from harness.core.verdict import Json
from harness.judge import result_from_json, result_to_json
from harness.plugins import check_recorded

REPORTS = Path("reports")
LATEST = "latest"
CELLS = "cells"
HISTORY = "history.jsonl"
FIRST = "first"
#: A record, and a row of a history, that is longer was not written by us.
RECORD_LIMIT_BYTES = 512 << 20
ROW_LIMIT = 16 << 20

#: Held on the disk for what must be written when it is full: a cell's last row and its verdict; a run's reports.
CELL_RESERVE_BYTES = 1 << 20
RUN_RESERVE_BYTES = 2 << 20

_CELL_ID = re.compile(r"[A-Za-z0-9_.+-]+")
#: File systems allow 255 bytes; a longer cell id (many agents) gets a folder name that ends in its digest.
_LONGEST_NAME = 200


# -- writing whole files ------------------------------------------------------------------------------------------


def write_whole(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` so that a reader sees the old file or the new one, never a part.

    Raises ComponentError (disk full, no permission), leaving what was there before.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(redacted(text).encode("utf-8", errors="backslashreplace"))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise ComponentError(f"could not write {path}: {error.strerror or error}") from error


def write_json(path: Path, data: Mapping[str, Json]) -> None:
    """:func:`write_whole` of indented JSON; pure ASCII, so that no reader splits it at odd line ends."""
    write_whole(path, json.dumps(redacted_json(data), indent=1) + "\n")


def read_json(path: Path) -> dict[str, Json]:
    """The object in ``path``; UsageError if it is missing, unreadable or no JSON object."""
    try:
        with path.open("rb") as file:
            raw = file.read(RECORD_LIMIT_BYTES + 1)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(raw) > RECORD_LIMIT_BYTES:
        raise UsageError(f"{path}: is longer than {RECORD_LIMIT_BYTES >> 20} MiB; allowed: up to that")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: byte {error.start} is no UTF-8; allowed: JSON in UTF-8") from None
    data = loads(text, str(path))
    if not isinstance(data, dict):
        raise UsageError(f"{path}: holds {shown(data)}; allowed: an object")
    return data


class Reserve:
    """Room on a disk, held so that the last words can be written when it is full: a hidden file in ``folder``."""

    def __init__(self, folder: Path, size_bytes: int = CELL_RESERVE_BYTES) -> None:
        self._path = folder / ".reserve"
        self._size = size_bytes

    def take(self) -> None:
        """Hold the room. Raises OSError when there is none."""
        with self._path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, self._size)

    def give_up(self) -> None:
        """Let go of it. Idempotent."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


# -- the history of one cell --------------------------------------------------------------------------------------


class HistoryWriter:
    """Appends rows to ``history.jsonl`` from any thread; each row is with the operating system when append returns.

    A write that fails (disk full) raises ComponentError, cuts the file back to its last whole row, says so in a last
    row, for which it gives up its ``Reserve``, and makes every later append raise the same (``unwritable``). A row that
    is appended while this thread is writing another one (the garbage collector may run a finaliser anywhere, and what
    that reports is a row) is written after it; it is returned with index -1.
    """

    def __init__(self, path: Path, header: Mapping[str, Json]) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._thread = threading.local()
        self._deferred: deque[Op] = deque()
        self._size = 0
        self._broken: str | None = None
        self.rows = 0
        self.unwritable = False
        self._last_s = 0.0
        self._reserve = Reserve(path.parent)
        try:
            self._reserve.take()
            self._file = path.open("xb", buffering=0)
        except OSError as error:
            self._reserve.give_up()
            raise ComponentError(f"could not start {path}: {error.strerror or error}") from error
        self._write({**header, "schema": SCHEMA})

    def append(
        self,
        type: OpType,  # noqa: A002 - the row's own word
        f: str,
        process: str,
        value: dict[str, Json],
        *,
        time_s: float,
        call: int | None = None,
        error: ErrorInfo | None = None,
    ) -> Op:
        """Record one row at ``time_s`` (seconds on the cell's clock) and return it with its index.

        Raises ComponentError when the row could not be written, also because the writer is closed.
        """
        time_s = round(time_s, 6)
        if getattr(self._thread, "writing", False):
            op = Op(-1, time_s, type, f, process, call, value, error)
            self._deferred.append(op)
            return op
        self._thread.writing = True  # before the lock: whatever is finalised from here on must not wait for it
        try:
            with self._lock:
                op = self._put(Op(self.rows, time_s, type, f, process, call, value, error))
                while self._deferred:
                    self._put(replace(self._deferred.popleft(), index=self.rows))
        finally:
            self._thread.writing = False
        return op

    def _put(self, op: Op) -> Op:
        """Write ``op``, which has the next index."""
        self._last_s = op.time_s
        self._write(op.to_json())
        self.rows += 1
        return op

    def close(self) -> None:
        """Force everything to disk and close; once closed, closing again does nothing."""
        with self._lock:
            if self._file.closed:
                return
            try:
                while self._deferred and self._broken is None:
                    self._put(replace(self._deferred.popleft(), index=self.rows))
                os.fsync(self._file.fileno())
            except OSError as error:
                raise ComponentError(f"could not write {self.path}: {error.strerror or error}") from error
            finally:
                self._file.close()
                self._reserve.give_up()

    def _write(self, row: Mapping[str, Json]) -> None:
        if self._broken is None and self._file.closed:
            self._broken = f"could not write {self.path}: it is closed"
        if self._broken is not None:
            raise ComponentError(self._broken)
        line = memoryview((to_json_line(row) + "\n").encode("ascii"))
        try:
            written = 0
            while written < len(line):
                written += self._file.write(line[written:]) or 0
        except OSError as error:
            self._broken = f"could not write {self.path}: {error.strerror or error}"
            self.unwritable = True
            with contextlib.suppress(OSError):
                self._file.truncate(self._size)
                self._file.seek(self._size)
                self._last_words(self._broken)
            raise ComponentError(self._broken) from error
        self._size += len(line)

    def _last_words(self, why: str) -> None:
        """The row that ends a history which could not go on; all of it, or nothing."""
        self._reserve.give_up()
        value: dict[str, Json] = {"kind": "component", "text": why}
        row = Op(self.rows, self._last_s, OpType.INFO, "harness_error", "store", None, value).to_json()
        line = (to_json_line(row) + "\n").encode("ascii")
        if self._file.write(line) != len(line):
            self._file.truncate(self._size)


def _rows_of(file: TextIO, path: Path) -> Iterator[str]:
    """The lines of a history; one without an end is not read into memory."""
    number = 0
    while line := file.readline(ROW_LIMIT + 1):
        number += 1
        if len(line) > ROW_LIMIT:
            raise UsageError(
                f"{path}, line {number}: is longer than {ROW_LIMIT >> 20} Mi characters; allowed: up to that"
            )
        yield line


def read_history(path: Path) -> History:
    """Read ``history.jsonl``; a torn last row is dropped, other damage or a missing file is a UsageError."""
    try:
        with path.open(encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            return parse_history(_rows_of(file, path), where=str(path))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error


# -- one cell -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CellFolder:
    """Where one cell leaves its records."""

    path: Path

    @property
    def history(self) -> Path:
        return self.path / HISTORY

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def output(self) -> Path:
        """What the cell's own process printed."""
        return self.logs / "output.log"

    def write_spec(self, spec: CellSpec) -> None:
        """``cell.json``, before anything of the cell starts (and again once the plan is drawn)."""
        write_json(self.path / "cell.json", spec.to_json())

    def write_facts(self, facts: Facts) -> None:
        """``facts.json``, after the final reads."""
        write_json(self.path / "facts.json", facts_to_json(facts))

    def write_result(self, result: CellResult) -> None:
        """``verdict.json``, the judge's result."""
        write_json(self.path / "verdict.json", result_to_json(result))


def open_cell(folder: Path) -> tuple[CellSpec, History, Facts]:
    """Everything that judging needs, from the folder alone.

    A cell that died early has no facts or no history: those come back empty and incomplete. UsageError if the folder
    is no cell's or is damaged.
    """
    path = folder / "cell.json"
    spec = CellSpec.from_json(read_json(path), str(path))
    run = folder.parent.parent if folder.parent.name == CELLS else folder
    for reference in (spec.scenario, spec.strategy, *spec.agents):
        try:
            check_recorded(reference, run)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None
    history = read_history(folder / HISTORY) if (folder / HISTORY).exists() else History()
    facts_path = folder / "facts.json"
    if not facts_path.exists():
        return spec, history, Facts(complete=False)
    return spec, history, facts_from_json(read_json(facts_path), str(facts_path))


def read_result(folder: Path) -> CellResult:
    """The judged cell in ``folder``; UsageError if it was never judged or the file is damaged."""
    path = folder / "verdict.json"
    return result_from_json(read_json(path), str(path))


def load_cells(run_dir: Path) -> tuple[CellResult, ...]:
    """Every judged cell of a run, by id; cells that were never judged (an interrupted run) are left out."""
    return tuple(read_result(path.parent) for path in sorted((run_dir / CELLS).glob("*/verdict.json")))


# -- one run ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """``run.json``: what was asked for. Together with the cells it is all that a report needs.

    ``started`` is ISO 8601 in UTC; ``must_catch`` lists (scenario, control, guarantee); ``interrupted`` is the number
    of the signal that ended the run early, ``broke`` says what else did (no stack to be had any more, a full disk).
    ``whole``: it was the whole matrix of a size.
    ``wall_s``, ``interrupted`` and ``broke`` are known only when the record is written again at the end.
    """

    started: str
    planned: int
    command: str = ""
    scenarios: tuple[ScenarioInfo, ...] = ()
    must_catch: tuple[tuple[str, str, str], ...] = ()
    require_all: bool = False
    components: tuple[Mapping[str, Json], ...] = ()
    provenance: Mapping[str, Json] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    wall_s: float = 0.0
    interrupted: int | None = None
    broke: str = ""
    whole: bool = False

    def to_json(self) -> dict[str, Json]:
        """``run.json``."""
        return {
            "started": self.started,
            "planned": self.planned,
            "command": self.command,
            "scenarios": [
                {"name": s.name, "title": s.title, "why": s.why, "question": s.question} for s in self.scenarios
            ],
            "must_catch": [list(triple) for triple in self.must_catch],
            "require_all": self.require_all,
            "components": [dict(component) for component in self.components],
            "provenance": dict(self.provenance),
            "notes": list(self.notes),
            "wall_s": self.wall_s,
            "interrupted": self.interrupted,
            "broke": self.broke,
            "whole": self.whole,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Json], where: str = "run.json") -> RunRecord:
        """The inverse of :meth:`to_json`; UsageError that begins with ``where`` on anything else."""
        return build(cls, data, where)


@dataclass(frozen=True, slots=True)
class Run:
    """The folder of one run."""

    folder: Path

    @classmethod
    def create(cls, *, out: Path | None = None, root: Path = REPORTS, at: datetime | None = None) -> Run:
        """Make the folder: ``out`` if given (new or empty), else ``<root>/<UTC time>-<short>``.

        Raises UsageError for an ``out`` that holds something, ComponentError when the folder cannot be made.
        """
        if out is None and (root / LATEST).exists() and not (root / LATEST).is_symlink():
            raise UsageError(f"{root / LATEST} is not a link of ours; allowed: a link or nothing. Move it away.")
        stamp = (at or datetime.now(UTC)).astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        folder = out if out is not None else root / f"{stamp}-{secrets.token_hex(2)}"
        try:
            folder.mkdir(parents=True, exist_ok=out is not None)
            if next(folder.iterdir(), None) is not None:
                raise UsageError(f"--out {folder}: not empty; allowed: a folder that is new or empty")
            (folder / CELLS).mkdir()
            Reserve(folder, RUN_RESERVE_BYTES).take()
        except (FileExistsError, NotADirectoryError) as error:
            raise UsageError(f"{folder}: is in the way; allowed: a folder that is new or empty") from error
        except OSError as error:
            raise ComponentError(f"could not make {folder}: {error.strerror or error}") from error
        return cls(folder)

    def cell(self, cell_id: str) -> CellFolder:
        """The folder of a cell, made with its ``logs/`` if it is not there yet."""
        folder = CellFolder(self.folder / CELLS / folder_name(cell_id))
        try:
            folder.logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ComponentError(f"could not make {folder.logs}: {error.strerror or error}") from error
        return folder

    def take_over(self, folder: CellFolder, cell_id: str) -> None:
        """Move a cell that ran elsewhere into this run, as its cell ``cell_id``."""
        path = self.folder / CELLS / folder_name(cell_id)
        try:
            path.parent.mkdir(exist_ok=True)
            shutil.move(folder.path, path)
        except OSError as error:
            raise ComponentError(f"could not move {folder.path} to {path}: {error.strerror or error}") from error

    def set_aside(self, cell_id: str) -> Path:
        """Move what a cell has left into ``first/`` of its own folder, where nobody counts it; returns that."""
        path = self.folder / CELLS / folder_name(cell_id)
        moved = path.with_name(f".{path.name}")
        try:
            path.rename(moved)
            path.mkdir()
            return moved.rename(path / FIRST)
        except OSError as error:
            raise ComponentError(f"could not move {path} into {FIRST}/: {error.strerror or error}") from error

    def write_record(self, record: RunRecord) -> None:
        """``run.json``: before the first cell, and again at the end."""
        write_json(self.folder / "run.json", record.to_json())

    def release_reserve(self) -> None:
        """Nothing but the reports is still to be written: they may have the room that was held for them."""
        Reserve(self.folder).give_up()


def folder_name(cell_id: str) -> str:
    """The cell's own id, which is a slug; shortened, with a digest, where file systems would refuse it."""
    if not _CELL_ID.fullmatch(cell_id) or cell_id.startswith("."):
        raise UsageError(f"cell id is {cell_id!r}; allowed: letters, digits and _ . + -")
    if len(cell_id) <= _LONGEST_NAME:
        return cell_id
    return f"{cell_id[:_LONGEST_NAME]}-{hashlib.sha256(cell_id.encode()).hexdigest()[:8]}"


def read_record(run_dir: Path) -> RunRecord:
    """``run.json`` of a run; UsageError if there is none."""
    path = run_dir / "run.json"
    return RunRecord.from_json(read_json(path), str(path))


def write_reports(run_dir: Path, files: Mapping[str, str], *, root: Path = REPORTS) -> None:
    """Write the rendered reports, by file name, and then point ``<root>/latest`` at the run, if it lies in ``root``."""
    Reserve(run_dir).give_up()
    for name, text in files.items():
        write_whole(run_dir / name, text)
    if run_dir.resolve().parent == root.resolve():
        _point_latest(root, run_dir.name)


def _point_latest(root: Path, name: str) -> None:
    """Replace the link in one step, so that ``latest`` is there at every moment."""
    beside = root / f".{LATEST}.{os.getpid()}-{threading.get_ident()}.tmp"
    try:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
        beside.symlink_to(name, target_is_directory=True)
        beside.replace(root / LATEST)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        if error.errno in (errno.EPERM, errno.EOPNOTSUPP):
            return  # this file system has no links; the run's own folder is printed anyway
        raise ComponentError(f"could not point {root / LATEST} at {name}: {error.strerror or error}") from error


# -- finding runs and cells by what the user typed ------------------------------------------------------------------


def find_run(text: str, *, root: Path = REPORTS) -> Path:
    """The run that ``text`` names: a path, a folder's name under ``root``, or ``latest``."""
    for folder in (Path(text), root / text):
        if (folder / CELLS).is_dir():
            return folder.resolve()
    raise UsageError(f"run {text!r}: no such run; allowed: a run's folder, or one of: {_listed(runs(root))}")


def runs(root: Path = REPORTS) -> Sequence[str]:
    """Names of the runs under ``root``, newest first."""
    return sorted((path.parent.name for path in root.glob(f"*/{CELLS}") if path.parent.name != LATEST), reverse=True)


def find_cell(text: str, *, root: Path = REPORTS) -> Path:
    """The cell that ``text`` names: a path to its folder, or an id, looked up in the newest run that has it."""
    if (Path(text) / "cell.json").is_file():
        return Path(text).resolve()
    if _CELL_ID.fullmatch(text) and not text.startswith("."):
        for name in runs(root):
            folder = root / name / CELLS / folder_name(text)
            if (folder / "cell.json").is_file():
                return folder.resolve()
    raise UsageError(f"cell {text!r}: no run under {root} has it; allowed: a cell's folder, or an id from a report")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(["latest", *names[:5]]) if names else "none yet"
