"""What a model replies, from the documents of its stream to chunks. Without I/O."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

from pydantic_core import from_json

from flowcore import ChunkEnum, FlowStreamChunk
from flowcore_openai.failures import Failures
from flowcore_openai.surrogates import SurrogateJoiner
from flowcore_openai.tool_calls import ToolCallAssembler

MAX_TOOL_CHARS = 16 * 1024 * 1024
"""Longest arguments of all tool calls of one answer."""

_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


class Reply:
    """Turns the documents of one answer into chunks, in the contract of ``astream_chat``.

    Args:
        failures: Makes the errors.
    """

    def __init__(self, failures: Failures) -> None:
        self.ended = False
        """The upstream has said that nothing follows."""
        self.has_content = False
        """Any text, any part of a tool call or the finish reason has arrived."""
        self.finish_reason: str | None = None
        self._failures = failures
        self._joiners = {ChunkEnum.THINK: SurrogateJoiner(), ChunkEnum.ANSWER: SurrogateJoiner()}
        self._tools = ToolCallAssembler()
        self._usage: dict[str, Any] = {}

    def feed(self, document: str) -> list[FlowStreamChunk]:
        """Return the chunks that the data of one event holds.

        Raises:
            BackendError: If it reports an error or is not what the API specifies.
        """
        if document == "[DONE]":
            self.ended = True
            return []
        data = self._parsed(document)
        if (error := data.get("error")) or data.get("object") == "error":
            raise self._failures.error(
                "upstream_error", "the model server reports", detail=error or data
            )
        if isinstance(usage := data.get("usage"), dict):
            counts = cast("dict[str, Any]", usage)
            self._usage = {k: counts[k] for k in _COUNTS if isinstance(counts.get(k), int)}
        chunks: list[FlowStreamChunk] = []
        for choice in self._list(data, "choices"):
            if choice.get("index"):
                continue
            delta = choice.get("delta")
            # A server that ignores "stream" answers with a message in place of deltas. One that
            # follows its deltas with the whole message says nothing new by it.
            if delta is None and not self.has_content:
                delta = choice.get("message")
            if delta:
                self._take(self._checked(delta), chunks)
            if reason := choice.get("finish_reason"):
                self.finish_reason = str(reason)
                self.has_content = True
        return chunks

    def finish(self) -> Iterator[FlowStreamChunk]:
        """Yield what is known only at the end: the tool calls and the usage.

        Raises:
            BackendError: If the stream has ended too early.
        """
        if not self.ended and self.finish_reason is None:
            raise self._failures.error(
                "upstream_truncated",
                "the answer is cut: it ended with neither [DONE] nor a finish_reason",
            )
        for kind, joiner in self._joiners.items():
            if rest := joiner.flush():
                yield FlowStreamChunk(chunk_type=kind, chunk=rest)
        for call in self._tools.calls():
            yield FlowStreamChunk(chunk_type=ChunkEnum.TOOL, chunk=call.model_dump())
        yield FlowStreamChunk(
            chunk_type=ChunkEnum.USAGE,
            chunk=self._usage,
            metadata={"finish_reason": self.finish_reason},
        )

    def _take(self, delta: dict[str, Any], chunks: list[FlowStreamChunk]) -> None:
        # Servers that know both names send the same text under both.
        if reasoning := delta.get("reasoning_content") or delta.get("reasoning"):
            self._add(ChunkEnum.THINK, reasoning, chunks)
        if content := delta.get("content"):
            self._add(ChunkEnum.ANSWER, content, chunks)
        if refusal := delta.get("refusal"):
            self._add(ChunkEnum.ANSWER, refusal, chunks)
        if "tool_calls" in delta:
            self._take_tools(self._list(delta, "tool_calls"))

    def _take_tools(self, fragments: list[dict[str, Any]]) -> None:
        for fragment in fragments:
            self.has_content = True
            self._tools.feed(fragment, self._checked(fragment.get("function") or {}))
        # They are kept until they are whole, unlike text.
        if self._tools.size > MAX_TOOL_CHARS:
            raise self._failures.error(
                "upstream_invalid", f"tool calls of more than {MAX_TOOL_CHARS} characters"
            )

    def _add(self, kind: ChunkEnum, content: object, chunks: list[FlowStreamChunk]) -> None:
        if isinstance(content, str):
            self.has_content = True
            if text := self._joiners[kind].feed(content):
                chunks.append(FlowStreamChunk(chunk_type=kind, chunk=text))
        elif isinstance(content, list):
            # Some models send typed parts: {"type": "thinking", "thinking": [...]}, {"text": "…"}.
            for item in cast("list[object]", content):
                part = self._checked(item)
                if thinking := part.get("thinking"):
                    self._add(ChunkEnum.THINK, thinking, chunks)
                self._add(kind, part.get("text"), chunks)
        elif content is not None:
            raise self._invalid("text that is no text", repr(content))

    def _parsed(self, document: str) -> dict[str, Any]:
        try:
            data = from_json(document)
        except ValueError:
            # The quick parser refuses lone surrogates, which the standard one lets through.
            try:
                data = json.loads(document)
            except (ValueError, RecursionError):
                data = None
        if not isinstance(data, dict):
            raise self._invalid("data that is no JSON object", document)
        return cast("dict[str, Any]", data)

    def _list(self, data: dict[str, Any], key: str) -> list[dict[str, Any]]:
        items = data.get(key)
        if not items:
            return []
        if not isinstance(items, list):
            raise self._invalid(f"{key!r} that is no list", repr(items))
        for item in cast("list[object]", items):
            self._checked(item)
        return cast("list[dict[str, Any]]", items)

    def _checked(self, value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._invalid("a value where an object belongs", repr(value))
        return cast("dict[str, Any]", value)

    def _invalid(self, what: str, detail: str) -> Exception:
        return self._failures.error("upstream_invalid", f"the stream holds {what}", detail=detail)
