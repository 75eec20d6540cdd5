"""Bodies in chunks, however they come: h11, which is laxer, has to agree with what is accepted."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterable

import h11
import pytest

from flowcore_http.chunked import ChunkedBody

BODY = (
    b'3\r\nx\r\n\r\n04;a = "\\""\r\n\r\n\r\n\r\n'
    b"A \t;b ;c=d\r\n0123456789\r\n000\r\nA: b\r\nC:\r\n\r\n"
)
CONTENT = b"x\r\n\r\n\r\n0123456789"
NEXT = b"GET / HTTP/1.1\r\n\r\n"
BEFORE_EXTENSION = re.compile(rb"^([0-9A-Fa-f]+)[\t ]+;", re.MULTILINE)
HEAD = b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"


def read(pieces: Iterable[bytes]) -> tuple[bytes, bytes] | None:
    """Return content and rest; None of a body that is refused or has not ended."""
    body = ChunkedBody()
    content = rest = b""
    for piece in pieces:
        if body.is_whole:
            rest += piece
            continue
        more, rest = body.take(piece)
        content += more
        if body.problem is not None:
            return None
    return (content, rest) if body.is_whole else None


def read_by_h11(data: bytes) -> tuple[bytes, bytes] | None:
    parser = h11.Connection(h11.SERVER)
    parser.receive_data(HEAD + data)
    content = b""
    try:
        parser.next_event()
        while isinstance(event := parser.next_event(), h11.Data):
            content += event.data
    except h11.RemoteProtocolError:
        return None
    return (content, parser.trailing_data[0]) if isinstance(event, h11.EndOfMessage) else None


def tight(data: bytes) -> bytes:
    """Return bytes without whitespace between a size and an extension, which h11 does not know."""
    return BEFORE_EXTENSION.sub(rb"\1;", data)


def in_pieces(data: bytes, length: int) -> list[bytes]:
    return [data[begin : begin + length] for begin in range(0, len(data), length)]


@pytest.mark.parametrize("length", range(1, len(BODY + NEXT) + 1))
def test_a_body_is_the_same_however_it_comes(length):
    assert read(in_pieces(BODY + NEXT, length)) == (CONTENT, NEXT)


@pytest.mark.parametrize("place", range(len(BODY)))
def test_a_body_that_is_cut_anywhere_has_not_ended(place):
    body = ChunkedBody()
    _, rest = body.take(BODY[:place])

    assert (body.is_whole, body.problem, rest) == (False, None, b"")


def test_what_is_accepted_of_a_spoilt_body_is_what_another_parser_reads():
    draw = random.Random(9)
    accepted = 0
    for _ in range(5000):
        data = bytearray(BODY)
        for _ in range(draw.randrange(1, 3)):
            place = draw.randrange(len(data))
            data[place : place + draw.randrange(2)] = draw.choice(
                [b"", b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b";", b"0", b"a", b'"', b"\x85"]
            )
        spoilt = bytes(data) + NEXT
        found = read([spoilt])
        assert found == read(in_pieces(spoilt, 1)), spoilt
        if found is not None:
            accepted += 1
            content, rest = found
            assert (content, tight(rest)) == read_by_h11(tight(spoilt)), spoilt

    assert accepted > 100


@pytest.mark.parametrize(
    "line",
    [b"1 ;a", b"1\t;a", b"1 \t ;\t a", b"1;a ;b", b"1;a=b\t;c", b'1 ;a = "b" ; c', b"1;a\t =b"],
)
def test_whitespace_may_stand_where_the_grammar_has_bad_whitespace(line):
    assert read([line + b"\r\nx\r\n0 ;d\r\n\r\n"]) == (b"x", b"")


@pytest.mark.parametrize(
    "line",
    [
        *(b"1 ", b"1\t", b"1 \t", b" 1", b" 1;a", b"1 0", b"1 a", b"1 =a"),
        *(b"1 ;", b"1 ; ", b"1; ;a", b"1 ;;a"),
        *(b"1;a ", b"1 ;a\t", b"1;a=b ", b'1;a="b" ', b"1;a= ", b"1;a =", b"1;a b"),
        *(b"1\x0b;a", b"1\x0c;a", b"1\xa0;a", b"1\0;a", b"1\r;a", b"1\n;a", b"1 \r\n ;a"),
    ],
)
def test_whitespace_anywhere_else_is_refused(line):
    body = ChunkedBody()
    body.take(line + b"\r\nx\r\n0\r\n\r\n")

    assert body.problem is not None
    assert body.problem.status == 400


@pytest.mark.parametrize(
    "line",
    [
        b"1;" + b"a;" * 8000 + b"\r\n",
        b"1" + b" \t" * 8000 + b"\r\n",
        b"1;a" + b" \t" * 8000 + b"\r\n",
        b"1" + b" ;a" * 5000 + b" \r\n",
        b"1" + b" ;a = b" * 2000 + b"=\r\n",
        b'1;a="' + b"\\x" * 8000 + b"\r\n",
        b'1;a="' + b'";a="' * 3200 + b"\r\n",
    ],
)
def test_a_long_line_that_is_none_is_refused_in_no_time(line):
    body = ChunkedBody()
    began = time.process_time()
    body.take(line)

    assert body.problem is not None
    assert time.process_time() - began < 0.1


@pytest.mark.parametrize(
    ("start", "more"), [(b"1;a", b"a"), (b"1", b" "), (b"1\r\nx\r\n0\r\nA: ", b"a")]
)
def test_no_more_is_kept_than_a_head_may_have(start, more):
    body = ChunkedBody()
    body.take(start)
    taken = 0
    while body.problem is None:
        body.take(more * 100)
        taken += 100

    assert taken < 17_000
    assert body.problem.status == (431 if b":" in start else 400)
