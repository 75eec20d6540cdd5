from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from flowcore import (
    BaseAsyncOp,
    BaseOp,
    FlowApp,
    FlowStreamChunk,
    Op,
    OpDefinitionError,
    ParallelOp,
    SequentialOp,
)
from flowcore.testing import collect, run_op


class TraceOp(BaseAsyncOp):
    """Writes its name into the list `trace` of the context."""

    async def async_execute(self) -> str:
        self.context.trace.append(self.name)
        return self.name


class SyncTraceOp(BaseOp):
    def execute(self) -> str:
        self.context.trace.append(self.name)
        return self.name


class ParentOp(BaseAsyncOp):
    """Runs its sub-ops in order and keeps what they return."""

    async def async_execute(self) -> None:
        self.context.returned = [await op.async_call() for op in self.ops.values()]


async def trace(op: Op, **inputs: Any) -> list[str]:
    names: list[str] = []
    await run_op(op, trace=names, **inputs)
    return names


# --- names


@pytest.mark.parametrize(
    ("name", "expected"),
    [("SearchOp", "search_op"), ("LLMChatOp", "llm_chat_op"), ("HTTP2GetOp", "http2_get_op")],
)
def test_an_op_is_called_by_its_class_name_in_snake_case(name: str, expected: str) -> None:
    op_class: Any = type(name, (TraceOp,), {})

    assert op_class().name == expected
    assert op_class().short_name == expected.removesuffix("_op")
    assert op_class(name="mine").name == "mine"


def test_a_class_name_must_end_in_op_and_the_error_holds_the_fix() -> None:
    with pytest.raises(OpDefinitionError, match="rename 'StreamChat' to 'StreamChatOp'"):

        class StreamChat(BaseAsyncOp):
            async def async_execute(self) -> None: ...


# --- in sequence, in parallel


async def test_sequence_runs_in_order_and_mixes_both_kinds() -> None:
    flow = TraceOp(name="a") >> SyncTraceOp(name="b") >> TraceOp(name="c") >> SyncTraceOp(name="d")

    assert await trace(flow) == ["a", "b", "c", "d"]


async def test_sequence_stops_at_the_first_failure() -> None:
    class FailOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            raise ValueError("stop")

    names: list[str] = []
    with pytest.raises(ValueError, match="stop"):
        await run_op(TraceOp(name="a") >> FailOp() >> TraceOp(name="b"), trace=names)

    assert names == ["a"]


async def test_parallel_branches_run_at_the_same_time() -> None:
    class MeetOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            self.context.here.append(self.name)
            if len(self.context.here) == 3:
                self.context.all_here.set()
            await self.context.all_here.wait()

    with anyio.fail_after(5):
        await run_op(
            MeetOp(name="a") | MeetOp(name="b") | MeetOp(name="c"), here=[], all_here=anyio.Event()
        )


async def test_sync_ops_in_parallel_branches_run_at_the_same_time() -> None:
    import threading

    barrier = threading.Barrier(3, timeout=20)

    class MeetOp(BaseOp):
        def execute(self) -> None:
            barrier.wait()

    await run_op(MeetOp() | MeetOp() | MeetOp())

    assert not barrier.broken


async def test_parallel_returns_what_the_branches_return_in_the_order_written() -> None:
    class LateOp(BaseAsyncOp):
        async def async_execute(self) -> str:
            await self.context.go.wait()
            return "late"

    class EarlyOp(BaseAsyncOp):
        async def async_execute(self) -> str:
            self.context.go.set()
            return "early"

    class HoldOp(BaseAsyncOp):
        def __init__(self, inner: Op) -> None:
            super().__init__()
            self.inner = inner

        async def async_execute(self) -> None:
            self.context.response.answer = await self.inner.async_call()

    with anyio.fail_after(5):
        result = await run_op(HoldOp(LateOp() | EarlyOp()), go=anyio.Event())

    assert result.response.answer == ["late", "early"]


async def test_the_first_failing_branch_cancels_the_others_and_is_raised_as_it_is() -> None:
    ended: list[str] = []

    class WaitOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                ended.append(self.name)

    class FailOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            raise LookupError("mine")

    with anyio.fail_after(5), pytest.raises(LookupError, match="mine") as caught:
        await run_op(WaitOp(name="a") | FailOp(name="broken") | WaitOp(name="b"))

    assert sorted(ended) == ["a", "b"]
    assert caught.value.__notes__ == ["in flow 'op', op 'broken'"]


