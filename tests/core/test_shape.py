from __future__ import annotations

import pytest

from flowcore import BaseAsyncOp, Op
from flowcore.shape import Step, in_words, parameters, shape_of


class NopOp(BaseAsyncOp):
    size: int = 3
    api_key: str = ""
    tags: list[str] = []  # noqa: RUF012

    async def async_execute(self) -> None:
        pass


class PageOp(BaseAsyncOp):
    def __init__(self, length: int = 10, inner: Op | None = None, **kwargs: object) -> None:
        super().__init__(**kwargs)  # pyright: ignore[reportArgumentType]
        self.length = length
        self.inner = inner
        self.seen = 7

    async def async_execute(self) -> None:
        pass


def test_parameters_are_those_that_differ_from_their_defaults() -> None:
    assert parameters(NopOp()) == {}
    assert parameters(NopOp(size=4, name="mine", tags=["x"], max_retries=2)) == {
        "size": 4, "tags": ["x"], "max_retries": 2, "name": "mine",
    }  # fmt: skip
    assert parameters(NopOp(size=3, llm="small")) == {"llm": "small"}


def test_parameters_of_an_own_init_count_and_ops_do_not() -> None:
    assert parameters(PageOp()) == {}
    assert parameters(PageOp(11, NopOp(), name="page")) == {"length": 11, "name": "page"}


def test_a_secret_is_not_shown() -> None:
    shape = shape_of(NopOp(api_key="sk-secret"))

    assert "sk-secret" not in str(shape)
    assert "api_key=…" in str(shape)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"Authorization": "Bearer sk-secret", "n": 1}, "size={'Authorization': '…', 'n': 1}"),
        ([{"token": "sk-secret"}], "size=[{'token': '…'}]"),
        ("https://me:sk-secret@host/x", "size='https://…@host/x'"),
        ("https://host/x@y", "size='https://host/x@y'"),
    ],
)
def test_a_secret_within_a_value_is_not_shown(value: object, shown: str) -> None:
    op = NopOp()
    op.size = value  # pyright: ignore[reportAttributeAccessIssue]

    shape = shape_of(op)

    assert isinstance(shape, Step)
    assert shape.notes == (shown,)


def test_a_long_value_is_cut() -> None:
    assert len(str(shape_of(NopOp(tags=["x" * 1000])))) < 300


def test_a_flow_can_be_told_in_words() -> None:
    flow = NopOp() >> ((PageOp() << NopOp()) | NopOp())

    words = "NopOp, then at the same time (PageOp (which holds nop_op: NopOp); NopOp)"
    assert in_words(shape_of(flow)) == words
