"""Where the body of a request can end that comes in chunks."""

from __future__ import annotations

import pytest

from flowcore_http.empty_lines import EmptyLines

BODY = b"3\r\nx\r\n\r\n4\r\n\r\n\r\n\r\n0\r\nA: b\r\n\r\nGET / HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize("length", range(1, len(BODY) + 1))
def test_however_a_body_comes_it_is_cut_after_its_empty_lines(length):
    lines = EmptyLines()
    arrivals = [BODY[begin : begin + length] for begin in range(0, len(BODY), length)]
    pieces = [bytes(piece) for data in arrivals for piece in lines.cut(data)]

    assert b"".join(pieces) == BODY
    ends = {len(b"".join(pieces[: number + 1])) for number in range(len(pieces))}
    assert BODY.index(b"GET") in ends


def test_what_has_no_empty_line_stays_in_one_piece():
    lines = EmptyLines()
    assert [bytes(piece) for data in (b"a\r\n", b"b\r\n") for piece in lines.cut(data)] == [
        b"a\r\n",
        b"b\r\n",
    ]
