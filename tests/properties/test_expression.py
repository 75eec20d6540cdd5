"""The compiler of flow expressions, against Python itself and against garbage."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowcore import BaseAsyncOp, ExpressionError, Op
from flowcore.expression import compile_expression
from flowcore.registry import Registry


class PlainOp(BaseAsyncOp):
    value: Any = None
    top_k: int = 1

    async def async_execute(self) -> None: ...


class OtherOp(PlainOp): ...


OPS: Registry[Op] = Registry("op")
CLASSES = {cls.__name__: cls for cls in (PlainOp, OtherOp)}
for op_class in CLASSES.values():
    OPS.add(op_class.__name__, op_class, "the tests")

FORBIDDEN = {"exec", "import", "open", "os", "subprocess", "socket", "ctypes", "marshal", "pickle"}
"""Events of the interpreter that parsing has no business to cause, by their first word."""

_events: list[str] | None = None


def _audit(event: str, args: tuple[object, ...]) -> None:
    # For the message of a syntax error, CPython looks for a file of the name that the text has.
    # What threads of earlier tests may still do is nothing to this one.
    is_ours = threading.get_ident() == _thread
    if _events is not None and is_ours and (event, *args[:1]) != ("open", "<unknown>"):
        _events.append(event)


_thread = threading.get_ident()
sys.addaudithook(_audit)


@contextmanager
def audited() -> Generator[list[str]]:
    """Collect what the interpreter does that its security hooks tell of."""
    global _events  # noqa: PLW0603 - an audit hook can never be removed
    _events = []
    try:
        yield _events
    finally:
        _events = None


def compiled(source: str) -> Op | None:
    """Compile an expression, or see that it is refused in the one way that there is."""
    op, refusal = None, None
    began = time.process_time()
    with audited() as events:
        try:
            op = compile_expression(source, flow="demo", ops=OPS)
        except ExpressionError as error:
            refusal = error
    if refusal is not None:
        assert len(str(refusal)) < 1500
        assert refusal.line >= 1
        assert refusal.column >= 1
    assert time.process_time() - began < 1
    assert [event for event in events if event.split(".")[0] in FORBIDDEN] == []
    return op


def tree(op: Op) -> Any:
    """Return a form of ops that can be compared."""
    params = {
        name: tree(value) if isinstance(value, Op) else value
        for name, value in vars(op).items()
        if not name.startswith("_") and name not in {"ops", "steps", "branches"}
    }
    return (type(op).__name__, params, [(name, tree(child)) for name, child in op.children()])


literals = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    lambda values: st.lists(values, max_size=3)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), values),
    max_leaves=5,
).map(repr)  # fmt: skip
calls = st.builds(
    "{}({})".format,
    st.sampled_from(list(CLASSES)),
    st.just("")
    | st.builds("value={}".format, literals)
    | st.builds("value={}, top_k={}".format, literals, st.integers(0, 9)),
)
# Only single ops can get sub-ops.
singles = st.sampled_from(["a", "b", "c"])
names = singles | st.sampled_from(["d", "e"])


def joined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return ops that are joined, in parentheses or not, or get sub-ops."""
    group = parts.map("({})".format)
    operand = parts | group
    subops = (
        calls
        | st.lists(calls, min_size=1, max_size=2).map(lambda items: f"[{', '.join(items)}]")
        | st.builds("{{'x': {}}}".format, calls)
    )
    return (
        st.builds("{} >> {}".format, operand, operand)
        | st.builds("{} | {}".format, operand, operand)
        | st.builds("{} << {}".format, calls, subops)
        | group
    )


ops = st.recursive(calls, joined, max_leaves=8)
statements = st.one_of(
    st.builds("{0} = {1}".format, singles, calls),
    st.builds("{0} = {1}".format, st.sampled_from(["d", "e"]), ops),
    st.builds("{0} << {1}".format, names, calls),
    st.builds("{0}.ops.NAME = {1}".format, singles, calls),
)
programs = st.builds(
    lambda lines, last: "\n".join(
        [
            *(f"{name} = PlainOp(value={name!r})" for name in "abcde"),
            # To assign twice is an error here.
            *(line.replace(".ops.NAME", f".ops.y{number}") for number, line in enumerate(lines)),
            last,
        ]
    ),
    st.lists(statements, max_size=4),
    ops | st.builds("{} >> {}".format, names, ops) | names,
)


