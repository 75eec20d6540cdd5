"""Ops, the steps of a flow, and the operators that compose them.

An op that is written into a flow is a template. Each run works on copies of its own, so that what
an op keeps on ``self`` while it runs belongs to that run alone.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Self

import anyio

from flowcore.context import FlowContext
from flowcore.embedding import BaseEmbeddingModel
from flowcore.errors import OpDefinitionError, did_you_mean
from flowcore.llm import BaseLLM
from flowcore.prompt import Prompts, prompt_file
from flowcore.run import Run
from flowcore.vector_store import BaseVectorStore

logger = logging.getLogger("flowcore")


class Op:
    """Base of everything that can stand in a flow; derive from BaseAsyncOp or BaseOp instead.

    Args:
        name: Name for messages and sub-ops; by default the class name in snake case.
        max_retries: How often the op is tried in all, at least once. It is tried again only while
            it has emitted no chunk.
        raise_exception: Whether a failure that no fallback handles ends the run (the default), or
            is logged and passed over.
        language: Language of the prompts; by default that of the app.
        prompt_path: Prompt file, relative to the file of the op; by default ``x_prompt.yaml``
            beside ``x_op.py``.
        llm: Name of the ``llm`` entry, or an LLM.
        embedding_model: Name of the ``embedding_model`` entry, or an embedding model.
        vector_store: Name of the ``vector_store`` entry, or a vector store.

    Raises:
        OpDefinitionError: If a parameter is out of range.
    """

    file_path: str = ""

    def __init__(
        self,
        name: str = "",
        *,
        max_retries: int = 1,
        raise_exception: bool = True,
        language: str = "",
        prompt_path: str = "",
        llm: str | BaseLLM = "default",
        embedding_model: str | BaseEmbeddingModel = "default",
        vector_store: str | BaseVectorStore = "default",
    ) -> None:
        if max_retries < 1:
            raise OpDefinitionError(f"{type(self).__name__}: max_retries counts tries, at least 1")
        self.name = name or _snake_case(type(self).__name__)
        self.max_retries = max_retries
        self.raise_exception = raise_exception
        self.language = language
        self.prompt_path = prompt_path
        self.ops = SubOps()
        self._llm = llm
        self._embedding_model = embedding_model
        self._vector_store = vector_store
        self._run: Run | None = None
        self._context: FlowContext | None = None
        self._prompts: Prompts | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    # --- what an op uses while it runs ---

    @property
    def run(self) -> Run:
        """The run that this copy of the op belongs to."""
        if self._run is None:
            self._not_running("run")
        return self._run

    @property
    def context(self) -> FlowContext:
        """The values of this run and the way to its caller."""
        if self._context is None:
            self._not_running("context")
        return self._context

    @property
    def llm(self) -> BaseLLM:
        """The language model that the op's ``llm`` names."""
        return self.run.resources.llm(self._llm) if isinstance(self._llm, str) else self._llm

    @property
    def embedding_model(self) -> BaseEmbeddingModel:
        """The embedding model that the op's ``embedding_model`` names."""
        model = self._embedding_model
        return self.run.resources.embedding_model(model) if isinstance(model, str) else model

    @property
    def vector_store(self) -> BaseVectorStore:
        """The vector store that the op's ``vector_store`` names."""
        store = self._vector_store
        return self.run.resources.vector_store(store) if isinstance(store, str) else store

    @property
    def short_name(self) -> str:
        """The op's name without the ending ``_op``."""
        return self.name.removesuffix("_op")

    def named_backends(self) -> dict[str, str]:
        """Return the config entries that this op names, by kind: ``{"llm": "default", …}``."""
        used = {
            "llm": self._llm,
            "embedding_model": self._embedding_model,
            "vector_store": self._vector_store,
        }
        return {kind: name for kind, name in used.items() if isinstance(name, str)}

    def get_prompt(self, prompt_name: str) -> str:
        """Return a prompt of the op's prompt file, in the op's language where it has that.

        Raises:
            PromptError: If there is none.
        """
        return self._own_prompts().get(prompt_name)

    def prompt_format(self, prompt_name: str, /, **values: Any) -> str:
        """Return a prompt with ``{key}`` replaced by ``values``; all other braces stay.

        Raises:
            PromptError: If there is no such prompt.
        """
        return self._own_prompts().format(prompt_name, values)

    def load_prompts(self, language: str) -> None:
        """Read the op's prompt file, once, when its flow is compiled.

        Args:
            language: Language of the app, for ops that name none.

        Raises:
            PromptError: If the file that ``prompt_path`` names is missing, or any is malformed.
        """
        self._prompts = Prompts(self._prompt_file(), self.language or language)

    def _own_prompts(self) -> Prompts:
        if self._prompts is None:
            self._not_running("get_prompt")
        return self._prompts

    def _prompt_file(self) -> Path | None:
        module = sys.modules.get(type(self).__module__)
        source = self.file_path or getattr(module, "__file__", None)
        # Code typed into an interpreter has no file: paths are then relative to the folder.
        folder = Path(source).resolve().parent if source else Path.cwd()
        if self.prompt_path:
            return folder / self.prompt_path
        path = prompt_file(folder / Path(source).name) if source else None
        return path if path and path.is_file() else None

    def _not_running(self, what: str) -> NoReturn:
        name = type(self).__name__
        raise RuntimeError(f"{name}.{what} exists only while the op is part of a flow that runs")

    # --- composition ---

    def __rshift__(self, other: Op) -> SequentialOp:
        right = check_op(other, "`>>`")
        return SequentialOp([*_parts(self, SequentialOp), *_parts(right, SequentialOp)])

    def __or__(self, other: Op) -> ParallelOp:
        right = check_op(other, "`|`")
        return ParallelOp([*_parts(self, ParallelOp), *_parts(right, ParallelOp)])

    def __lshift__(self, others: Op | Sequence[Op] | Mapping[str, Op]) -> Self:
        if isinstance(others, Mapping):
            named = [(name, check_op(op, "`<<`")) for name, op in others.items()]
        else:
            ops = others if isinstance(others, list | tuple) else [others]
            named = [(check_op(op, "`<<`").name, op) for op in ops]
        for name, op in named:
            if name in self.ops:
                raise OpDefinitionError(
                    f"op {self.name!r} has two sub-ops called {name!r}; name them with a dict"
                )
            self.ops[name] = op
        return self

    def children(self) -> Iterator[tuple[str, Op]]:
        """Yield the ops that this one holds, each with the name by which it holds it."""
        for key, value in vars(self).items():
            if isinstance(value, Op):
                yield key, value
            elif type(value) in _CONTAINERS:
                items = value.items() if isinstance(value, dict) else enumerate(value, 1)
                yield from ((str(name), op) for name, op in items if isinstance(op, Op))

    # --- execution ---

    def bind(self, run: Run) -> Self:
        """Return a copy of this op, and of the ops that it holds, which belongs to ``run``.

        Lists, dicts and sets that ``__init__`` made are copied too; other objects are shared.
        """
        clone = object.__new__(type(self))
        clone.__dict__ = {
            key: _own(value, run) if type(value) in _CONTAINERS or isinstance(value, Op) else value
            for key, value in vars(self).items()
        }
        clone._run = run
        clone._context = FlowContext(run, self.name)
        return clone

    async def async_call(self, **values: Any) -> Any:
        """Run this op with its retries and its fallback, such as a sub-op: ``self.ops.search``.

        Args:
            **values: Set in the context first.

        Returns:
            What the op's ``async_execute`` or ``execute`` returned.
        """
        run = self.run
        self.context.update(values)
        if run.observer is None:
            return await self._try()
        run.observer.op_started(run, self)
        failure: BaseException | None = None
        try:
            return await self._try()
        except BaseException as error:
            failure = error
            raise
        finally:
            run.observer.op_finished(run, self, failure)

    async def _try(self) -> Any:
        tries = 1
        while True:
            emitted = self._emitted()
            try:
                return await self._attempt()
            except Exception as error:
                if tries < self.max_retries and self._emitted() == emitted:
                    tries += 1
                    logger.warning(
                        "run %s: op %r failed: %r; next try", self.run.id, self.name, error
                    )
                    continue
                return await self._fail(error)

    async def _fail(self, error: Exception) -> Any:
        if self._has_fallback():
            return await self._fall_back(error)
        if not self.raise_exception:
            logger.warning(
                "run %s: op %r failed and is passed over", self.run.id, self.name, exc_info=error
            )
            return None
        self.run.blame(self.name)
        note = f"in flow {self.run.flow!r}, op {self.name!r}"
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
        raise error

    def _emitted(self) -> int:
        return self.context.emitted + sum(op._emitted() for _, op in self.children())

    async def _attempt(self) -> Any:
        raise NotImplementedError  # pragma: no cover - BaseAsyncOp and BaseOp implement it

    def _has_fallback(self) -> bool:
        return False

    async def _fall_back(self, error: Exception) -> Any:
        raise error


