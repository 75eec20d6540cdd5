from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import flowcore
from flowcore import (
    BaseAsyncOp,
    ExpressionError,
    Op,
    ParallelOp,
    SequentialOp,
    UserOp,
)
from flowcore.expression import MAX_CHARS, MAX_DEPTH, compile_expression
from flowcore.registry import Registry


class SearchOp(BaseAsyncOp):
    top_k: int = 3
    lang: str = "zh"
    value: Any = None

    async def async_execute(self) -> None: ...


class FindOp(SearchOp): ...


class FormatOp(SearchOp): ...


class ReactOp(SearchOp):
    def __init__(self, max_steps: int = 1, tool: Op | None = None, **params: Any) -> None:
        super().__init__(**params)
        self.max_steps = max_steps
        self.tool = tool


OPS: Registry[Op] = Registry("op")
for op_class in (SearchOp, FindOp, FormatOp, ReactOp):
    OPS.add(op_class.__name__, op_class, "the tests")


def compiled(source: str) -> Op:
    return compile_expression(source, flow="demo", ops=OPS)


def refused(source: str) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        compiled(source)
    return caught.value


def shape(op: Op) -> str:
    """Write a tree of ops as an expression with all its parentheses."""
    if isinstance(op, SequentialOp):
        return "(" + " >> ".join(map(shape, op.steps)) + ")"
    if isinstance(op, ParallelOp):
        return "(" + " | ".join(map(shape, op.branches)) + ")"
    inner = ", ".join(f"{name}={shape(sub)}" for name, sub in op.ops.items())
    return type(op).__name__.removesuffix("Op") + (f"[{inner}]" if inner else "")


# --- operators


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("SearchOp()", "Search"),
        ("SearchOp() >> FindOp()", "(Search >> Find)"),
        ("SearchOp() | FindOp()", "(Search | Find)"),
        ("SearchOp() >> FindOp() >> FormatOp()", "(Search >> Find >> Format)"),
        ("(SearchOp() >> FindOp()) >> FormatOp()", "(Search >> Find >> Format)"),
        ("SearchOp() >> (FindOp() >> FormatOp())", "(Search >> Find >> Format)"),
        ("SearchOp() >> (FindOp() | ReactOp()) >> FindOp()", "(Search >> (Find | React) >> Find)"),
        ("SearchOp() | FindOp() >> FormatOp()", "(Search | (Find >> Format))"),
        ("SearchOp() >> FindOp() | FormatOp()", "((Search >> Find) | Format)"),
        ("ReactOp() << SearchOp()", "React[search_op=Search]"),
        ("ReactOp() << [SearchOp(), FindOp()]", "React[search_op=Search, find_op=Find]"),
        ('ReactOp() << {"a": SearchOp(), "b": SearchOp()}', "React[a=Search, b=Search]"),
        ("SearchOp() | ReactOp() << FindOp()", "(Search | React[find_op=Find])"),
        ("SearchOp() >> (ReactOp() << FindOp())", "(Search >> React[find_op=Find])"),
        ("  SearchOp()  ", "Search"),
    ],
)  # fmt: skip
def test_operators_bind_as_in_python(source: str, expected: str) -> None:
    assert shape(compiled(source)) == expected


def test_operators_never_change_their_operands() -> None:
    left, middle, right = SearchOp(), FindOp(), FormatOp()
    pair = left >> middle

    triple = pair >> right
    choice = pair | right

    assert shape(pair) == "(Search >> Find)"
    assert shape(triple) == "(Search >> Find >> Format)"
    assert shape(choice) == "((Search >> Find) | Format)"


def test_several_lines_assign_attach_and_end_with_an_op() -> None:
    flow = compiled(
        """
        agent = ReactOp(max_steps=5)
        agent << {"search": SearchOp(), "find": FindOp()}
        agent.ops.extra = FormatOp()
        (agent | FindOp()) >> FormatOp()
        """
    )

    assert shape(flow) == "((React[search=Search, find=Find, extra=Format] | Find) >> Format)"


def test_a_name_may_stand_for_a_literal() -> None:
    op = compiled("k = 7\nlanguages = ['en', 'fr']\nSearchOp(top_k=k, value=languages)")

    assert isinstance(op, SearchOp)
    assert (op.top_k, op.value) == (7, ["en", "fr"])


def test_a_line_may_be_broken_inside_parentheses_and_hold_comments() -> None:
    assert shape(compiled("(SearchOp()  # first\n >>\n FindOp())\n# end")) == "(Search >> Find)"


