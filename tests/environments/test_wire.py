"""Postgres's messages, read from byte streams that were cut anywhere: nothing changes on the way, and the moments are
the same however the bytes arrive.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.environments import moments, wire
from harness.environments.moments import Session, Step

SAVE = "\n    INSERT INTO checkpoints (thread_id) VALUES ($1)\n    ON CONFLICT DO NOTHING"
BLOBS = "INSERT INTO public.checkpoint_blobs VALUES ($1)"
#: Who sends ("C" the client, "S" the server) what, in order.
Talk = Sequence[tuple[str, bytes]]


def message(tag: str, body: bytes = b"") -> bytes:
    return tag.encode() + struct.pack(">I", len(body) + 4) + body


def text(*words: str) -> bytes:
    return b"".join(word.encode() + b"\0" for word in words)


def startup(**parameters: str) -> bytes:
    body = struct.pack(">I", 3 << 16) + text(*(word for pair in parameters.items() for word in pair)) + b"\0"
    return struct.pack(">I", len(body) + 4) + body


def request(code: int) -> bytes:
    return struct.pack(">II", 8, code)


def parse(name: str, query: str) -> bytes:
    return message("P", text(name, query) + b"\0\0")


def execute(name: str, value: bytes = b"v", portal: str = "") -> bytes:
    """Bind, Describe and Execute, as psycopg sends them."""
    bind = text(portal, name) + struct.pack(">hhi", 0, 1, len(value)) + value + struct.pack(">h", 0)
    return message("B", bind) + message("D", b"P" + text(portal)) + message("E", text(portal) + b"\0\0\0\0")


def done(tag: str) -> bytes:
    return message("C", text(tag))


def ready(status: str = "I") -> bytes:
    return message("Z", status.encode())


LOGIN: Talk = (
    ("C", startup(user="agent", application_name="g0")),
    ("S", message("R", struct.pack(">I", 10) + text("SCRAM-SHA-256") + b"\0")),
    ("C", message("p", b"n,,n=,r=x")),
    ("S", message("R", b"\0\0\0\0") + message("K", struct.pack(">II", 4711, 1)) + ready()),
)
SYNC = message("S")
PIPELINE: Talk = (
    ("C", parse("b", BLOBS) + execute("b") + execute("b") + parse("s", SAVE) + execute("s") + SYNC + message("H")),
    ("S", message("1") + message("2") + message("n") + done("INSERT 0 1") + done("INSERT 0 1") + done("INSERT 0 1")),
    ("S", ready()),
)
TRANSACTION: Talk = (
    ("C", message("Q", text("BEGIN"))),
    ("S", done("BEGIN") + ready("T")),
    ("C", parse("s", SAVE) + execute("s") + SYNC),
    ("S", message("1") + message("2") + done("INSERT 0 1") + ready("T")),
    ("C", message("Q", text("COMMIT"))),
    ("S", done("COMMIT") + ready()),
)
READ: Talk = (
    ("C", parse("r", "SELECT 1") + SYNC + execute("r") + SYNC),
    ("S", message("1") + ready() + message("2") + message("T", b"\0\0") + message("D", b"\0\0") + done("SELECT 1")),
    ("S", ready()),
)


def cut(data: bytes, places: Iterable[int]) -> Iterator[bytes]:
    """``data`` in chunks that end at ``places``."""
    at = 0
    for place in sorted({*places, len(data)}):
        if 0 < place <= len(data):
            yield data[at:place]
            at = place


def follow(talk: Talk, places: Iterable[int] = (), session: Session | None = None) -> tuple[list[str], bytes, bytes]:
    """The moments in order; and what came out for the server and for the client, all of it."""
    session = session or Session()
    found: list[str] = []
    out: dict[str, bytes] = {"C": b"", "S": b""}

    def take(who: str, steps: Sequence[Step]) -> None:
        for step in steps:
            out[who] += step.raw
            if step.moment is not None:
                found.append(f"{step.moment.name} {','.join(sorted(step.moment.tables))}")

    places = tuple(places)
    for who, data in talk:
        for chunk in cut(data, places):
            take(who, session.client(chunk) if who == "C" else session.server(chunk))
    take("C", session.client_ended())
    take("S", session.server_ended())
    return found, out["C"], out["S"]


def sent(talk: Talk, who: str) -> bytes:
    return b"".join(data for side, data in talk if side == who)


ALL_OF_IT: Talk = (*LOGIN, *PIPELINE, *READ, *TRANSACTION)
MOMENTS = [
    *("parse checkpoint_blobs", "insert checkpoint_blobs", "insert checkpoint_blobs"),
    *("parse checkpoints", "insert checkpoints", "sync checkpoint_blobs,checkpoints"),
    "commit checkpoint_blobs,checkpoints",
    *("parse checkpoints", "insert checkpoints", "sync checkpoints", "commit checkpoints"),
]


def test_the_moments_are_found_in_order_and_nothing_is_changed() -> None:
    session = Session()
    found, to_server, to_client = follow(ALL_OF_IT, session=session)
    assert found == MOMENTS
    assert (to_server, to_client) == (sent(ALL_OF_IT, "C"), sent(ALL_OF_IT, "S"))
    assert (session.application_name, session.backend_pid, session.opaque) == ("g0", 4711, False)


def test_every_single_split_gives_the_same() -> None:
    whole = follow(ALL_OF_IT)
    for place in range(max(len(data) for _, data in ALL_OF_IT)):
        assert follow(ALL_OF_IT, [place]) == whole, f"cut after {place} bytes"
    assert follow(ALL_OF_IT, range(10_000)) == whole, "byte by byte"


@given(places=st.sets(st.integers(1, 600)))
def test_any_splits_give_the_same(places: set[int]) -> None:
    assert follow(ALL_OF_IT, places) == follow(ALL_OF_IT)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(
        st.sampled_from([0, 1, wire.KEPT_BYTES - 1, wire.KEPT_BYTES, wire.KEPT_BYTES + 1, 200_000]), max_size=4
    ),
    places=st.sets(st.integers(1, 400_000), max_size=30),
)
def test_large_messages_pass_in_pieces_and_are_understood_all_the_same(sizes: list[int], places: set[int]) -> None:
    saves = b"".join(execute("s", b"x" * size) for size in sizes)
    rows = b"".join(message("D", b"y" * size) for size in sizes)
    talk = (*LOGIN, ("C", parse("s", SAVE) + saves + SYNC), ("S", rows + done("INSERT 0 1") + ready()))
    found, to_server, to_client = follow(talk, places)
    assert (to_server, to_client) == (sent(talk, "C"), sent(talk, "S"))
    assert found.count("insert checkpoints") == len(sizes)
    assert found[-2:] == ["sync checkpoints", "commit checkpoints"] if sizes else found == ["parse checkpoints"]


def test_a_large_message_is_not_held_back_until_it_is_whole() -> None:
    splitter = wire.Splitter(starting=False)
    whole = message("D", b"z" * (3 * wire.KEPT_BYTES))
    first = splitter.feed(whole[:100_000])
    assert [(piece.last, len(piece.raw), piece.body) for piece in first] == [(False, 100_000, b"")]
    (rest,) = splitter.feed(whole[100_000:])
    assert (rest.last, rest.body) == (True, b"z" * wire.KEPT_BYTES)


@given(chunks=st.lists(st.tuples(st.sampled_from("CS"), st.binary(max_size=60)), max_size=12), known=st.booleans())
def test_whatever_comes_passes_unchanged(chunks: list[tuple[str, bytes]], known: bool) -> None:
    talk = (*(LOGIN if known else ()), *chunks)
    _, to_server, to_client = follow(talk)
    assert (to_server, to_client) == (sent(talk, "C"), sent(talk, "S"))


@given(
    parts=st.lists(st.sampled_from([*PIPELINE, *READ, *TRANSACTION, ("S", message("E", text("SERROR")))]), max_size=25),
    places=st.sets(st.integers(1, 300), max_size=10),
)
def test_messages_in_any_order_pass_unchanged_however_they_are_cut(
    parts: list[tuple[str, bytes]], places: set[int]
) -> None:
    talk = (*LOGIN, *parts)
    found = follow(talk, places)
    assert found == follow(talk)
    assert found[1:] == (sent(talk, "C"), sent(talk, "S"))


@pytest.mark.parametrize("code", [wire.SSL_REQUEST, wire.GSSENC_REQUEST])
def test_once_encryption_has_begun_nothing_is_read(code: int) -> None:
    granted = "S" if code == wire.SSL_REQUEST else "G"
    session = Session()
    talk = (("C", request(code)), ("S", granted.encode()), *ALL_OF_IT)  # what looks like messages then is none
    found, to_server, to_client = follow(talk, session=session)
    assert session.opaque
    assert (found, to_server, to_client) == ([], sent(talk, "C"), sent(talk, "S"))


def test_a_client_that_is_refused_tls_goes_on_in_clear() -> None:
    talk = (("C", request(wire.GSSENC_REQUEST)), ("S", b"N"), ("C", request(wire.SSL_REQUEST)), ("S", b"N"), *ALL_OF_IT)
    found, to_server, to_client = follow(talk, range(1, 500, 3))
    assert found == MOMENTS
    assert (to_server, to_client) == (sent(talk, "C"), sent(talk, "S"))


def test_a_cancel_request_and_tls_without_asking_pass_unread() -> None:
    for first in (
        struct.pack(">IIII", 16, wire.CANCEL_REQUEST, 4711, 1),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ):
        session = Session()
        assert follow([("C", first), ("S", b"\x15\x03"), ("C", b"more")], session=session) == (
            [],
            first + b"more",
            b"\x15\x03",
        )
        assert session.opaque


@pytest.mark.parametrize("nonsense", [b"Z\0\0\0\3rest", b"\xff\0\0\0\x10rest"])
def test_what_is_no_message_is_read_no_further(nonsense: bytes) -> None:
    session = Session()
    talk = (*LOGIN, ("S", nonsense), *PIPELINE)
    found, to_server, to_client = follow(talk, session=session)
    assert session.opaque
    assert (found, to_server, to_client) == ([], sent(talk, "C"), sent(talk, "S"))


def test_what_is_undone_is_no_commit() -> None:
    failed = (
        ("C", parse("s", SAVE) + execute("s") + SYNC),
        ("S", message("1") + message("E", text("SERROR")) + ready()),
    )
    rolled_back = (*TRANSACTION[:4], ("C", message("Q", text("ROLLBACK"))), ("S", done("ROLLBACK") + ready()))
    commit_of_a_failed_one = (*TRANSACTION[:5], ("S", done("ROLLBACK") + ready()))
    for talk in (failed, rolled_back, commit_of_a_failed_one):
        found, _, to_client = follow((*LOGIN, *talk))
        assert "insert checkpoints" in found
        assert not [name for name in found if name.startswith("commit")]
        assert to_client == sent((*LOGIN, *talk), "S")
        assert follow((*LOGIN, *talk, *PIPELINE))[0][-1] == "commit checkpoint_blobs,checkpoints", (
            "the next one is its own"
        )


def test_the_answers_to_a_save_come_out_at_once_and_with_the_moment_before_them() -> None:
    session = Session()
    follow_login = [step for _, data in LOGIN[::2] for step in session.client(data)]
    assert all(step.moment is None for step in follow_login)
    session.server(sent(LOGIN, "S"))
    session.client(sent(PIPELINE, "C"))
    answers = sent(PIPELINE, "S")
    for position in range(len(answers) - 1):
        assert session.server(answers[position : position + 1]) == [], "not before the server has said what came of it"
    (step,) = session.server(answers[-1:])
    assert step.raw == answers
    assert step.moment is not None
    assert step.moment.name == moments.COMMIT
    assert step.moment.name in moments.HELD_BACK


def test_an_error_reaches_the_client_before_ready_does() -> None:
    session = Session()
    for who, data in (*LOGIN, PIPELINE[0]):
        session.client(data) if who == "C" else session.server(data)
    fatal = message("E", text("SFATAL", "C57P01"))
    assert b"".join(step.raw for step in session.server(message("1") + fatal)) == message("1") + fatal


@pytest.mark.parametrize(
    ("query", "tables"),
    [
        (SAVE, {"checkpoints"}),
        ('insert into "public"."checkpoint_writes" values (1)', {"checkpoint_writes"}),
        ("-- a note\n/* and\nanother */ INSERT INTO Checkpoints VALUES (1)", {"checkpoints"}),
        ("BEGIN; INSERT INTO a VALUES (1); INSERT INTO b VALUES (2); COMMIT", {"a", "b"}),
        ("SELECT 'insert into checkpoints'", set()),
        ("UPDATE checkpoints SET a = 1", set()),
        ("DELETE FROM checkpoints", set()),
        ("", set()),
    ],
)
def test_the_tables_of_inserts(query: str, tables: set[str]) -> None:
    assert wire.inserts_into(query) == tables


def test_a_statement_that_is_closed_or_named_anew_is_forgotten() -> None:
    talk = (*LOGIN, ("C", parse("s", SAVE) + message("C", b"S" + text("s")) + execute("s") + SYNC))
    assert follow(talk)[0] == ["parse checkpoints"]
    talk = (*LOGIN, ("C", parse("", SAVE) + parse("", "SELECT 1") + execute("") + SYNC))
    assert follow(talk)[0] == ["parse checkpoints"]
