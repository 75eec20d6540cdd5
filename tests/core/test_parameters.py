from __future__ import annotations

import gc
import re
import sys
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from enum import Enum, StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, TextIO

import numpy as np
import pytest
from pydantic import AfterValidator, BaseModel, Field

from flowcore import (
    BaseAsyncOp,
    BaseLLM,
    BaseOp,
    ExpressionError,
    FlowApp,
    Op,
    OpDefinitionError,
    UserOp,
)
from flowcore.expression import compile_expression
from flowcore.op_listing import describe_parameters
from flowcore.parameters import COMMON_PARAMETERS
from flowcore.registry import Registry
from flowcore.testing import run_op, scripted_llm

if TYPE_CHECKING:
    from nowhere import Unknown  # pyright: ignore[reportMissingImports]


class Mode(Enum):
    FAST = "fast"
    DEEP = "deep"


class Tone(StrEnum):
    DRY = "dry"
    WARM = "warm"


class Filter(BaseModel):
    field: str
    minimum: int = 0


class Speaks(Protocol):
    def speak(self) -> None: ...


def make_nothing(number: int) -> None:
    raise AssertionError(number)


class StepOp(BaseAsyncOp):
    async def async_execute(self) -> None: ...


class SearchOp(StepOp):
    """An op with a parameter of each kind."""

    top_k: int = 3
    share: float = 0.5
    exact: bool = False
    index: str = "web"
    limit: int | None = None
    either: int | str = 1
    order: Literal["new", "old"] = "new"
    mode: Mode = Mode.FAST
    tone: Tone = Tone.DRY
    size: Annotated[int, Field(gt=0, description="How many at once")] = 10
    fields: list[str] = []  # noqa: RUF012 - parameters are declared so
    weights: dict[str, float] = {}  # noqa: RUF012
    pair: tuple[int, int] = (0, 1)
    chosen: set[str] = set()  # noqa: RUF012
    where: Path = Path()
    filters: Sequence[Filter] = ()
    judge: BaseLLM | None = None
    inner: Op | None = None
    loud: Annotated[str, AfterValidator(str.upper)] = ""
    anything: Any = None
    words: Iterator[str] | None = None
    speaker: Speaks | None = None
    log: TextIO | None = None
    sloppy_function: make_nothing = 8  # pyright: ignore[reportGeneralTypeIssues]
    missing: Unknown = 7
    sloppy_any: any = 8  # pyright: ignore[reportGeneralTypeIssues]
    sloppy: str = None  # pyright: ignore[reportAssignmentType]
    plain = 5
    LIMIT: ClassVar[int] = 9
    _hidden: int = 1


def make(name: str, value: Any, cls: type[Op] = SearchOp) -> Any:
    return getattr(cls(**{name: value}), name)


def said(name: str, value: Any, cls: type[Op] = SearchOp) -> str:
    with pytest.raises(OpDefinitionError) as caught:
        make(name, value, cls)
    assert caught.value.parameter == name
    return str(caught.value)


# --- what fits


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("top_k", 7),
        ("share", 0.1),
        ("exact", True),
        ("index", ""),
        ("limit", None),
        ("limit", 4),
        ("either", "5"),
        ("either", 5),
        ("order", "old"),
        ("mode", Mode.DEEP),
        ("tone", Tone.WARM),
        ("index", Tone.WARM),
        ("size", 1),
        ("fields", ["a"]),
        ("weights", {"a": 1.5}),
        ("weights", defaultdict(float, a=1.0)),
        ("weights", Counter(a=2)),
        ("pair", (3, 4)),
        ("where", Path("x")),
        ("filters", [Filter(field="a")]),
        ("judge", scripted_llm()),
        ("inner", StepOp()),
        ("anything", object()),
        ("plain", "any"),
    ],
)  # fmt: skip
def test_a_value_that_fits_stays_as_it_is(name: str, value: Any) -> None:
    assert make(name, value) is value


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("share", 1, 1.0),
        ("mode", "deep", Mode.DEEP),
        ("tone", "warm", Tone.WARM),
        ("pair", [3, 4], (3, 4)),
        ("chosen", ["a", "a"], {"a"}),
        ("where", "x/y", Path("x/y")),
        ("filters", [{"field": "a"}], [Filter(field="a")]),
        ("loud", "hey", "HEY"),
    ],
)
def test_what_an_expression_cannot_hold_is_made_of_what_it_can(
    name: str, value: Any, expected: Any
) -> None:
    made = make(name, value)

    assert (made, type(made)) == (expected, type(expected))


