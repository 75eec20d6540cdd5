"""What an op sees of the run that it is part of."""

from __future__ import annotations

from collections.abc import Iterator, KeysView, Mapping, MutableMapping
from typing import Any, NoReturn

from anyio.lowlevel import checkpoint

from flowcore import call_values
from flowcore.emission import chunk_of_text, is_bare
from flowcore.errors import ChunkError, did_you_mean
from flowcore.leftover import instead_of
from flowcore.run import Run
from flowcore.schema import ChunkEnum, FlowResponse, FlowStreamChunk
from flowcore.worker import from_worker

_ANSWER = ChunkEnum.ANSWER
_set = object.__setattr__
"""Sets the context's own attributes, for which its ``__setattr__`` has to look first."""


_OWN = (
    *("add_stream_chunk", "add_stream_chunk_sync", "add_stream_text", "add_stream_text_sync"),
    *("flow_id", "response"),
)
"""What ops use of a context besides its values, for who misspells it."""


class FlowContext:
    """The values that the ops of one run share, and their way to the caller.

    Values are read and written as attributes or as items: ``context.query``,
    ``context["query"]``, ``context.get("query", "")``. The inputs of the run are such values. They
    never hide the context's own attributes (``flow_id``, ``response`` and the methods): an input
    called ``response`` is found at ``context["response"]``.
    """

    __slots__ = ("_op", "_run", "_sent")

    def __init__(self, run: Run, op: str) -> None:
        _set(self, "_run", run)
        _set(self, "_op", op)
        _set(self, "_sent", 0)

    _run: Run
    _op: str
    _sent: int

    @property
    def flow_id(self) -> str:
        """Identifier of the run."""
        return self._run.id

    @property
    def response(self) -> FlowResponse:
        """The answer of a flow that is not streamed: ``answer``, ``success``, ``metadata``."""
        return self._run.response

    async def add_stream_chunk(self, chunk: FlowStreamChunk) -> None:
        """Send a chunk to the caller, and wait where the caller reads slowly.

        Texts that are empty are not sent. An error chunk ends the run as failed. Where there is
        room for the chunk, this returns at once, without a checkpoint.

        Raises:
            RunFailedError: If it is an error chunk; let it pass.
            ChunkError: If the payload has no JSON form, or a sync op calls this: its chunk would
                be lost.
        """
        run = self._run
        if is_bare(chunk) and run.take(chunk.chunk, chunk.chunk_type):
            _set(self, "_sent", self._sent + 1)
            return
        accepted = run.accept(chunk, self._op)
        if not accepted:
            await checkpoint()
        for owned in accepted:
            # Counted first: a chunk that may be on its way must not be sent again by another try.
            _set(self, "_sent", self._sent + 1)
            await run.send(owned, self._op)

    async def add_stream_text(self, text: str, chunk_type: ChunkEnum | str = _ANSWER) -> None:
        """Send a text to the caller: what :meth:`add_stream_chunk` does, without making a chunk.

        Args:
            text: What is sent.
            chunk_type: What it is, as a :class:`ChunkEnum` or its value, such as ``"think"``; an
                ``error`` ends the run as failed.

        Raises:
            RunFailedError: If it is an error; let it pass.
            ChunkError: If this is no text, there is no such type, or a sync op calls this: it
                would be lost.
        """
        if self._run.take(text, chunk_type):
            _set(self, "_sent", self._sent + 1)
        else:
            chunk = chunk_of_text(text, chunk_type, self._op)
            await FlowContext.add_stream_chunk(self, chunk)

    def add_stream_chunk_sync(self, chunk: FlowStreamChunk) -> None:
        """Blocking twin of :meth:`add_stream_chunk`, for the ``execute`` of a sync op."""
        from_worker(FlowContext.add_stream_chunk, self, chunk)

    def add_stream_text_sync(self, text: str, chunk_type: ChunkEnum | str = _ANSWER) -> None:
        """Blocking twin of :meth:`add_stream_text`, for the ``execute`` of a sync op."""
        from_worker(FlowContext.add_stream_text, self, text, chunk_type)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value, or ``default`` where there is none."""
        return _values(self._run).get(name, default)

    def update(self, values: Mapping[str, Any]) -> None:
        """Set several values."""
        _values(self._run).update(values)

    def keys(self) -> KeysView[str]:
        """Return the names of all values; ``dict(context)`` copies them."""
        return _values(self._run).keys()

    def __getattr__(self, name: str) -> Any:
        if name in FlowContext.__slots__:
            raise AttributeError(name)  # a copy that is still being made
        try:
            return _values(self._run)[name]
        except KeyError:
            raise AttributeError(self._missing(name), name=name, obj=self) from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FlowContext.__slots__:
            _set(self, name, value)
            return
        if hasattr(FlowContext, name):
            raise AttributeError(
                f"context.{name} is flowcore's own and cannot be replaced; "
                f"store the value as context[{name!r}] or under another name"
            )
        _values(self._run)[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del _values(self._run)[name]
        except KeyError:
            raise AttributeError(self._missing(name), name=name, obj=self) from None

    def __getitem__(self, name: str) -> Any:
        try:
            return _values(self._run)[name]
        except KeyError:
            raise KeyError(self._missing(name)) from None

    def __setitem__(self, name: str, value: Any) -> None:
        _values(self._run)[name] = value

    def __delitem__(self, name: str) -> None:
        del _values(self._run)[name]

    def __contains__(self, name: object) -> bool:
        return name in _values(self._run)

    def __iter__(self) -> Iterator[str]:
        return iter(_values(self._run))

    def __len__(self) -> int:
        return len(_values(self._run))

    def __repr__(self) -> str:
        # Names only: values may be secrets and end in logs.
        return f"<FlowContext of run {self._run.id}: {', '.join(_values(self._run)) or 'empty'}>"

    def _missing(self, name: str) -> str:
        what = f"the context of flow {self._run.flow!r} has no {name!r}"
        if instead := instead_of(name, is_sync=isinstance(self, WorkerContext)):
            return f"{what}, which is FlowLLM's: {instead}"
        guess = did_you_mean(name, [*_values(self._run), *_OWN])
        return f"{what}: it is neither an input nor set by an earlier op{guess}"


def _values(run: Run) -> MutableMapping[str, Any]:
    called = call_values.current.get()
    return run.data if called is None else called


class WorkerContext(FlowContext):
    """What a sync op sees of its run: from its thread it cannot await what sends chunks."""

    __slots__ = ()

    def add_stream_chunk(self, chunk: FlowStreamChunk) -> NoReturn:  # noqa: ARG002
        """Refuse to lose a chunk."""
        raise ChunkError("a sync op sends chunks with context.add_stream_chunk_sync(…)")

    def add_stream_text(self, text: str, chunk_type: ChunkEnum | str = _ANSWER) -> NoReturn:  # noqa: ARG002
        """Refuse to lose a text."""
        raise ChunkError("a sync op sends texts with context.add_stream_text_sync(…)")


def sent_through(context: FlowContext) -> int:
    """Return how many chunks have been sent through a context: those of one op.

    Not an attribute of the context, in which all names but a few are for the values of a flow.
    """
    return context._sent  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
