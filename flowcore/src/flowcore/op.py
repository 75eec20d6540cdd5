"""Ops, the steps of a flow, and the operators that compose them.

An op that is written into a flow is a template. Each run works on copies of its own, so that what
an op keeps on ``self`` while it runs belongs to that run alone.
"""

from __future__ import annotations

import copy
import logging
import re
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from types import MemberDescriptorType
from typing import Any, NoReturn, Self, cast

import anyio
import anyio.abc

from flowcore.call_values import given
from flowcore.context import FlowContext, sent_through
from flowcore.errors import OpDefinitionError, did_you_mean
from flowcore.failure import error_text, failure_of, is_being_cancelled
from flowcore.run import Run

logger = logging.getLogger("flowcore")


class Op:
    """A node of a flow: a step, or steps joined by operators.

    Users derive from :class:`BaseAsyncOp` or :class:`BaseOp`.

    Args:
        name: Name for messages and sub-ops; by default the class name in snake case.

    Attributes:
        name: That name.
    """

    # What a copy for a run, or few ops, set: a copy has to look at all that the op itself holds.
    _run: Run | None = None
    _context: FlowContext | None = None
    _context_type: type[FlowContext] = FlowContext
    _place = ""
    _slot_members: tuple[MemberDescriptorType, ...] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # A mixin may keep what it holds in slots, of which `__dict__` knows nothing.
        values = [value for klass in reversed(cls.__mro__) for value in vars(klass).values()]
        cls._slot_members = tuple(each for each in values if isinstance(each, MemberDescriptorType))

    def __init__(self, name: str = "") -> None:
        self.name = name or snake_case(type(self).__name__)

    @cached_property
    def ops(self) -> SubOps:
        """The sub-ops that ``<<`` gave to this op, by name."""
        return SubOps()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    # --- what an op uses while it runs ---

    @property
    def run(self) -> Run:
        """The run that this copy of the op belongs to."""
        if self._run is None:
            self.not_running("run")
        return self._run

    @property
    def context(self) -> FlowContext:
        """The values of this run and the way to its caller."""
        if self._context is None:
            self.not_running("context")
        return self._context

    def not_running(self, what: str) -> NoReturn:
        """Say that ``what`` was asked of an op that is not part of a run."""
        name = type(self).__name__
        raise RuntimeError(
            f"{name}.{what} exists only while the op is part of a flow that runs; to run an op by "
            f"itself, open `FlowApp(config, flows={{'x': {name}(…)}})` and `execute('x', …)`"
        )

    # --- composition ---

    def __rshift__(self, other: Op) -> SequentialOp:
        right = check_op(other, "`>>`")
        return SequentialOp([*_parts(self, SequentialOp), *_parts(right, SequentialOp)])

    def __or__(self, other: Op) -> ParallelOp:
        right = check_op(other, "`|`")
        return ParallelOp([*_parts(self, ParallelOp), *_parts(right, ParallelOp)])

    def __lshift__(self, others: Op | Sequence[Op] | Mapping[str, Op]) -> Self:
        named: list[tuple[str, Op]]
        if isinstance(others, Mapping):
            named = [(name, check_op(op, "`<<`")) for name, op in others.items()]
        else:
            listed = others if isinstance(others, Sequence) else [others]
            named = [(op.name, op) for op in (check_op(item, "`<<`") for item in listed)]
        for name, op in named:
            if name in self.ops:
                raise OpDefinitionError(
                    f"op {self.name!r} has two sub-ops called {name!r}; name them with a dict"
                )
            self.ops[name] = op
        return self

    def children(self) -> Iterator[tuple[str, Op]]:
        """Yield the ops that this one holds, each with the name by which it holds it."""
        for key, value in held_by(self).items():
            yield from _ops_in(key, value)

    # --- execution ---

    def bind(self, run: Run) -> Self:
        """Return a copy of this op, and of the ops that it holds, which belongs to ``run``.

        Lists, dicts and sets that ``__init__`` made are copied too; other objects are shared.
        """
        clone = object.__new__(type(self))
        clone.__dict__ = own = vars(self).copy()
        for key, value in vars(self).items():
            if type(value) not in _SCALARS and isinstance(value, COPIED):
                own[key] = own_copy(value, run)
        for member in self._slot_members:
            with suppress(AttributeError):  # it is empty
                member.__set__(clone, own_copy(member.__get__(self), run))
        clone._run = run
        clone._context = self._context_type(run, self.name)
        return clone

    async def async_call(self, **values: Any) -> Any:
        """Run this op, with its retries and its fallback; it has to belong to a run.

        Args:
            **values: What its context has besides the values of the run, or in the place of them.
                Only this call sees them, with the ops that it calls in turn: other calls of the op
                may go on at the same time.

        Returns:
            What the op returns.
        """
        run = self.run
        with run.cleanup.enclosed(), given(values, run.data) if values else nullcontext():
            return await self._perform(run)

    async def _perform(self, run: Run) -> Any:
        """Run this op in a task, or a part of one, that the run's cleanup encloses."""
        raise NotImplementedError

    def emitted(self) -> int:
        """Return how many chunks this op, and the ops that it holds, have sent."""
        return sent_through(self.context) + sum(op.emitted() for _, op in self.children())