@pytest.mark.parametrize(
    "name", ["missing", "words", "speaker", "plain", "anything", "sloppy", "sloppy_any"]
)
def test_what_cannot_be_checked_is_let_through(name: str) -> None:
    assert make(name, None) is None


def test_a_file_is_no_instance_of_the_type_that_files_are_annotated_with() -> None:
    assert make("log", sys.stderr) is sys.stderr


def test_a_function_as_an_annotation_is_never_called() -> None:
    assert make("sloppy_function", (1,)) == (1,)


def test_an_annotation_that_cannot_be_evaluated_lets_anything_through() -> None:
    assert make("missing", "x") == "x"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("top_k", np.int64(4), 4),
        ("share", np.float32(0.5), 0.5),
        ("share", np.int64(1), 1.0),
        ("exact", np.bool_(True), True),
        ("weights", {"a": np.int64(1)}, {"a": 1.0}),
    ],
)  # fmt: skip
def test_a_scalar_of_numpy_is_the_number_that_it_holds(
    name: str, value: Any, expected: Any
) -> None:
    made = make(name, value)

    assert (made, type(made)) == (expected, type(expected))
    assert "must be a valid integer" in said("top_k", np.bool_(True))


# --- what does not


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("top_k", "five", "(int) must be a valid integer, not 'five'; write for example top_k=3"),
        ("top_k", "5", "parameter 'top_k' (int) must be a valid integer, not '5'; write top_k=5"),
        ("top_k", True, "not True; write for example top_k=3"),
        ("top_k", 5.0, "must be a valid integer, not 5.0"),
        ("top_k", None, "must be a valid integer, not None"),
        ("share", "0.5", "must be a valid number, not '0.5'; write share=0.5, without quotes"),
        ("share", True, "must be a valid number, not True"),
        ("exact", 1, "(bool) must be a valid boolean, not 1; write exact=True"),
        ("exact", "false", "write exact=False, without quotes"),
        ("index", 5, "(str) must be a valid string, not 5; write index=\"5\", with quotes"),
        ("limit", "5", "parameter 'limit' (int | None) must be a valid integer"),
        ("either", 5.5, "parameter 'either' (int | str) must not be 5.5"),
        ("order", "odl", "must be 'new' or 'old', not 'odl'; did you mean 'old'?"),
        ("mode", "fsat", "(Mode) must be 'fast' or 'deep', not 'fsat'; did you mean 'fast'?"),
        ("size", 0, "parameter 'size' (int) must be greater than 0, not 0"),
        ("size", "3", "write size=3, without quotes"),
        ("fields", ["a", 1], "(list[str]), at fields[1] must be a valid string, not 1"),
        ("weights", {"a": "1"}, "at weights['a'] must be a valid number, not '1'"),
        ("fields", "a", "must be a valid list, not 'a'"),
        ("filters", [{"minimum": 1}], "(Sequence[Filter]), at filters[0]: 'field' is missing"),
        ("judge", "small", "(BaseLLM | None) must be an instance of BaseLLM, not 'small'"),
        ("inner", 5, "must be an instance of Op, not 5"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_type_is_refused_with_the_remedy(
    name: str, value: Any, text: str
) -> None:
    message = said(name, value)

    assert message.startswith("SearchOp: parameter ")
    assert text in message


def test_a_value_too_long_to_show_is_named_by_its_type() -> None:
    assert "not a list" in said("top_k", list(range(100)))


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("name", 5, "parameter 'name' (str) must be a valid string"),
        ("max_retries", "3", "write max_retries=3, without quotes"),
        ("max_retries", True, "must be a valid integer"),
        ("max_retries", 0, "max_retries counts tries, at least 1"),
        ("raise_exception", 0, "write raise_exception=False"),
        ("language", 5, "must be a valid string"),
        ("prompt_path", 5, "parameter 'prompt_path'"),
        ("llm", 5, "parameter 'llm' must be the name of an entry under llm, not 5"),
        ("vector_store", [], "parameter 'vector_store' must be the name of an entry"),
    ],
)
def test_the_parameters_of_every_op_are_checked_too(name: str, value: Any, text: str) -> None:
    with pytest.raises(OpDefinitionError) as caught:
        StepOp(**{name: value})

    assert text in str(caught.value)
    assert caught.value.parameter == name


def test_a_prompt_path_may_be_a_path() -> None:
    assert StepOp(prompt_path=Path("x.yaml")).prompt_path == Path("x.yaml")  # pyright: ignore[reportArgumentType]