async def test_an_exception_that_takes_no_note_is_raised_as_it_is() -> None:
    @dataclass(frozen=True)
    class NotFoundError(Exception):
        key: str

    class FailOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            raise NotFoundError("k")

    with pytest.raises(NotFoundError):
        await run_op(FailOp() | FailOp())


async def test_of_several_failures_the_first_counts() -> None:
    class FailOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            raise ValueError("first")

    class FailInCleanupOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                raise KeyError("second")

    with anyio.fail_after(5), pytest.raises(ValueError, match="first"):
        await run_op(FailInCleanupOp() | FailOp())


async def test_groups_nest() -> None:
    flow = (
        TraceOp(name="a")
        >> ((TraceOp(name="b") >> TraceOp(name="c")) | TraceOp(name="d"))
        >> TraceOp(name="e")
    )

    names = await trace(flow)

    assert (names[0], names[-1]) == ("a", "e")
    assert names.index("b") < names.index("c")
    assert sorted(names) == ["a", "b", "c", "d", "e"]


async def test_one_op_may_stand_in_several_places() -> None:
    op = TraceOp(name="a")

    assert await trace(op >> op >> (op | op)) == ["a"] * 4


# --- sub-ops


async def test_sub_ops_are_reached_by_attribute_by_item_and_in_order() -> None:
    class UseOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            await self.ops.second.async_call()
            await self.ops["first"].async_call()
            assert list(self.ops) == ["first", "second", "third"]

    op = UseOp() << {"first": TraceOp(name="1"), "second": TraceOp(name="2")}
    op.ops.third = TraceOp(name="3")

    assert await trace(op) == ["2", "1"]


async def test_a_sub_op_returns_its_value_and_takes_values_for_the_context() -> None:
    class EchoOp(BaseAsyncOp):
        async def async_execute(self) -> str:
            return f"{self.name}:{self.context.word}"

    class AskOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            self.context.response.answer = [
                await self.ops.echo_op.async_call(word="a"),
                await self.ops.echo_op.async_call(word="b"),
            ]

    result = await run_op(AskOp() << EchoOp())

    assert result.response.answer == ["echo_op:a", "echo_op:b"]


async def test_a_sync_op_calls_sub_ops_of_both_kinds() -> None:
    class AskOp(BaseOp):
        def execute(self) -> None:
            self.context.response.answer = [op.call() if isinstance(op, BaseOp) else
                                            self.run_async(op.async_call)
                                            for op in self.ops.values()]  # fmt: skip

    result = await run_op(AskOp() << [TraceOp(name="a"), SyncTraceOp(name="b")], trace=[])

    assert result.response.answer == ["a", "b"]


def test_a_missing_sub_op_is_met_with_the_nearest_one() -> None:
    op = ParentOp() << {"search": TraceOp()}

    with pytest.raises(AttributeError, match="no sub-op 'serch'; did you mean 'search'"):
        _ = op.ops.serch


@pytest.mark.parametrize("name", ["items", "keys", "get"])
def test_a_sub_op_cannot_hide_a_method_of_its_mapping(name: str) -> None:
    with pytest.raises(OpDefinitionError, match="method of dict"):
        setattr(ParentOp().ops, name, TraceOp())


@pytest.mark.parametrize("wrong", [5, "SearchOp", None, TraceOp, [TraceOp]])
def test_operators_take_only_ops(wrong: Any) -> None:
    for compose in (lambda: TraceOp() >> wrong, lambda: TraceOp() | wrong,
                    lambda: TraceOp() << wrong):  # fmt: skip
        with pytest.raises((OpDefinitionError, TypeError)):
            compose()


def test_a_class_in_place_of_an_op_brings_up_the_parentheses() -> None:
    with pytest.raises(OpDefinitionError, match="add parentheses"):
        _ = TraceOp() >> TraceOp  # pyright: ignore[reportOperatorIssue]


def test_composed_ops_take_no_sub_ops() -> None:
    for group in (TraceOp() >> TraceOp(), TraceOp() | TraceOp()):
        assert isinstance(group, SequentialOp | ParallelOp)
        with pytest.raises(OpDefinitionError):
            _ = group << TraceOp()


