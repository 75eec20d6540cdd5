"""What bounds a run: how long it may take, and how much of it may wait."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_YEAR = 366 * 86_400.0
Seconds = Annotated[float, Field(gt=0, le=_YEAR)]


class FlowDeadlines(BaseModel):
    """The deadlines of a flow's runs, in seconds; None stands for no limit.

    Attributes:
        first_chunk: Seconds from the start of a streamed run to its first chunk.
        idle: Seconds from one chunk of a streamed run to the next; the time in which ops wait for
            a slow reader does not count.
        total: Seconds from the start of a run to its end.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    first_chunk: Seconds | None = 300.0
    idle: Seconds | None = 300.0
    total: Seconds | None = 3600.0

    def overridden_by(self, own: FlowDeadlines) -> FlowDeadlines:
        """Return these deadlines, with what ``own`` says explicitly in their place."""
        return self.model_copy(update={key: getattr(own, key) for key in own.model_fields_set})


class Deadlines(FlowDeadlines):
    """The deadlines of all runs of an app.

    Attributes:
        cleanup: How long the ops of a run that was cancelled may go on, in seconds; then the run
            ends without them.
    """

    cleanup: Seconds = 5.0


@dataclass(frozen=True, slots=True)
class RunLimits:
    """What bounds one run.

    Attributes:
        max_chunks: How many chunks may wait for the reader.
        max_bytes: How many bytes of content may wait for the reader.
        max_chunk_bytes: How large the content of one chunk may be.
        max_answer_bytes: How large an answer may be that is gathered from chunks.
        deadlines: How long the run may take.
        cleanup: How long its ops may go on after a cancellation, in seconds.
        streamed: Whether the deadlines for chunks apply.
        show_errors: Whether callers see the text of exceptions that ops raise.
    """

    max_chunks: int = 256
    max_bytes: int = 1024 * 1024
    max_chunk_bytes: int = 4 * 1024 * 1024
    max_answer_bytes: int = 64 * 1024 * 1024
    deadlines: FlowDeadlines = field(default_factory=FlowDeadlines)
    cleanup: float = 5.0
    streamed: bool = False
    show_errors: bool = True

    def shortest(self) -> float:
        """Return the shortest deadline, in seconds."""
        return min([self.cleanup, *(value for _, value in self.deadlines if value is not None)])

    def passed(self, age: float, silence: float | None) -> tuple[str, str] | None:
        """Return the name of a deadline that has passed, and what the run did not do, or None.

        Args:
            age: How long ago the run started, in seconds.
            silence: How long ago its last chunk was emitted; None before the first.
        """
        limits = self.deadlines
        if limits.total is not None and age > limits.total:
            return "total", f"did not end within {limits.total:g} s"
        if not self.streamed:
            return None
        if silence is None:
            if limits.first_chunk is not None and age > limits.first_chunk:
                return "first_chunk", f"emitted nothing within {limits.first_chunk:g} s"
        elif limits.idle is not None and silence > limits.idle:
            return "idle", f"emitted nothing for {limits.idle:g} s"
        return None