# --- arguments


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("+2.5", 2.5),
        ("1e3", 1000.0),
        ('"text"', "text"),
        ("'it''s'", "its"),
        ("True", True),
        ("False", False),
        ("None", None),
        ("[1, [2, 'x']]", [1, [2, "x"]]),
        ("{'a': {'b': [1]}, 2: None}", {"a": {"b": [1]}, 2: None}),
        ("'a >> b | c'", "a >> b | c"),
        ("'中文 😀'", "中文 😀"),
    ],
)
def test_arguments_are_literals(literal: str, value: object) -> None:
    op = compiled(f"SearchOp(value={literal})")

    assert isinstance(op, SearchOp)
    assert op.value == value
    assert type(op.value) is type(value)


def test_an_argument_may_be_an_op() -> None:
    op = compiled("ReactOp(3, tool=SearchOp(top_k=9))")

    assert isinstance(op, ReactOp)
    assert isinstance(op.tool, SearchOp)
    assert (op.max_steps, op.tool.top_k) == (3, 9)


def test_all_common_parameters_are_usable_in_the_expression() -> None:
    op = compiled(
        'SearchOp(name="s", max_retries=3, raise_exception=False, language="en", '
        'prompt_path="p.yaml", llm="a", embedding_model="b", vector_store="c", top_k=1)'
    )

    assert isinstance(op, UserOp)
    assert (op.name, op.max_retries, op.raise_exception, op.language, op.prompt_path) == (
        "s", 3, False, "en", "p.yaml",
    )  # fmt: skip
    assert op.named_backends() == {"llm": "a", "embedding_model": "b", "vector_store": "c"}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("SearchOp(), SearchOp()", "join ops by `>>` or `|`, not by commas"),
        ("SearchOp() or SearchOp()", "ops at the same time are joined by `|`"),
        ("SearchOp() > SearchOp()", "ops in a sequence are joined by `>>`"),
        ("SearchOp() -> SearchOp()", "ops in a sequence are joined by `>>`"),
        ("SearchOp() => SearchOp()", "ops in a sequence are joined by `>>`"),
        ("my_ops.SearchOp()", "write SearchOp(…) alone, without its module"),
        ("SearchOp(top_k=true)", "unknown name 'true'; did you mean 'True'?"),
        ("SearchOp(topk=1)", "SearchOp has no parameter 'topk'; did you mean 'top_k'?"),
        ("SearchOp(max_retrys=1)", "did you mean 'max_retries'?"),
        ("SearchOp(max_retries=0)", "max_retries counts tries, at least 1"),
        ("SearchOp(*[1])", "`*` and `**` are not allowed"),
        ("SearchOp(**{'top_k': 1})", "`*` and `**` are not allowed"),
        ("SearchOp(value={**{}})", "keys of a dict must be literals"),
        ("SearchOp(value={SearchOp(): 1})", "keys of a dict must be literals"),
        ("SearchOp() >> 5", "an op is needed here, not 5"),
        ("SearchOp() << 5", "takes ops, not 5"),
        ("SearchOp() << {'a': 1}", "takes ops, not 1"),
        ("SearchOp() << [FindOp(), FindOp()]", "two sub-ops called 'find_op'; name them"),
        ("SearchOp", "SearchOp is a class; write SearchOp() to make an op of it"),
        ("a = SearchOp()\na << a\na", "op 'search_op' is a part of itself"),
        ("a = SearchOp()\nb = FindOp()\na << b\nb << a\na", "a part of itself"),
    ],
)  # fmt: skip
def test_an_op_that_cannot_be_made_is_refused_with_the_remedy(source: str, said: str) -> None:
    assert said in str(refused(source))


def test_parameters_are_written_with_their_names() -> None:
    assert "SearchOp refuses its parameters" in str(refused("SearchOp(5)"))


def test_a_parameter_given_twice_is_refused() -> None:
    assert "top_k" in str(refused("SearchOp(top_k=1, top_k=2)"))


def test_a_class_that_forgets_its_base_is_refused() -> None:
    class ForgetfulOp(BaseAsyncOp):
        def __init__(self) -> None: ...

        async def async_execute(self) -> None: ...

    ops: Registry[Op] = Registry("op")
    ops.add("ForgetfulOp", ForgetfulOp, "the tests")

    with pytest.raises(ExpressionError, match="super"):
        compile_expression("ForgetfulOp()", flow="demo", ops=ops)


def test_backslashes_in_texts_are_no_matter() -> None:
    op = compiled(r"SearchOp(value='\d+ \.')")

    assert isinstance(op, SearchOp)
    assert op.value == r"\d+ \."