# --- what belongs to one run


class CollectOp(BaseAsyncOp):
    """Keeps things on `self`, of every kind that `__init__` may make."""

    seen: list[Any] = []  # noqa: RUF012 - parameters are declared so

    def __init__(self) -> None:
        super().__init__()
        self.inits = type(self).count_init()
        self.items: list[Any] = []
        self.nested: dict[str, list[Any]] = {"items": []}
        self.unique: set[Any] = set()
        self.counts: defaultdict[str, list[Any]] = defaultdict(list)
        self.recent: deque[Any] = deque()
        self.ordered: OrderedDict[str, Any] = OrderedDict()
        self.shared = Shared()

    made = 0

    @classmethod
    def count_init(cls) -> int:
        cls.made += 1
        return cls.made

    async def async_execute(self) -> None:
        number = self.context.number
        self.last = number
        for place in (self.seen, self.items, self.nested["items"], self.counts["n"], self.recent):
            place.append(number)
        self.unique.add(number)
        self.ordered[str(number)] = number
        await anyio.lowlevel.checkpoint()
        assert self.last == number
        self.context.response.answer = [
            list(self.seen),
            list(self.items),
            list(self.nested["items"]),
            list(self.unique),
            list(self.counts["n"]),
            list(self.recent),
            list(self.ordered.values()),
        ]
        self.shared.runs += 1


class Shared:
    runs = 0


async def test_what_an_op_keeps_on_itself_belongs_to_one_run_and_init_runs_once() -> None:
    CollectOp.made = 0
    op = CollectOp()

    async with FlowApp({}, flows={"f": op}) as app:
        for number in range(5):
            response = await app.execute("f", number=number)
            assert response.answer == [[number]] * 7

    assert CollectOp.made == 1
    assert not hasattr(op, "last")
    assert op.items == []
    assert op.shared.runs == 5


class HoardOp(BaseAsyncOp):
    """Keeps things in containers of the class, of every kind."""

    rows: list[list[Any]] = [[]]  # noqa: RUF012 - parameters are declared so
    pair: tuple[list[Any], dict[str, list[Any]]] = ([], {"x": []})
    recent: deque[list[Any]] = deque([[]], maxlen=3)  # noqa: RUF012
    groups: defaultdict[str, list[Any]] = defaultdict(list, {"k": []})  # noqa: RUF012
    ordered: OrderedDict[str, list[Any]] = OrderedDict(a=[])  # noqa: RUF012
    buffer: bytearray = bytearray()
    unique: set[Any] = set()  # noqa: RUF012
    counter: Counter[str] = Counter()  # noqa: RUF012

    async def async_execute(self) -> None:
        self.rows[0].append(1)
        self.pair[0].append(1)
        self.pair[1]["x"].append(1)
        self.recent[0].append(1)
        self.groups["k"].append(1)
        self.groups["new"].append(1)
        self.ordered["a"].append(1)
        self.buffer.append(1)
        self.unique.add(len(self.unique))
        self.counter["n"] += 1
        await anyio.lowlevel.checkpoint()
        self.context.response.answer = [
            *(len(self.rows[0]), len(self.pair[0]), len(self.pair[1]["x"]), len(self.recent[0])),
            *(len(self.groups["k"]), len(self.groups["new"]), len(self.ordered["a"])),
            *(len(self.buffer), len(self.unique), self.counter["n"], self.recent.maxlen),
        ]