@given(source=programs)
def test_what_is_in_the_grammar_means_what_it_means_in_python(source: str) -> None:
    *lines, last = source.split("\n")
    known: dict[str, Any] = dict(CLASSES)
    try:
        exec("\n".join(lines), known)
        expected = eval(last, known)
    except Exception:
        # Such as sub-ops for a group of ops.
        assert compiled(source) is None
        return
    op = compiled(source)

    assert op is not None
    assert tree(op) == tree(expected)


TOKENS = [
    "PlainOp", "OtherOp", "PlainOp()", "a", "a.ops.x", ">>", "<<", "|", "(", ")", "[", "]", "{",
    "}", ",", "=", ":=", ":", ".", "'", '"', "'''", "\n", "\n  ", "\t", "\r", "\f", "\0", "#",
    "\\", "value=", "None", "True", "1", "-1", "1e999", "0x1", "1j", "b''", "f''", "f'{a}'", "f'{",
    "rb'", "...", "lambda: ", "if", "else", "for x in", "await ", "yield", "import os", "del a",
    "async", "def f():", "class XOp:", "match a:\n case _:", "with a:", "@", "~", "not", "*", "**",
    "->", ";", "$", "?", "!", "__class__", "._x", "__import__('os')", "eval('1')", "\u2028",
    "\ufeff", "\uff30lainOp()", "\ud800", "\U0001f600",
    "9" * 4301, "(" * 300, "[" * 300, "-" * 500, "\n" * 50,
]  # fmt: skip


@given(
    source=st.lists(
        st.sampled_from(TOKENS) | st.text(st.characters(), max_size=3) | calls, max_size=12
    ).flatmap(lambda parts: st.sampled_from(["", " "]).map(lambda space: space.join(parts)))
)
@example(source="\x0c" * 100 + "PlainOp()")
def test_garbage_is_refused_in_one_way_and_does_nothing(source: str) -> None:
    compiled(source)


@given(source=programs, data=st.data())
def test_an_expression_with_a_slip_is_refused_or_is_another(source: str, data: st.DataObject):
    at = data.draw(st.integers(0, len(source)))
    cut = data.draw(st.integers(0, 3))
    slip = data.draw(st.sampled_from([*TOKENS, ""]))

    compiled(source[:at] + slip + source[at + cut :])


ATTACKS = [
    "__import__('os').system('touch owned')",
    "().__class__.__mro__[1].__subclasses__()",
    "f'{().__class__}'",
    "PlainOp(value=f'{__import__(\"os\")}')",
    "lambda: PlainOp()",
    "PlainOp(value=[x for x in ().__class__.__base__.__subclasses__()])",
    "(a := PlainOp())",
    "PlainOp().run.__globals__",
    "PlainOp().async_execute.__func__.__globals__['__builtins__']",
    "(x for x in 'a').gi_frame.f_back.f_globals",
    "PlainOp(value=(x for x in 'a').gi_frame)",
    "PlainOp(value='a' * 10**9)",
    "PlainOp(value=9**9**9)",
    "(" * 10_000 + "PlainOp()" + ")" * 10_000,
    "PlainOp(value='" + "a" * 1_000_000 + "')",
    "PlainOp() >> " * 100_000 + "PlainOp()",
    "\uff3f\uff3fimport\uff3f\uff3f('os')",
    "PlainOp().\uff3f\uff3fclass\uff3f\uff3f",
    "PlainOp()\0",
    "PlainOp(value='{0.__class__}'.format(1))",
    "PlainOp.__init__.__globals__",
    "a = PlainOp()\na.__class__ = OtherOp\na",
    "a = PlainOp()\na.ops.__class__ = OtherOp()\na",
    "a = PlainOp()\na.ops._SubOps__x = PlainOp()\na",
    "import os\nPlainOp()",
    "@print\nclass XOp: pass\nPlainOp()",
    "match PlainOp():\n  case PlainOp(value=x): pass\nx",
    "try: pass\nexcept* ValueError: pass\nPlainOp()",
    "type X = PlainOp\nPlainOp()",
]


@pytest.mark.parametrize("source", ATTACKS, ids=lambda source: ascii(source[:40]))
def test_an_attack_is_refused(source: str) -> None:
    assert compiled(source) is None
