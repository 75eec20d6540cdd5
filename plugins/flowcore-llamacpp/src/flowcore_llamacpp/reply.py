"""Turns what the engine reports about one reply into chunks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic_core import from_json

from flowcore import BackendError, ChunkEnum, FlowStreamChunk, ToolCall


class Reply:
    """The state of one reply: OpenAI-style deltas go in, chunks come out."""

    def __init__(self) -> None:
        self.begun = False
        """Whether the engine has accepted the request and reported anything."""
        self._calls: dict[int, ToolCall] = {}
        self._usage: dict[str, int] = {}
        self._finish_reason = ""

    def feed(self, data: bytes) -> Iterator[FlowStreamChunk]:
        """Take one report of the engine, a JSON object, and yield its think and answer chunks.

        Raises:
            BackendError: If the engine reports an error.
        """
        report: dict[str, Any] = from_json(data)
        if "error" in report:
            raise self._error(report["error"])
        self.begun = True
        if usage := report.get("usage"):
            self._usage = {
                key: usage[key]
                for key in ("prompt_tokens", "completion_tokens", "total_tokens")
                if key in usage
            }
        for choice in report.get("choices", ()):
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
            delta: dict[str, Any] = choice.get("delta") or {}
            if text := delta.get("reasoning_content"):
                yield FlowStreamChunk(chunk_type=ChunkEnum.THINK, chunk=text)
            if text := delta.get("content"):
                yield FlowStreamChunk(chunk_type=ChunkEnum.ANSWER, chunk=text)
            for part in delta.get("tool_calls") or ():
                self._add_tool_part(part)

    def finish(self) -> Iterator[FlowStreamChunk]:
        """Yield the tool chunks and the usage chunk, once the engine has ended the reply.

        Raises:
            BackendError: If the engine did not say why the reply ended.
        """
        if not self._finish_reason:
            raise BackendError(
                "the reply of the model was cut: the engine gave no finish reason",
                code="generation_failed",
            )
        for _, call in sorted(self._calls.items()):
            yield FlowStreamChunk(chunk_type=ChunkEnum.TOOL, chunk=call.model_dump())
        yield FlowStreamChunk(
            chunk_type=ChunkEnum.USAGE,
            chunk=dict(self._usage),
            metadata={"finish_reason": self._finish_reason},
        )

    def raised(self, error: Exception) -> BackendError:
        """Return what to tell about an error that the engine raised."""
        code = "generation_failed" if self.begun else "request_rejected"
        return BackendError(f"llama.cpp: {error}", code=code)

    def _add_tool_part(self, part: dict[str, Any]) -> None:
        call = self._calls.setdefault(part.get("index", 0), ToolCall(name=""))
        function: dict[str, Any] = part.get("function") or {}
        call.id = part.get("id") or call.id
        call.name += function.get("name") or ""
        call.arguments += function.get("arguments") or ""

    def _error(self, error: dict[str, Any]) -> BackendError:
        if error.get("type") == "exceed_context_size_error":
            return BackendError(
                f"the prompt has {error.get('n_prompt_tokens')} tokens, but the context holds "
                f"{error.get('n_ctx')}; shorten the conversation or raise params.n_ctx",
                code="context_exceeded",
            )
        refused = not self.begun and 400 <= error.get("code", 500) < 500
        return BackendError(
            f"llama.cpp: {error.get('message')}",
            code="request_rejected" if refused else "generation_failed",
        )
