from __future__ import annotations

import itertools
import random

import pytest

from flowcore.sse import SSEDecoder, SSEEvent, SSETooLargeError


def decode(data: bytes, *cuts: int) -> list[SSEEvent]:
    """Decode `data`, fed in pieces that end at `cuts`."""
    decoder = SSEDecoder()
    edges = [0, *cuts, len(data)]
    return [
        event for start, end in itertools.pairwise(edges) for event in decoder.feed(data[start:end])
    ]


def data_of(stream: bytes) -> list[str]:
    return [event.data for event in decode(stream)]


# The streams of WHATWG HTML, section 9.2, and of its conformance tests.
@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: one\n\n", ["one"]),
        (b"data:one\n\ndata:two\n\n", ["one", "two"]),
        (b"data: one\ndata: two\n\n", ["one\ntwo"]),
        (b"data\n\n", [""]),
        (b"data\ndata\n\n", ["\n"]),
        (b"data:\n\n", [""]),
        (b"data: \n\n", [""]),
        (b"data:  two spaces\n\n", [" two spaces"]),
        (b"data:test\n\ndata: test\n\n", ["test", "test"]),
        (b"data: pending", []),
        (b"data: pending\n", []),
        (b"data: a\n\ndata: pending", ["a"]),
        (b": comment\n\n", []),
        (b":\n:\ndata: a\n: in between\ndata: b\n\n", ["a\nb"]),
        (b"\n\n\ndata: a\n\n\n\n", ["a"]),
        (b"\xef\xbb\xbfdata: bom\n\n", ["bom"]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: two boms\n\n", []),
        (b"data: a\n\n\xef\xbb\xbfdata: bom inside\n\n", ["a"]),
        (b"Data: wrong\ndatum: wrong\n data: wrong\n\n", []),
        (b"retry: 10\nretry: x\n\n", []),
        (b"data: a\rdata: b\r\rdata: c\r\n\r\ndata: d\n\n", ["a\nb", "c", "d"]),
        ("data: \x85\u2028\u2029\x0b\x0c\x1c\n\n".encode(), ["\x85\u2028\u2029\x0b\x0c\x1c"]),
        (b"data: \xff\xfe\n\n", ["\ufffd\ufffd"]),
        (b"data: \0\n\n", ["\0"]),
        (b"", []),
        # Fields: their names are exact, one space belongs to the colon, a tab does not.
        (b"data :a\n\ndata\t:b\n\n\tdata:c\n\nDATA:d\n\ndata\0:e\n\n\0data:f\n\n", []),
        (b"data:\ta\n\ndata:\0b\n\ndata: :c\n\ndata::d\n\n", ["\ta", "\0b", ":c", ":d"]),
        (b"data:a\ndata\ndata:\ndata:b\n\n", ["a\n\n\nb"]),
        (b"unknown:x\ndata:a\nunknown\n\n", ["a"]),
        (b":\0\n:\r:\r\n:data:x\n:" + b"x" * 5000 + b"\ndata:a\n\n", ["a"]),
        # Line ends: CR LF is one, LF CR is two.
        (b"data:a\n\rdata:b\r\n\rdata:c\r\r\n", ["a", "b", "c"]),
        (b"data:a\r\ndata:b\n\n", ["a\nb"]),
        (b"\r\n\n\r\r\ndata:a\r\n\r\n", ["a"]),
        # The end: what no blank line has ended is no event.
        (b"data:a\n\ndata:b\n", ["a"]),
        (b"data:a\n\ndata:b\r\n", ["a"]),
        (b"data:a\n\n:\n\nevent:x\n\nid:1\n\n", ["a"]),
        (b"data:a\r\n\r", ["a"]),
        # UTF-8: what is malformed is replaced, and ends nothing.
        (b"data:\xed\xa0\x80\xf0\x9f\x98\n\n", ["\ufffd\ufffd\ufffd\ufffd"]),
        (b"data:\xc0\x8a\xe2\x80\n\n", ["\ufffd\ufffd\ufffd"]),
        (b"\xfe\xff\0d\0a\0t\0a\0:\0a\0\n\0\n", []),
        (b"\xef\xbbdata:a\n\ndata:b\n\n", ["b"]),
        (b"\xef\xbb\xbf\ndata:a\n\n", ["a"]),
    ],
)  # fmt: skip
def test_the_streams_of_the_standard(stream: bytes, expected: list[str]) -> None:
    assert data_of(stream) == expected


