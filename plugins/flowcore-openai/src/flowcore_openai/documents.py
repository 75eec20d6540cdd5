"""The documents in the body of an answer: the events of a stream, or one JSON document."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from flowcore.sse import SSEDecoder, SSETooLargeError
from flowcore_openai.failures import Failures

MAX_BYTES = 64 * 1024 * 1024
"""Longest answer that is read."""


class EventDocuments:
    """The data of each event of an event stream."""

    def __init__(self, failures: Failures) -> None:
        self._failures = failures
        self._decoder = SSEDecoder()
        self._utf8 = codecs.getincrementaldecoder("utf-8")("strict")

    def feed(self, data: bytes) -> Iterator[str]:
        """Yield the documents that ``data`` completes; empty events are none.

        Raises:
            BackendError: If the bytes are not UTF-8 or an event is too large.
        """
        fault = ""
        try:
            self._utf8.decode(data)
        except UnicodeDecodeError as exc:
            # What precedes the fault is good; some of it may have come with earlier bytes.
            data = data[: max(0, exc.start - (len(exc.object) - len(data)))]
            fault = "the stream is not UTF-8"
        try:
            for event in self._decoder.feed(data):
                if document := event.data.strip():
                    yield document
        except SSETooLargeError as exc:
            fault = str(exc)
        if fault:
            raise self._failures.error("upstream_invalid", fault)

    def end(self) -> Iterator[str]:
        """Yield nothing: an event that no blank line ends is incomplete."""
        return iter(())


class SingleDocument:
    """The whole body as one document."""

    def __init__(self, failures: Failures) -> None:
        self._failures = failures
        self._body = bytearray()

    def feed(self, data: bytes) -> Iterator[str]:
        """Take a piece of the body.

        Raises:
            BackendError: If the body is too large.
        """
        self._body += data
        if len(self._body) > MAX_BYTES:
            raise self._failures.error(
                "upstream_invalid", f"the answer is longer than {MAX_BYTES} bytes"
            )
        return iter(())

    def end(self) -> Iterator[str]:
        """Yield the document.

        Raises:
            BackendError: If it is not UTF-8.
        """
        try:
            yield self._body.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise self._failures.error("upstream_invalid", "the answer is not UTF-8") from None
        # A whole answer needs no mark of its end.
        yield "[DONE]"


def documents_of(media_type: str, failures: Failures) -> EventDocuments | SingleDocument:
    """Return the reader for the content type of an answer to a streamed request.

    Raises:
        BackendError: If the type is neither an event stream nor JSON, such as a proxy's page.
    """
    if media_type == "application/json" or media_type.endswith("+json"):
        return SingleDocument(failures)
    # Not every server labels its stream.
    if media_type in {"text/event-stream", "text/plain", ""}:
        return EventDocuments(failures)
    raise failures.error(
        "upstream_invalid",
        f"the answer is {media_type!r}, neither an event stream nor JSON; check base_url",
    )