# --- what is not in the grammar


@pytest.mark.parametrize(
    "source",
    [
        "__import__('os').system('true')",
        "__\uff49mport__('os')",
        "().__class__.__mro__[1].__subclasses__()",
        "SearchOp().run",
        "SearchOp().async_execute.__globals__",
        "SearchOp.__init__",
        "SearchOp(value=SearchOp().run)",
        "(lambda: SearchOp())()",
        "lambda: SearchOp()",
        "[SearchOp() for _ in 'ab']",
        "{SearchOp() for _ in 'ab'}",
        "{1: SearchOp() for _ in 'ab'}",
        "(x for x in 'ab')",
        "(x := SearchOp())",
        "f'{SearchOp()}'",
        "SearchOp(value=f'{1}')",
        '"a" * 10**9',
        "9**9**9",
        "SearchOp(value=9**9**9)",
        "SearchOp(value=1 + 1)",
        "SearchOp(value=~1)",
        "SearchOp(value=--1)",
        "SearchOp(value=not True)",
        "SearchOp(value=1 < 2)",
        "SearchOp(value=1j)",
        "SearchOp(value=b'x')",
        "SearchOp(value=...)",
        "SearchOp(value=(1, 2))",
        "SearchOp(value={1, 2})",
        "SearchOp(value=[*[1]])",
        "SearchOp(value=print)",
        "SearchOp(value=await x)",
        "SearchOp() if True else FindOp()",
        "SearchOp() and FindOp()",
        "SearchOp() + FindOp()",
        "SearchOp()[0]",
        "SearchOp()()",
        "yield SearchOp()",
        "print(1)",
        "eval('1')",
        "exec('1')\nSearchOp()",
        "import os\nSearchOp()",
        "from os import system\nSearchOp()",
        "def f(): pass\nSearchOp()",
        "class XOp: pass\nSearchOp()",
        "for x in 'ab': SearchOp()\nSearchOp()",
        "while True: pass\nSearchOp()",
        "try:\n  SearchOp()\nfinally:\n  SearchOp()",
        "with SearchOp(): pass\nSearchOp()",
        "del SearchOp\nSearchOp()",
        "global x\nSearchOp()",
        "a = SearchOp()\na.top_k = 5\na",
        "a = SearchOp()\na.__class__ = 5\na",
        "a = SearchOp()\na.ops.x.ops.y = SearchOp()\na",
        "a = SearchOp()\na.ops['x'] = SearchOp()\na",
        "a = SearchOp()\na.ops.items = SearchOp()\na",
        "a = SearchOp()\na.ops._x = SearchOp()\na",
        "a, b = SearchOp(), SearchOp()\na",
        "a = b = SearchOp()\na",
        "a: int = SearchOp()\na",
        "a = SearchOp()\na |= FindOp()\na",
        "SearchOp()\nFindOp()",
        "SearchOp(); FindOp()",
        "a = SearchOp()",
        "[SearchOp()]",
        "5",
        "None",
        "",
        "   \n  # only a comment",
        "SearchOp(",
        "SearchOp() >>",
        "SearchOp())",
        "SearchOp(value='a)",
        "SearchOp() \\",
        "SearchOp()\n  FindOp()",
        "SearchOp() # \0",
        "SearchOp(value=" + "9" * 5000 + ")",
        "(" * 10_000 + ")" * 10_000,
        "(" * 10_000 + "SearchOp()" + ")" * 10_000,
        "[" * 10_000 + "]" * 10_000,
        "SearchOp(value=" + "[" * 150 + "]" * 150 + ")",
        "-" * 30_000 + "1",
        "SearchOp()" + ".a" * 10_000,
        "SearchOp" + "()" * 10_000,
        "SearchOp(value='" + "a" * 1_000_000 + "')",
    ],
    ids=lambda source: source[:24] if len(source) < 1000 else f"{source[:16]}…{len(source)}",
)
def test_nothing_else_is_allowed(source: str) -> None:
    error = refused(source)

    assert error.flow == "demo"
    assert error.line >= 1
    assert error.column >= 1
    assert str(error).startswith(f"flow 'demo', line {error.line}, column {error.column}: ")
    assert len(str(error)) < 1500


def test_no_module_of_the_core_calls_eval_or_exec() -> None:
    sources = list(Path(flowcore.__file__).parent.rglob("*.py"))
    called = {
        node.func.id
        for source in sources
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }

    assert "isinstance" in called  # the search works
    assert called.isdisjoint({"eval", "exec", "compile", "__import__"})