def test_the_list_of_common_parameters_is_that_of_every_op() -> None:
    import inspect

    arguments = list(inspect.signature(UserOp.__init__).parameters)

    assert [*COMMON_PARAMETERS] == arguments[1:-1]


# --- defaults


def test_a_wrong_default_is_found_when_the_op_is_made() -> None:
    class BadOp(StepOp):
        top_k: int = "five"  # pyright: ignore[reportAssignmentType]

    with pytest.raises(OpDefinitionError) as caught:
        BadOp()

    text = "BadOp: the default of parameter 'top_k' (int) must be a valid integer, not 'five'"
    assert str(caught.value) == f"{text}; correct the class"


def test_a_default_becomes_what_the_annotation_says() -> None:
    class FileOp(StepOp):
        path: Path = "notes"  # pyright: ignore[reportAssignmentType]

    assert FileOp().path == Path("notes")


def test_a_default_that_a_subclass_sets_is_checked_against_the_annotation_it_inherits() -> None:
    class DeepOp(SearchOp):
        top_k = "many"  # pyright: ignore[reportAssignmentType]

    with pytest.raises(OpDefinitionError, match="DeepOp: the default of parameter 'top_k'"):
        DeepOp()


def test_a_field_as_a_default_is_met_with_the_way_to_write_it() -> None:
    class FieldOp(StepOp):
        top_k: int = Field(default=5, gt=0)

    with pytest.raises(OpDefinitionError, match=re.escape("`top_k: Annotated[int, Field(…)] = …`")):
        FieldOp()


def test_a_default_is_left_alone_where_another_class_annotates_it_anew() -> None:
    class WordOp(SearchOp):
        top_k: str  # pyright: ignore[reportIncompatibleVariableOverride]

    assert (WordOp().top_k, WordOp(top_k="all").top_k) == (3, "all")


def test_a_default_that_a_test_replaces_is_not_that_of_the_class_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class ShareOp(StepOp):
        share: float = 1

    before = ShareOp().share
    monkeypatch.setattr(ShareOp, "share", 0.5)

    assert (before, ShareOp().share) == (1.0, 0.5)


def test_what_an_init_set_before_is_not_replaced_by_a_default() -> None:
    class FileOp(StepOp):
        path: Path = "notes"  # pyright: ignore[reportAssignmentType]

        def __init__(self, **params: Any) -> None:
            self.path = Path("mine")
            super().__init__(**params)

    assert FileOp().path == Path("mine")


class Clamped:
    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, op: Any, owner: type) -> Any:
        return self if op is None else vars(op).get(self.name, 7)

    def __set__(self, op: Any, value: int) -> None:
        vars(op)[self.name] = min(value, 9)


def test_a_descriptor_is_no_default_of_the_wrong_type() -> None:
    class ClampedOp(StepOp):
        size: int = Clamped()  # pyright: ignore[reportAssignmentType]

    assert (ClampedOp().size, ClampedOp(size=20).size) == (7, 9)
    assert describe_parameters(ClampedOp)[0].required is False
    assert "parameter 'size'" in said("size", "x", ClampedOp)


