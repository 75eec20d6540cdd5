"""The states of a run, and how one tells that it did not come to a good end: chunk and log."""

from __future__ import annotations

import logging
import secrets
from contextlib import suppress
from enum import StrEnum
from typing import Any

from pydantic_core import from_json

from flowcore.errors import FlowcoreError, InputError, RunFailedError, RunTimeoutError
from flowcore.failure import error_text, user_traceback
from flowcore.payload import json_bytes
from flowcore.schema import ChunkEnum, FlowResponse, FlowStreamChunk

logger = logging.getLogger("flowcore")

_PUBLIC_ERRORS = (InputError, RunFailedError, RunTimeoutError)
"""Errors whose text was written for callers."""
_warned: set[tuple[str, str]] = set()


class RunState(StrEnum):
    """Where a run stands; it leaves ``running`` exactly once."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


def error_chunk(
    run_id: str, flow: str, error: Exception, *, op: str = "", show: bool = True
) -> FlowStreamChunk:
    """Log the failure of a run and return its error chunk; an error id joins the two.

    Args:
        run_id: Identifier of the run.
        flow: Name of the flow.
        error: Why it failed.
        op: Name of the op that failed, where one did.
        show: Whether the chunk has the text of an error that was not written for callers.
    """
    error_id = secrets.token_hex(6)
    text = error_text(error)
    # The text of our own errors says it all; an op's exception needs its place.
    ours = isinstance(error, FlowcoreError) and not logger.isEnabledFor(logging.DEBUG)
    logger.error(
        "run %s of flow %r failed (error id %s): %s",
        *(run_id, flow, error_id, text),
        extra={"error_id": error_id},
        exc_info=None if ours else (type(error), error, user_traceback(error)),
    )
    if not (show or isinstance(error, _PUBLIC_ERRORS)):
        text = f"the flow failed; the log tells more under the error id {error_id}"
    metadata: dict[str, Any] = {"code": "op_failed", "error_id": error_id}
    if isinstance(error, FlowcoreError):
        metadata["code"] = error.code
    if isinstance(error, RunFailedError):
        # Whatever is wrong with its metadata, the error itself has to be told.
        with suppress(Exception):
            metadata.update(from_json(json_bytes(error.metadata, fallback=str)))
            if metadata["error_id"] != error_id:  # that of another service, say
                metadata |= {"error_id": error_id, "cause_id": metadata["error_id"]}
    if op:
        metadata["op"] = op
    return FlowStreamChunk(
        flow_id=run_id, chunk_type=ChunkEnum.ERROR, chunk=text, metadata=metadata
    )


def cancelled_chunk(run_id: str, flow: str, reason: str) -> FlowStreamChunk:
    """Log the cancellation of a run and return its error chunk, for those who still read it."""
    reason = reason or "shutdown"  # only the end of the app cancels without a word
    logger.info("run %s of flow %r: cancelled (%s)", run_id, flow, reason)
    return FlowStreamChunk(
        flow_id=run_id,
        chunk_type=ChunkEnum.ERROR,
        chunk=f"the run was cancelled ({reason})",
        metadata={"code": "cancelled", "reason": reason},
    )


def warn_of_lost_value(flow: str, op: str, response: FlowResponse) -> None:
    """Log, once, that an op returned a value and that the answer of its flow is empty."""
    if response.success and not response.metadata and (flow, op) not in _warned:
        _warned.add((flow, op))
        logger.warning(
            "flow %r has no answer, though op %r returned a value: an op answers with "
            "self.context.response.answer = …, or with chunks",
            *(flow, op),
        )
