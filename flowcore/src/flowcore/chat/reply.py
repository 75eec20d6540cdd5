"""What comes of one question."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any

from flowcore.calling import Printer
from flowcore.errors import FlowcoreError
from flowcore.explain import pointer
from flowcore.schema import ChunkEnum, FlowStreamChunk
from flowcore.terminal import as_text


class Reply:
    """Gathers the chunks of a run on their way to the screen.

    Attributes:
        printer: Where they go on to, all but errors.
        error: Why there is no answer, or only a part; empty if all is well.
        invalid: Whether the flow refused its inputs.
        stopped: Whether the user did not want the rest.
    """

    printer: Printer

    def __init__(self) -> None:
        self._answer: list[str] = []
        self._usage: dict[str, int] = {}
        self._began = monotonic()
        self._first = 0.0
        self.error = ""
        self.invalid = False
        self.stopped = False

    def chunk(self, chunk: FlowStreamChunk) -> None:
        """Take a chunk."""
        self._first = self._first or monotonic()
        match chunk.chunk_type:
            case ChunkEnum.ANSWER:
                self._answer.append(as_text(chunk))
            case ChunkEnum.USAGE if isinstance(chunk.chunk, dict):
                for name, count in chunk.chunk.items():
                    if isinstance(count, int):
                        self._usage[name] = self._usage.get(name, 0) + count
            case ChunkEnum.ERROR:
                self._fail(as_text(chunk), chunk.metadata)
                return
            case _:
                pass
        self.printer.chunk(chunk)

    def fail(self, error: FlowcoreError) -> None:
        """Take what went wrong before the first chunk, or between two."""
        self.invalid = error.code == "invalid_input" or getattr(error, "status", 0) == 422
        self._fail(str(error), {"code": error.code})

    def _fail(self, text: str, metadata: Mapping[str, Any]) -> None:
        error_id = metadata.get("error_id")
        told = f"{text} (error id {error_id})" if error_id and error_id not in text else text
        self.error = f"{told}\n{pointer(metadata.get('code'))}".rstrip()

    @property
    def answer(self) -> str:
        """The answer, as far as it came."""
        return "".join(self._answer)

    @property
    def summary(self) -> str:
        """One line about the run: tokens and time."""
        now = monotonic()
        sent, got = self._usage.get("prompt_tokens"), self._usage.get("completion_tokens")
        parts = [
            "stopped" if self.stopped else "",
            "" if sent is None else f"{sent:,} tokens in",
            "" if got is None else f"{got:,} tokens out",
            f"{now - self._began:.1f} s",
            f"first after {self._first - self._began:.1f} s" if self._first else "",
        ]
        return " · ".join(part for part in parts if part)