class SequentialOp(Op):
    """Runs ops one after the other: ``a >> b``."""

    def __init__(self, steps: Sequence[Op]) -> None:
        super().__init__()
        self.steps = list(steps)

    async def async_call(self, **values: Any) -> Any:
        """Run the steps in order and return what the last one returned."""
        self.context.update(values)
        result = None
        for op in self.steps:
            result = await op.async_call()
        return result


class ParallelOp(Op):
    """Runs ops at the same time: ``a | b``.

    The first that fails cancels the others; its exception is raised as it is.
    """

    def __init__(self, branches: Sequence[Op]) -> None:
        super().__init__()
        self.branches = list(branches)

    async def async_call(self, **values: Any) -> list[Any]:
        """Run the branches and return what they returned, in the order written."""
        self.context.update(values)
        results: list[Any] = [None] * len(self.branches)
        failure: BaseException | None = None

        async def branch(index: int, op: Op) -> None:
            nonlocal failure
            try:
                results[index] = await op.async_call()
            # SystemExit in an asyncio task would end the event loop.
            except (Exception, SystemExit) as error:  # noqa: BLE001
                failure = failure or error
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for index, op in enumerate(self.branches):
                group.start_soon(branch, index, op)
        if failure is not None:
            raise failure
        return results


class SubOps(dict[str, Op]):
    """The sub-ops of an op, by name: ``ops.search`` or ``ops["search"]``."""

    def __getattr__(self, name: str) -> Op:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no sub-op {name!r}{did_you_mean(name, self)}") from None

    def __setattr__(self, name: str, op: Op) -> None:
        if hasattr(dict, name):
            raise OpDefinitionError(f"a sub-op cannot be called {name!r}: that is a method of dict")
        self[name] = check_op(op, "`ops`")


def check_op(value: object, taker: str) -> Op:
    """Return ``value`` if it is an op.

    Raises:
        OpDefinitionError: If it is something else.
    """
    if isinstance(value, Op):
        return value
    hint = "; add parentheses to make an op of the class" if isinstance(value, type) else ""
    raise OpDefinitionError(f"{taker} takes ops, not {value!r}{hint}")


def _parts(op: Op, kind: type[SequentialOp | ParallelOp]) -> list[Op]:
    if isinstance(op, kind):
        return op.steps if isinstance(op, SequentialOp) else op.branches
    return [op]


def _own(value: Any, run: Run) -> Any:
    if isinstance(value, Op):
        return value.bind(run)
    kind = type(value)
    if kind not in _CONTAINERS:
        return value
    if isinstance(value, dict):
        return kind({key: _own(item, run) for key, item in value.items()})
    return kind(_own(item, run) for item in value)


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


_CONTAINERS = frozenset({list, dict, set, tuple, SubOps})