def test_an_event_has_a_type_and_the_last_id_seen() -> None:
    stream = b"id: 1\nevent: add\ndata: a\n\ndata: b\n\nid: x\0y\ndata: c\n\nid\ndata: d\n\n"

    assert decode(stream) == [
        SSEEvent("a", "add", "1"),
        SSEEvent("b", "message", "1"),
        SSEEvent("c", "message", "1"),
        SSEEvent("d", "message", ""),
    ]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"event: gone\n\ndata: a\n\n", SSEEvent("a", "message", "")),
        (b"event: one\nevent: two\ndata: a\n\n", SSEEvent("a", "two", "")),
        (b"event: one\nevent:\ndata: a\n\n", SSEEvent("a", "message", "")),
        (b"event:  message \ndata: a\n\n", SSEEvent("a", " message ", "")),
        (b"data: a\nevent: add\nid: 1\n\n", SSEEvent("a", "add", "1")),
        (b"id: 1\n\ndata: a\n\n", SSEEvent("a", "message", "1")),
        (b"id: 1\nid:  2 \ndata: a\n\n", SSEEvent("a", "message", " 2 ")),
        (b"id: 1\nid: \0\ndata: a\n\n", SSEEvent("a", "message", "1")),
        (b"id: 1\nid\ndata: a\n\n", SSEEvent("a", "message", "")),
        (b"id: 1\nid:\ndata: a\n\n", SSEEvent("a", "message", "")),
        (b"id: \xe2\x80\xa6\ndata: a\n\n", SSEEvent("a", "message", "\u2026")),
        (b"retry: 1\nretry: -1\nretry\ndata: a\n\n", SSEEvent("a", "message", "")),
    ],
)
def test_a_field_counts_as_it_was_sent_last(stream: bytes, expected: SSEEvent) -> None:
    assert decode(stream) == [expected]
    assert decode(stream, *range(1, len(stream))) == [expected]


TEXTS = [
    "plain",
    "",
    "two\nlines",
    " leading",
    "中文 😀",
    "\x85\u2028\u2029\ufeff",
    "data: x",
    "a:b",
]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_stream_may_be_split_anywhere(end: str) -> None:
    lines: list[str] = [": hello"]
    for text in TEXTS:
        lines += [*(f"data: {line}" for line in text.split("\n")), ""]
    stream = ("\ufeff" + end.join(lines) + end).encode()

    assert data_of(stream) == TEXTS
    for cut in range(len(stream) + 1):
        assert [event.data for event in decode(stream, cut)] == TEXTS
    assert [event.data for event in decode(stream, *range(1, len(stream)))] == TEXTS


def test_line_ends_of_all_kinds_may_be_mixed_and_split_anywhere() -> None:
    chance = random.Random(1)
    for _ in range(200):
        stream = b"".join(
            chance.choice([b"data: x", b"data:", b"\r", b"\n", b"\r\n", b"id: 1", b": c", b"\n\n"])
            for _ in range(12)
        )
        whole = decode(stream)
        assert decode(stream, *range(1, len(stream))) == whole
        for cut in range(len(stream)):
            assert decode(stream, cut) == whole
        # CR LF and CR mean what LF means.
        as_lf = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        assert decode(as_lf) == whole


def test_random_bytes_never_break_the_decoder() -> None:
    chance = random.Random(2)
    for _ in range(300):
        stream = chance.randbytes(60)
        cuts = sorted(chance.sample(range(60), 5))
        assert decode(stream, *cuts) == decode(stream)


def test_random_texts_come_back_as_they_were_sent() -> None:
    chance = random.Random(3)
    alphabet = "ab:\n \t\0\x1b\x85\u2028\u2029\ufeff中😀"
    for _ in range(300):
        text = "".join(chance.choice(alphabet) for _ in range(20))
        stream = "".join(f"data: {line}\n" for line in text.split("\n")).encode() + b"\n"
        assert data_of(stream) == [text]


def test_an_event_that_outgrows_the_limit_is_refused() -> None:
    for piece in (b"data: xxxx\n", b"y"):
        decoder = SSEDecoder(max_event_chars=100)
        with pytest.raises(SSETooLargeError, match="longer than 100 characters"):
            list(map(decoder.feed, [piece] * 1000))


def test_the_limit_is_for_one_event_and_not_for_the_stream() -> None:
    decoder = SSEDecoder(max_event_chars=100)

    assert sum(len(decoder.feed(b"data: " + b"x" * 80 + b"\n\n")) for _ in range(100)) == 100
