"""Ops that misbehave, and report from inside the server what happens to them.

A report is a line of JSON in the file ``$FAULTS_REPORTS``: the ``key`` that the request chose for
itself, the op, the event (``started``, ``cancelled``, ``raised``, ``finished``, and ``ended`` from
the one ``finally``), the time on the clock that all processes of a machine share, and the process.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from flowcore import (
    BaseAsyncOp,
    BaseOp,
    C,
    ChunkEnum,
    FlowApp,
    FlowStreamChunk,
    Message,
    Op,
    Role,
    hookimpl,
)

ODD: dict[str, Any] = {
    "bytes": b"\xff\x00",
    "nan": {"value": float("nan")},
    "infinity": [float("inf")],
    "set": {"a set": {1}},
    "object": {"an object": object()},
    "surrogate": "half \ud83d of it",
    "nested surrogate": {"text": ["\udc00"]},
    "number": 7,
    "none": None,
}

REPORTS = Path(os.environ.get("FAULTS_REPORTS", os.devnull))
_apps: list[FlowApp] = []


def report(op: BaseAsyncOp | BaseOp, event: str, **details: object) -> None:
    write(str(op.context.get("key", "")), op.name, event, **details)


def write(key: str, name: str, event: str, **details: object) -> None:
    line = {"key": key, "op": name, "event": event, "at": time.monotonic(), "pid": os.getpid()}
    # One write to a file opened for appending: lines of several processes do not mix.
    with REPORTS.open("ab", buffering=0) as file:
        file.write(json.dumps({**line, **details}).encode() + b"\n")


@hookimpl
def flowcore_lifespan(app: FlowApp) -> Any:
    @asynccontextmanager
    async def lifespan() -> AsyncGenerator[None]:
        _apps.append(app)
        try:
            yield
        finally:
            write("", "lifespan", "ended")

    return lifespan()


class ReportingOp(BaseAsyncOp):
    """Reports how :meth:`act` comes to its end."""

    async def async_execute(self) -> object:
        report(self, "started")
        try:
            await self.act()
        except asyncio.CancelledError:
            report(self, "cancelled")
            raise
        except Exception as error:
            report(self, "raised", error=type(error).__name__)
            raise
        else:
            report(self, "finished")
        finally:
            report(self, "ended")

    async def act(self) -> None:
        raise NotImplementedError

    async def emit(
        self, chunk: Any, kind: ChunkEnum = ChunkEnum.ANSWER, **metadata: object
    ) -> None:
        await self.context.add_stream_chunk(
            FlowStreamChunk(chunk_type=kind, chunk=chunk, metadata=metadata)
        )


# --- ops that wait ---


@C.register_op()
class QuietOp(ReportingOp):
    """Emits one chunk and then nothing, for ever."""

    async def act(self) -> None:
        await self.emit("first")
        await anyio.sleep_forever()


@C.register_op()
class SilentOp(ReportingOp):
    async def act(self) -> None:
        await anyio.sleep_forever()


@C.register_op()
class TrickleOp(ReportingOp):
    """Emits ``count`` chunks with ``pause`` seconds before each."""

    async def act(self) -> None:
        for number in range(self.context.get("count", 10)):
            await anyio.sleep(self.context.get("pause", 0.02))
            await self.emit(f"{number} ")


@C.register_op()
class CleanupOp(ReportingOp):
    """Takes ``cleanup`` seconds to clean up, shielded from further cancellation."""

    async def act(self) -> None:
        try:
            await self.emit("first")
            await anyio.sleep_forever()
        finally:
            report(self, "cleaning")
            with anyio.CancelScope(shield=True):
                await anyio.sleep(self.context.get("cleanup", 0.3))
            report(self, "cleaned")


@C.register_op()
class SwallowOp(ReportingOp):
    """Does not want to be cancelled, for ``seconds``."""

    async def act(self) -> None:
        await self.emit("first")
        until = time.monotonic() + self.context.get("seconds", 4)
        while time.monotonic() < until:
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                report(self, "swallowed")


@C.register_op()
class BlockOp(ReportingOp):
    """Holds up the event loop."""

    async def act(self) -> None:
        await self.emit("first")
        time.sleep(self.context.get("seconds", 1))
        await self.emit("second")


# --- ops that emit ---


@C.register_op()
class EchoOp(ReportingOp):
    """Emits what the request says: each of ``texts`` is a chunk."""

    async def act(self) -> None:
        for text in self.context.get("texts", []):
            await self.emit(text)


@C.register_op()
class CountOp(ReportingOp):
    """Emits ``count`` numbered chunks of ``size`` characters, and reports how far it has come."""

    async def act(self) -> None:
        count, size = self.context.get("count", 1000), self.context.get("size", 10)
        step = max(1, count // 20)
        for number in range(count):
            await self.emit(f"{number} ".ljust(size, "."))
            if number % step == 0:
                report(self, "emitted", number=number)


@C.register_op()
class SpinOp(ReportingOp):
    """Emits for ever, and awaits nothing but that."""

    async def act(self) -> None:
        while True:
            await self.emit("spin ")


@C.register_op()
class LateOp(ReportingOp):
    """Emits after its done chunk."""

    async def act(self) -> None:
        await self.emit("in time")
        await self.emit("", ChunkEnum.DONE)
        await self.emit("too late")
        await self.emit("much too late")


@C.register_op()
class ProtestOp(ReportingOp):
    """Emits after it was cancelled."""

    async def act(self) -> None:
        await self.emit("first")
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                for _ in range(3):
                    await self.emit("protest")
                report(self, "protested")


@C.register_op()
class OddOp(ReportingOp):
    """Emits a payload that JSON does not know."""

    async def act(self) -> None:
        await self.emit("before ")
        payload = ODD[self.context["payload"]]
        chunk = FlowStreamChunk.model_construct(
            flow_id="", chunk_type=ChunkEnum.ANSWER, chunk=payload, done=False, metadata={}
        )
        await self.context.add_stream_chunk(chunk)
        await self.emit("after")


@C.register_op()
class RaiseOp(ReportingOp):
    """Raises after ``before`` chunks."""

    async def act(self) -> None:
        for number in range(self.context.get("before", 0)):
            await self.emit(f"{number} ")
        raise RuntimeError(self.context.get("message", "it broke"))


@C.register_op()
class GroupOp(ReportingOp):
    """Raises a group that holds one exception."""

    async def act(self) -> None:
        raise ExceptionGroup("many", [ValueError("the one cause")])


@C.register_op()
class ExitOp(ReportingOp):
    """Calls a library that ends the process."""

    async def act(self) -> None:
        raise SystemExit(3)


# --- sync ops ---


@C.register_op()
class SyncCountOp(BaseOp):
    def execute(self) -> None:
        report(self, "started")
        for number in range(self.context.get("count", 3)):
            self.context.add_stream_chunk_sync(FlowStreamChunk(chunk=f"{number} "))
        report(self, "ended")


@C.register_op()
class SyncBlockOp(BaseOp):
    def execute(self) -> None:
        report(self, "started")
        time.sleep(self.context.get("seconds", 1))
        report(self, "ended")


@C.register_op()
class AnswerOp(BaseAsyncOp):
    """Streams nothing; its answer is that of the response."""

    async def async_execute(self) -> None:
        self.context.response.answer = "the whole answer"


# --- ops that ask a model ---


@C.register_op()
class AskOp(ReportingOp):
    """Streams what the model says that the request names."""

    async def act(self) -> None:
        messages = [Message(role=Role.USER, content=self.context["key"])]
        async for chunk in self.llm.astream_chat(messages, model=self.context["model"]):
            await self.context.add_stream_chunk(chunk)


@C.register_op()
class AskToolOp(ReportingOp):
    """Runs the tool that the model calls, if it is one of its own."""

    async def act(self) -> None:
        messages = [Message(role=Role.USER, content=self.context["key"])]
        async for chunk in self.llm.astream_chat(messages, model=self.context["model"]):
            if chunk.chunk_type is ChunkEnum.TOOL and isinstance(chunk.chunk, dict):
                await self.call_sub_op(chunk.chunk["name"])

    async def call_sub_op(self, name: str) -> None:
        op: Op = self.ops[name]
        await op.async_call()


@C.register_op()
class CensusOp(BaseAsyncOp):
    """Counts what this process holds, itself excluded."""

    async def async_execute(self) -> None:
        app = _apps[-1]
        self.context.response.metadata = {
            "pid": os.getpid(),
            "runs": len(app.runs) - 1,
            "tasks": len(asyncio.all_tasks()),
            "threads": threading.active_count(),
        }
        self.context.response.answer = "counted"