class HoardInInitOp(HoardOp):
    """The same in containers of the object."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = [[]]
        self.pair = ([], {"x": []})
        self.recent = deque([[]], maxlen=3)
        self.groups = defaultdict(list, {"k": []})
        self.ordered = OrderedDict(a=[])
        self.buffer = bytearray()
        self.unique = set()
        self.counter = Counter()


@pytest.mark.parametrize("op_class", [HoardOp, HoardInInitOp])
async def test_no_run_sees_what_another_put_into_a_container(op_class: type[HoardOp]) -> None:
    flows = {"f": op_class() >> op_class(), "parallel": op_class() | op_class()}

    async with FlowApp({}, flows=flows) as app:
        answers = [(await app.execute(flow)).answer for flow in ("f", "f", "parallel", "f")]

    assert answers == [[1] * 10 + [3]] * 4


async def test_what_two_ops_of_one_class_hold_is_not_one_container() -> None:
    first, second = HoardOp(), HoardOp()

    for name in ("rows", "pair", "recent", "groups", "ordered", "buffer", "unique", "counter"):
        assert getattr(first, name) == getattr(second, name) == getattr(HoardOp, name)
        assert getattr(first, name) is not getattr(second, name)


@dataclass(slots=True)
class Basket:
    """Holds things in slots, which are no part of `__dict__`."""

    things: list[int]
    inner: Op | None = None
    last: int = field(init=False)


class BasketOp(BaseAsyncOp, Basket):
    __slots__ = ("__secret",)

    def __init__(self) -> None:
        super().__init__()
        Basket.__init__(self, [], inner=TraceOp(name="inner"))
        self.__secret = "kept"

    async def async_execute(self) -> None:
        assert not hasattr(self, "last")
        self.last = self.context.number
        self.things.append(self.last)
        await anyio.lowlevel.checkpoint()
        assert self.inner is not None
        said = await self.inner.async_call(trace=[])
        self.context.response.answer = [*self.things, self.last, said, self.__secret]


async def test_what_an_op_keeps_in_slots_belongs_to_one_run_too() -> None:
    op = BasketOp()

    async with FlowApp({}, flows={"f": op}) as app:
        for number in range(3):
            answer = (await app.execute("f", number=number)).answer
            assert answer == [number, number, "inner", "kept"]

    assert op.things == []
    assert [name for name, _ in op.children()] == ["inner"]


async def test_a_flow_is_compiled_once_at_the_start() -> None:
    from flowcore import C

    CollectOp.made = 0
    C.register_op()(CollectOp)

    async with FlowApp({"flow": {"f": {"flow_content": "CollectOp() >> CollectOp()"}}}) as app:
        assert CollectOp.made == 2
        for number in range(20):
            await app.execute("f", number=number)

    assert CollectOp.made == 2


async def test_ops_inside_containers_are_bound_and_prepared_like_all_others(write: Any) -> None:
    prompts = write("p.yaml", "greet: hello")

    class GreetOp(BaseAsyncOp):
        async def async_execute(self) -> str:
            return self.get_prompt("greet")

    class HoldOp(BaseAsyncOp):
        def __init__(self, held: Any) -> None:
            super().__init__()
            self.held = held

        async def async_execute(self) -> None:
            greetings = [await op.async_call() for op in self.held["deep"][0]]
            self.context.response.answer = greetings

    op = HoldOp({"deep": [(GreetOp(prompt_path=str(prompts)),)]})

    assert (await run_op(op)).response.answer == ["hello"]


async def test_200_runs_of_one_flow_stay_apart() -> None:
    """Each has its own context, its own self (lists made in __init__ too) and its own id."""

    class StepOp(BaseAsyncOp):
        def __init__(self) -> None:
            super().__init__()
            self.mine: list[int] = []

        async def async_execute(self) -> None:
            number = self.context.number
            for step in range(5):
                self.mine.append(number)
                self.context.last = number
                await self.context.add_stream_chunk(FlowStreamChunk(chunk=f"{number}.{step} "))
                assert self.context.last == number
            assert self.mine == [number] * 5

    results: dict[int, Any] = {}

    async def one(app: FlowApp, number: int) -> None:
        results[number] = await collect(app, "f", number=number)

    async with FlowApp({}, flows={"f": StepOp() >> (StepOp() | SyncStepOp())}) as app:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                for number in range(200):
                    group.start_soon(one, app, number)
        assert app.runs == {}

    ids = {result.chunks[0].flow_id for result in results.values()}
    assert len(ids) == 200
    for number, result in results.items():
        assert result.error is None
        assert {chunk.flow_id for chunk in result.chunks} <= ids
        assert len({chunk.flow_id for chunk in result.chunks}) == 1
        assert {text.split(".")[0] for text in result.text.split()} == {str(number)}
        assert len(result.chunks) == 12


class SyncStepOp(BaseOp):
    def __init__(self) -> None:
        super().__init__()
        self.mine: list[int] = []

    def execute(self) -> None:
        for step in range(2):
            self.mine.append(step)
            self.context.add_stream_chunk_sync(
                FlowStreamChunk(chunk=f"{self.context.number}.s{step} ")
            )
        assert self.mine == [0, 1]
