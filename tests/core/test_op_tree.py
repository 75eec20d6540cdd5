from __future__ import annotations

import pytest

from flowcore import BaseAsyncOp, ConfigError, FlowApp, Op, OpDefinitionError
from flowcore.op_tree import check_tree, places


class NopOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        pass


# --- which trees can be run


def test_an_op_that_holds_itself_is_refused_at_the_start() -> None:
    class SelfishOp(NopOp):
        def __init__(self) -> None:
            super().__init__()
            self.friend: Op = self

    with pytest.raises((ConfigError, OpDefinitionError), match="itself"):
        FlowApp({}, flows={"f": SelfishOp()})


def test_a_few_lines_of_python_cannot_stand_for_millions_of_ops() -> None:
    op: Op = NopOp()
    for _ in range(40):
        op = (op | NopOp()) >> op

    with pytest.raises(OpDefinitionError, match="more than 10000 ops"):
        check_tree(op)


# --- where each op stands


def test_places_count_the_children_of_each_op() -> None:
    agent = NopOp() << {"a": NopOp(), "b": NopOp() >> NopOp()}
    root = NopOp() >> (agent | NopOp())

    found = {place: type(op).__name__ for place, op in places(root)}

    assert list(found) == ["0", "0.0", "0.1", "0.1.0", "0.1.0.0", "0.1.0.1", "0.1.0.1.0",
                           "0.1.0.1.1", "0.1.1"]  # fmt: skip
    assert found["0"] == "SequentialOp"
    assert found["0.1.0.1.1"] == "NopOp"


def test_an_op_that_stands_twice_has_two_places() -> None:
    op = NopOp()

    assert [place for place, each in places(op >> op) if each is op] == ["0.0", "0.1"]