class SequentialOp(Op):
    """Runs ops one after the other: ``a >> b``; returns what the last one returned."""

    def __init__(self, steps: Sequence[Op]) -> None:
        super().__init__()
        self.steps = list(steps)

    def __lshift__(self, others: object) -> NoReturn:
        _refuse_sub_ops("a sequence")

    async def _perform(self, run: Run) -> Any:
        result = None
        for op in self.steps:
            run.cleanup.check()
            result = await op._perform(run)  # noqa: SLF001 - an op of its own
        return result


@dataclass
class _Together:
    """Ops that run at the same time."""

    run: Run
    group: anyio.abc.TaskGroup
    results: list[Any]
    failure: Exception | None = None


class ParallelOp(Op):
    """Runs ops at the same time: ``a | b``; returns what they returned, in the order written.

    The first that fails cancels the others; its exception is raised as it is.
    """

    def __init__(self, branches: Sequence[Op]) -> None:
        super().__init__()
        self.branches = list(branches)

    def __lshift__(self, others: object) -> NoReturn:
        _refuse_sub_ops("parallel ops")

    async def _perform(self, run: Run) -> list[Any]:
        together = _Together(run, anyio.create_task_group(), [None] * len(self.branches))
        try:
            async with together.group as group:
                for index, op in enumerate(self.branches):
                    group.start_soon(self._perform_branch, together, index, op)
            if together.failure is not None:
                raise together.failure
        finally:
            run.cleanup.end(self)
            together.failure = None  # its traceback holds this frame, and that the whole run
        return together.results

    async def _perform_branch(self, together: _Together, index: int, op: Op) -> None:
        run = together.run
        try:
            with run.cleanup.enclosed():
                together.results[index] = await op._perform(run)  # noqa: SLF001 - an op of its own
        except BaseException as raised:
            # anyio would drop a cancellation too, and leave a cycle by which it holds the run.
            if not (
                self._fail(together, op, failure_of(raised)) or isinstance(raised, CancelledError)
            ):
                raise

    def _fail(self, together: _Together, op: Op, error: Exception | None) -> bool:
        if error is None:
            return False
        scope = together.group.cancel_scope
        if scope.cancel_called or is_being_cancelled():
            text = "run %s: op %r failed while it was cancelled: %s"
            logger.warning(text, together.run.id, op.name, error_text(error))
        together.failure = together.failure or error
        together.run.cleanup.begin(self, together.failure)
        scope.cancel()
        return True


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


def held_by(op: Op) -> Mapping[str, Any]:
    """Return what an op itself holds, by name, in slots too."""
    held = vars(op)
    for member in op._slot_members:  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        with suppress(AttributeError):  # it is empty
            held = {**held, member.__name__: member.__get__(op)}
    return held


def check_op(value: object, taker: str) -> Op:
    """Return ``value`` if it is an op.

    Raises:
        OpDefinitionError: If it is something else.
    """
    if isinstance(value, Op):
        return value
    hint = "; add parentheses to make an op of the class" if isinstance(value, type) else ""
    raise OpDefinitionError(f"{taker} takes ops, not {value!r}{hint}")


def _refuse_sub_ops(taker: str) -> NoReturn:
    raise OpDefinitionError(
        f"`<<` gives sub-ops to a single op, not to {taker}; write a >> (b << c) with parentheses"
    )


def _parts(op: Op, kind: type[SequentialOp | ParallelOp]) -> list[Op]:
    if isinstance(op, kind):
        return op.steps if isinstance(op, SequentialOp) else op.branches
    return [op]


def own_copy(value: Any, run: Run | None = None) -> Any:
    """Copy lists, dicts, sets and what they hold of these; bind ops; share everything else."""
    if copier := _COPIERS.get(value.__class__):
        return copier(value, run) if value else value.__class__()
    if isinstance(value, Op):
        return value if run is None else value.bind(run)
    if not isinstance(value, COPIED):
        return value
    # defaultdict, deque and the like know better how they are copied.
    copied: Any = copy.copy(cast("Any", value))
    if isinstance(copied, dict | list | deque):
        pairs: Any = copied.items() if isinstance(copied, dict) else enumerate(copied)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType, reportUnknownArgumentType]
        for key, item in list(pairs):
            copied[key] = own_copy(item, run)
    return copied  # pyright: ignore[reportUnknownVariableType]


def _ops_in(name: str, value: object) -> Iterator[tuple[str, Op]]:
    if isinstance(value, Op):
        yield name, value
    elif isinstance(value, dict):
        for key, item in cast("dict[object, object]", value).items():
            yield from _ops_in(str(key), item)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(cast("list[object]", value), 1):
            yield from _ops_in(f"{name}[{number}]", item)


def snake_case(name: str) -> str:
    """Return the name of a class as ops are named after it."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _copy_items(kind: type) -> Callable[[Any, Run | None], Any]:
    return lambda value, run: kind(own_copy(item, run) for item in value)


def _copy_values(kind: type) -> Callable[[Any, Run | None], Any]:
    return lambda value, run: kind((key, own_copy(item, run)) for key, item in value.items())


_COPIERS: Mapping[type, Callable[[Any, Run | None], Any]] = {
    **{kind: _copy_items(kind) for kind in (list, tuple, set)},
    **{kind: _copy_values(kind) for kind in (dict, SubOps)},
}
_SCALARS = frozenset({str, int, float, bool, bytes, type(None)})
"""The types of most attributes, which need no closer look."""
COPIED = (Op, list, dict, set, tuple, deque, bytearray)
"""Types whose values each run gets a copy of."""