def test_compatibility_characters_name_what_python_takes_them_for() -> None:
    # Python normalises identifiers (NFKC); the name is looked up after that, never before.
    assert shape(compiled("\uff33earchOp()")) == "Search"
    assert "unknown name '__class__'" in str(refused("__\uff43lass__"))


def test_expressions_have_a_length_and_a_depth_that_they_may_not_exceed() -> None:
    assert compiled("SearchOp()" + " " * 100 + "#" * (MAX_CHARS - 200))
    assert f"longer than {MAX_CHARS} characters" in str(refused("#" * (MAX_CHARS + 1)))
    deep = "SearchOp(value=" + "[" * MAX_DEPTH + "]" * MAX_DEPTH + ")"
    assert f"nested deeper than {MAX_DEPTH} levels" in str(refused(deep))


def test_a_chain_of_a_thousand_steps_is_no_depth() -> None:
    flow = compiled(" >> ".join(["SearchOp()"] * 1000))

    assert isinstance(flow, SequentialOp)
    assert len(flow.steps) == 1000


@pytest.mark.parametrize(
    "step", ["{0} >> {0}", "{0} | {0}", "ReactOp(tool={0}) >> {0}", "ReactOp(value=[{0}, {0}])"]
)
def test_a_few_lines_cannot_stand_for_millions_of_ops(step: str) -> None:
    steps = [f"a{i} = {step.format(f'a{i - 1}')}" for i in range(1, 40)]
    source = "\n".join(["a0 = SearchOp()", *steps, "a39"])

    assert "more than 10000 ops" in str(refused(source))


# --- messages


def test_an_error_names_flow_line_and_column_and_shows_the_place() -> None:
    error = refused("a = SearchOp()\na >> Searchop() >> FindOp()")

    assert (error.flow, error.line, error.column) == ("demo", 2, 6)
    assert str(error) == (
        "flow 'demo', line 2, column 6: unknown op 'Searchop'; did you mean 'SearchOp'?\n"
        "    a >> Searchop() >> FindOp()\n"
        "         ^"
    )


def test_an_error_names_the_file_where_the_expression_stands() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression("NopeOp()", flow="demo", ops=OPS, origin="my.yaml:12")

    assert str(caught.value).startswith("my.yaml:12: flow 'demo', line 1, column 1: unknown op")
    assert caught.value.origin == "my.yaml:12"


def test_columns_count_characters_and_not_bytes() -> None:
    error = refused("SearchOp(value='中文😀') >> Nope()")

    caret = str(error).splitlines()[-1]
    assert error.column == len("SearchOp(value='中文😀') >> ") + 1
    assert caret.index("^") == 4 + error.column - 1


def test_a_syntax_error_points_at_its_place() -> None:
    error = refused("a = SearchOp()\na >> )")

    assert (error.line, error.column) == (2, 6)
    assert "not an expression" in str(error)


@pytest.mark.parametrize("operator", [">>", "|", "<<"])
def test_a_line_that_begins_with_an_operator_brings_up_parentheses(operator: str) -> None:
    error = refused(f"SearchOp()\n{operator} FindOp()")

    assert (error.line, error.column) == (2, 1)
    assert "to go on in a new line, put the whole into parentheses" in str(error)


def test_an_unknown_name_is_met_with_the_nearest_known_name() -> None:
    error = refused("agent = SearchOp()\nagnet >> FindOp()")

    assert "unknown name 'agnet'; did you mean 'agent'?" in str(error)


def test_lines_may_end_as_on_any_system() -> None:
    for end in ("\n", "\r\n", "\r"):
        assert refused(f"a = SearchOp(){end}a >> Nope()").line == 2
        assert shape(compiled(f"a = SearchOp(){end}a >> a")) == "(Search >> Search)"


def test_an_op_that_is_far_from_all_names_brings_up_the_plugins() -> None:
    assert "`flowcore plugins` lists the plugins" in str(refused("Zzzzzz()"))


def test_what_an_init_raises_is_the_cause() -> None:
    class FussyOp(BaseAsyncOp):
        def __init__(self, path: str) -> None:
            super().__init__()
            if path != "right":
                raise FileNotFoundError(path)

        async def async_execute(self) -> None: ...

    ops: Registry[Op] = Registry("op")
    ops.add("FussyOp", FussyOp, "the tests")

    with pytest.raises(ExpressionError, match="FussyOp refuses its parameters: wrong") as caught:
        compile_expression("FussyOp('wrong')", flow="demo", ops=ops)

    assert isinstance(caught.value.__cause__, FileNotFoundError)