def test_a_property_takes_the_place_of_a_parameter_and_is_not_asked_before_the_run() -> None:
    class BaseSizeOp(StepOp):
        size: int
        depth: int = 1
        width: int = 1

    class FixedOp(BaseSizeOp):
        @property
        def size(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
            return len(self.context.flow_id)

        @cached_property
        def depth(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
            return len(self.context.flow_id)

    op = FixedOp(width=2)

    assert op.width == 2
    assert "depth" not in vars(op)


def test_a_class_or_a_function_may_be_the_default_of_an_annotated_parameter() -> None:
    class ParseOp(StepOp):
        model: type[BaseModel] = Filter
        clean: Callable[[str], str] = str.strip
        helper = str.upper  # no parameter

    op = ParseOp(model=Later, clean=str.lower)

    assert (op.model, op.clean(" A ")) == (Later, " a ")
    assert ParseOp().model is Filter
    with pytest.raises(OpDefinitionError, match="no parameter 'helper'"):
        ParseOp(helper=str.lower)


# --- parameters of every op, in the class statement


def test_a_class_may_have_its_own_defaults_of_the_parameters_that_every_op_has() -> None:
    class SmallOp(StepOp):
        llm: str = "small"  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
        max_retries: int = 3
        name = "small"
        raise_exception = False

    class TinyOp(SmallOp):
        llm: BaseLLM  # pyright: ignore[reportIncompatibleVariableOverride]
        max_retries = 5

    op, tiny, given = SmallOp(), TinyOp(), SmallOp(llm="big", max_retries=1)

    assert (op.name, op.max_retries, op.raise_exception) == ("small", 3, False)
    assert [each.named_backends()["llm"] for each in (op, tiny, given)] == ["small", "small", "big"]
    assert (tiny.max_retries, given.max_retries) == (5, 1)
    assert describe_parameters(TinyOp) == []


async def test_a_class_may_have_its_own_model() -> None:
    class GreetOp(BaseAsyncOp):
        llm = scripted_llm(["Hello"])  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

        async def async_execute(self) -> None:
            async for chunk in self.llm.astream_chat([]):
                await self.context.add_stream_chunk(chunk)

    assert (await run_op(GreetOp())).text == "Hello"
    assert (await run_op(GreetOp(llm=scripted_llm(["Bye"])))).text == "Bye"


def test_a_wrong_default_of_such_a_parameter_is_refused() -> None:
    class NeverOp(StepOp):
        max_retries = 0

    with pytest.raises(OpDefinitionError, match="max_retries counts tries, at least 1"):
        NeverOp()


# --- arguments of an __init__ of one's own


class PageOp(StepOp):
    def __init__(
        self, size: int = 10, mode: Mode = Mode.FAST, *, llm: str = "default", **params: Any
    ) -> None:
        super().__init__(llm=llm, **params)
        self.size, self.mode = size, mode


class LongPageOp(PageOp):
    title: str = ""

    def __init__(self, factor: float, /, **params: Any) -> None:
        super().__init__(**params)
        self.factor = factor


def test_annotated_arguments_of_an_init_are_checked() -> None:
    assert "PageOp: parameter 'size' (int)" in said("size", "10", PageOp)
    with pytest.raises(OpDefinitionError, match="parameter 'size'"):
        PageOp("10")  # pyright: ignore[reportArgumentType]
    with pytest.raises(OpDefinitionError, match="LongPageOp: parameter 'factor'"):
        LongPageOp("x")  # pyright: ignore[reportArgumentType]
    with pytest.raises(OpDefinitionError, match="LongPageOp: parameter 'size'"):
        LongPageOp(1.5, size="x")
    with pytest.raises(OpDefinitionError, match="LongPageOp: parameter 'title'"):
        LongPageOp(1.5, title=5)


def test_arguments_of_an_init_become_what_the_annotation_says() -> None:
    op = LongPageOp(2, size=5, mode="deep", title="t")

    assert (op.factor, op.size, op.mode, op.title) == (2.0, 5, Mode.DEEP, "t")


def test_a_narrow_annotation_of_a_common_parameter_is_no_obstacle_to_a_test() -> None:
    llm = scripted_llm()

    assert PageOp(llm=llm)._llm is llm  # pyright: ignore[reportArgumentType]


def test_what_python_says_of_wrong_arguments_is_left_to_python() -> None:
    with pytest.raises(TypeError, match=r"LongPageOp.__init__\(\) missing 1 required positional"):
        LongPageOp()  # pyright: ignore[reportCallIssue]


def test_a_wrong_default_of_an_argument_is_found() -> None:
    class BadOp(StepOp):
        def __init__(self, size: int = "x", **params: Any) -> None:  # pyright: ignore[reportArgumentType]
            super().__init__(**params)

    with pytest.raises(OpDefinitionError, match="the default of parameter 'size'"):
        BadOp()


def test_an_init_without_annotations_is_left_alone() -> None:
    def init(self: Any, size=10, **params: Any) -> None:
        super(BaseAsyncOp, self).__init__(**params)

    plain = type("PlainOp", (StepOp,), {"__init__": init})

    assert plain.__init__ is init


def test_an_unknown_parameter_is_compared_with_the_arguments_of_init() -> None:
    with pytest.raises(OpDefinitionError, match="no parameter 'szie'; did you mean 'size'"):
        PageOp(szie=1)


# --- in an expression


def refused(source: str) -> ExpressionError:
    ops: Registry[Op] = Registry("op")
    for cls in (SearchOp, PageOp, StepOp):
        ops.add(cls.__name__, cls, "the tests")
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source, flow="demo", ops=ops)
    return caught.value


@pytest.mark.parametrize(
    ("source", "at"),
    [
        ('StepOp() >> SearchOp(index="é", top_k="five")', '"five"'),
        ("StepOp() >> SearchOp(topk=5)", "topk=5"),
        ("StepOp() >> PageOp(size='x')", "'x'"),
        ("StepOp() >> PageOp('x')", "PageOp"),
        ("StepOp(max_retries=0)", "0"),
        ("SearchOp(inner=SearchOp(size=-1))", "-1"),
    ],
)
def test_the_caret_is_at_the_argument(source: str, at: str) -> None:
    error = refused(source)

    assert source[error.column - 1 :].startswith(at)


def test_the_whole_message_names_op_parameter_type_value_and_remedy() -> None:
    assert str(refused('SearchOp(top_k="five")')) == (
        "flow 'demo', line 1, column 16: SearchOp: parameter 'top_k' (int) must be a valid "
        "integer, not 'five'; write for example top_k=3\n"
        '    SearchOp(top_k="five")\n'
        "                   ^"
    )


def test_a_flow_with_a_wrong_parameter_stops_the_start(write: Callable[[str, str], Path]) -> None:
    write("typed_ops.py", "from flowcore import BaseAsyncOp, C\n\n\n@C.register_op()\n"
          "class TypedOp(BaseAsyncOp):\n    top_k: int = 5\n\n"
          "    async def async_execute(self): ...\n")  # fmt: skip
    write("typed.yaml", "imports: [typed_ops]\nflow:\n  f:\n    flow_content: TypedOp(top_k='5')\n")

    with pytest.raises(
        ExpressionError, match=r"typed.yaml:4:\d+: .* write top_k=5, without quotes"
    ):
        FlowApp("typed.yaml")


# --- runs


async def test_a_run_has_the_values_as_they_were_converted() -> None:
    class ModeOp(BaseAsyncOp):
        mode: Mode = Mode.FAST
        seen: list[str] = []  # noqa: RUF012

        async def async_execute(self) -> None:
            self.seen.append("x")
            self.context.response.answer = [self.mode.name, *self.seen]

    op = ModeOp(mode="deep")

    assert (await run_op(op)).response.answer == ["DEEP", "x"]
    assert (await run_op(op)).response.answer == ["DEEP", "x"]


async def test_a_sync_op_is_checked_alike() -> None:
    class CountOp(BaseOp):
        times: int

        def execute(self) -> None:
            self.context.response.answer = "x" * self.times

    with pytest.raises(OpDefinitionError, match="parameter 'times'"):
        CountOp(times="3")
    assert (await run_op(CountOp(times=3))).response.answer == "xxx"


def test_a_name_that_is_defined_after_the_class_is_found() -> None:
    assert make("late", {"a": 1}, LateOp) == Later(a=1)
    assert "at late['a'] must be a valid integer" in said("late", {"a": "x"}, LateOp)


class LateOp(StepOp):
    late: Later


class Later(BaseModel):
    a: int


def test_a_class_that_is_gone_leaves_nothing_behind() -> None:
    class ShortLivedOp(StepOp):
        top_k: int = 3

        def __init__(self, size: int = 1, **params: Any) -> None:
            super().__init__(**params)

    ShortLivedOp(top_k=1)
    gone = weakref.ref(ShortLivedOp)

    del ShortLivedOp
    gc.collect()

    assert gone() is None


# --- descriptions


def test_parameters_are_described() -> None:
    class ShortOp(PageOp):
        query: str
        top_k: Annotated[int, Field(gt=0, description="How many")] = 3
        lost: Unknown = 1

    described = {p.name: p for p in describe_parameters(ShortOp)}

    assert [*described] == ["query", "top_k", "lost", "size", "mode"]
    assert described["top_k"].type == "int"
    assert described["top_k"].description == "How many"
    assert (described["top_k"].default, described["top_k"].required) == (3, False)
    assert (described["lost"].type, described["lost"].checked) == ("Unknown", False)
    assert (described["size"].type, described["size"].default) == ("int", 10)


def test_what_is_required_comes_first() -> None:
    class ShortOp(StepOp):
        top_k: int = 3
        query: str

    described = describe_parameters(ShortOp)

    assert [(p.name, p.required) for p in described] == [("query", True), ("top_k", False)]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("limit", "int | None"),
        ("order", "Literal['new', 'old']"),
        ("mode", "Mode"),
        ("size", "int"),
        ("weights", "dict[str, float]"),
        ("filters", "Sequence[Filter]"),
        ("anything", "Any"),
        ("plain", ""),
    ],
)
def test_types_are_shown_as_people_write_them(name: str, shown: str) -> None:
    described = {p.name: p for p in describe_parameters(SearchOp)}

    assert described[name].type == shown
