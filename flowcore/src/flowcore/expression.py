"""The compiler of flow expressions.

The grammar is a small part of Python's; nothing of it is ever handed to ``eval`` or ``exec``::

    flow        := { statement NEWLINE } op
    statement   := NAME "=" value
                 | NAME ".ops." NAME "=" op
                 | op "<<" subops
    op          := op ">>" op | op "|" op | op "<<" subops | "(" op ")" | NAME | CLASS "(" args ")"
    subops      := op | "[" op, … "]" | "{" string ":" op, … "}"
    args        := value, …, NAME "=" value, …
    value       := op | number | string | True | False | None | "[" value, … "]" | "{" … "}"

``>>`` and ``<<`` bind tighter than ``|``, as in Python.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from flowcore.errors import ExpressionError, OpDefinitionError, UnknownNameError, did_you_mean
from flowcore.op import Op, check_op, held_by
from flowcore.op_tree import MAX_OPS, check_tree
from flowcore.parameters import is_parameter
from flowcore.registry import Registry
from flowcore.yaml_text import TextOrigin

MAX_CHARS = 32 * 1024
MAX_DEPTH = 64

Hint = Callable[[str], str]


def no_hint(_: str) -> str:
    """Know nothing more about an unknown op."""
    return ""


def compile_expression(
    source: str, *, flow: str, ops: Registry[Op], origin: str = "", hint: Hint = no_hint
) -> Op:
    """Turn the text of ``flow_content`` into a tree of ops.

    Args:
        source: The expression.
        flow: Name of the flow, for messages.
        ops: The op classes that may be named.
        origin: Where the expression stands, for messages.
        hint: Says what is known about an op that nobody registered.

    Returns:
        The template of the flow: :meth:`Op.bind` makes the copy for a run.

    Raises:
        ExpressionError: If the expression is not in the grammar, names an unknown op, or an op
            refuses its parameters.
    """
    # To ast, a lone carriage return ends a line.
    lines = re.sub("\r\n?", "\n", textwrap.dedent(source).rstrip())
    return _Compiler(lines, flow, ops, origin, hint).compile()


class _Compiler:
    def __init__(self, source: str, flow: str, ops: Registry[Op], origin: str, hint: Hint) -> None:
        self.source = source
        self.flow = flow
        self.ops = ops
        self.origin = origin
        self.hint = hint
        self.names: dict[str, Any] = {}
        self.depth = 0

    def compile(self) -> Op:
        if len(self.source) > MAX_CHARS:
            self.fail_at(1, 1, f"the expression is longer than {MAX_CHARS} characters")
        if not self.source.strip():
            self.fail_at(1, 1, "the expression is empty; write an op, such as StreamChatOp()")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                *statements, last = ast.parse(self.source).body
        except SyntaxError as error:
            hint = ""
            if (error.text or "").lstrip().startswith((">>", "<<", "|")):
                hint = "; to go on in a new line, put the whole into parentheses"
            elif re.search("[-=]>", error.text or ""):
                hint = "; ops in a sequence are joined by `>>`"
            line, column = error.lineno or 1, error.offset or 1
            self.fail_at(line, column, f"not an expression: {error.msg}{hint}")
        except ValueError as error:
            self.fail_at(1, 1, f"not an expression: {error}")
        except (RecursionError, MemoryError):
            self.fail_at(1, 1, "too long or nested too deeply; split it into named parts")
        for statement in statements:
            self.statement(statement)
        if not isinstance(last, ast.Expr):
            self.fail(last, "the last line must be an op, or ops joined by >> and |")
        root = self.op(last.value)
        self.check_tree(last, root)
        return root

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self.names[name] = self.value(value)
            case ast.Assign(
                targets=[
                    ast.Attribute(
                        attr=name, value=ast.Attribute(attr="ops", value=ast.Name() as owner)
                    )
                ],
                value=value,
            ):
                if name.startswith("_") or hasattr(dict, name):
                    self.fail(node, f"a sub-op cannot be called {name!r}; `ops` has its own {name}")
                self.attach(node, self.op(owner), {name: self.op(value)})
            case ast.Expr(value=ast.BinOp(op=ast.LShift()) as value):
                self.op(value)
            case _:
                self.fail(
                    node,
                    "only assignments (`x = …`, `x.ops.y = …`) and `x << …` may stand before the "
                    "last line",
                )

    def op(self, node: ast.expr) -> Op:
        value = self.value(node)
        if not isinstance(value, Op):
            self.fail(node, f"an op is needed here, not {_describe(value)}")
        return value

    def value(self, node: ast.expr) -> Any:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(node, f"nested deeper than {MAX_DEPTH} levels")
        try:
            return self.evaluate(node)
        finally:
            self.depth -= 1

    def evaluate(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=None | bool() | int() | float() | str() as value):
                return value
            case ast.UnaryOp(
                op=ast.USub() | ast.UAdd() as sign, operand=ast.Constant(value=number)
            ) if isinstance(number, int | float) and not isinstance(number, bool):
                return -number if isinstance(sign, ast.USub) else number
            case ast.List(elts=items):
                return [self.value(item) for item in items]
            case ast.Dict(keys=keys, values=values):
                return {
                    self.key(node, key): self.value(value)
                    for key, value in zip(keys, values, strict=True)
                }
            case ast.Name(id=name):
                return self.name(node, name)
            case ast.Call(func=ast.Name(id=name)):
                return self.call(node, name)
            case ast.BinOp(op=ast.RShift()) | ast.BinOp(op=ast.BitOr()):
                return self.compose(node)
            case ast.BinOp(left=left, op=ast.LShift(), right=right):
                return self.attach(node, self.op(left), self.value(right))
            case _:
                self.fail(
                    node,
                    f"{_SYNTAX.get(type(node), 'this')} is not allowed{_meant(node)}; a flow "
                    "consists of ops, `>>`, `|`, `<<`, parentheses and literals",
                )

    def compose(self, node: ast.BinOp) -> Op:
        # A chain of a thousand steps leans to the left: walked in a loop, it has no depth.
        operands: list[ast.expr] = []
        kind = type(node.op)
        left: ast.expr = node
        while isinstance(left, ast.BinOp) and type(left.op) is kind:
            operands.append(left.right)
            left = left.left
        result = self.op(left)
        for operand in reversed(operands):
            right = self.op(operand)
            result = result >> right if kind is ast.RShift else result | right
            if len(list(result.children())) > MAX_OPS:
                self.check_tree(node, result)
        return result

    def attach(self, node: ast.AST, owner: Op, others: Any) -> Op:
        try:
            owner << others  # pyright: ignore[reportUnusedExpression]
        except OpDefinitionError as error:
            self.fail(node, str(error))
        self.check_tree(node, owner)
        return owner

    def check_tree(self, node: ast.AST, root: Op) -> None:
        try:
            check_tree(root)
        except OpDefinitionError as error:
            self.fail(node, str(error))

    def key(self, node: ast.expr, key: ast.expr | None) -> str | int | float | bool | None:
        if not isinstance(key, ast.Constant):
            self.fail(key or node, "the keys of a dict must be literals")
        return self.value(key)

    def name(self, node: ast.expr, name: str) -> Any:
        if name in self.names:
            return self.names[name]
        if name in self.ops:
            self.fail(node, f"{name} is a class; write {name}() to make an op of it")
        known = [*self.names, *self.ops, "True", "False", "None"]
        self.fail(node, f"unknown name {name!r}{did_you_mean(name, known)}")

    def call(self, node: ast.Call, name: str) -> Op:
        try:
            cls = self.ops.lookup(name, self.hint(name))
        except UnknownNameError as error:
            self.fail(node, str(error))
        if any(isinstance(arg, ast.Starred) for arg in node.args) or any(
            keyword.arg is None for keyword in node.keywords
        ):
            self.fail(node, "`*` and `**` are not allowed in arguments")
        args = [self.value(arg) for arg in node.args]
        names = [keyword.arg for keyword in node.keywords]
        if repeated := [name for name in names if names.count(name) > 1]:
            self.fail(node, f"the parameter {repeated[0]!r} is given twice")
        kwargs = {str(keyword.arg): self.value(keyword.value) for keyword in node.keywords}
        if missing := getattr(cls, "__abstractmethods__", None):
            public = sorted(method for method in missing if not method.startswith("_"))
            self.fail(node, f"{name} does not implement {', '.join(public)}")
        try:
            op = check_op(cls(*args, **kwargs), name)
        # Whatever a user's __init__ raises is about these arguments.
        except Exception as error:  # noqa: BLE001
            hint = "; parameters are written as name=value" if node.args else ""
            said = f"{name} refuses its parameters: {error}"
            wrong: ast.AST = node
            if isinstance(error, OpDefinitionError) and error.parameter:
                said, hint = str(error), ""
                given = (keyword for keyword in node.keywords if keyword.arg == error.parameter)
                if keyword := next(given, None):
                    wrong = keyword.value if is_parameter(cls, error.parameter) else keyword
            self.fail(wrong, said + hint, error)
        if "name" not in held_by(op):
            self.fail(node, f"{name}.__init__ must call super().__init__(**kwargs)")
        return op

    def fail(self, node: ast.AST, message: str, cause: Exception | None = None) -> NoReturn:
        line: int = getattr(node, "lineno", 1)
        offset: int = getattr(node, "col_offset", 0)
        # ast counts bytes of UTF-8; people count characters.
        before = self.source.split("\n")[line - 1].encode()[:offset].decode(errors="ignore")
        self.fail_at(line, len(before) + 1, message, cause)

    def fail_at(
        self, line: int, column: int, message: str, cause: Exception | None = None
    ) -> NoReturn:
        column = max(column, 1)
        origin = self.origin
        if isinstance(origin, TextOrigin):
            origin = origin.of_part(self.source, line, column)
        raise ExpressionError(
            message, flow=self.flow, line=line, column=column, source=self.source, origin=origin
        ) from cause


def _describe(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"


def _meant(node: ast.expr) -> str:
    match node:
        case ast.Tuple():
            return "; join ops by `>>` or `|`, not by commas"
        case ast.BoolOp(op=ast.Or()):
            return "; ops at the same time are joined by `|`"
        case ast.Compare(ops=[ast.Gt(), *_]) | ast.BoolOp():
            return "; ops in a sequence are joined by `>>`"
        case ast.Call(func=ast.Attribute(attr=name)):
            return f"; write {name}(…) alone, without its module"
        case _:
            return ""


_SYNTAX: Mapping[type[ast.expr], str] = {
    ast.Attribute: "attribute access",
    ast.Call: "a call of anything but an op class",
    ast.Lambda: "`lambda`",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.JoinedStr: "an f-string",
    ast.NamedExpr: "`:=`",
    ast.Subscript: "indexing",
    ast.BinOp: "this operator",
    ast.BoolOp: "`and`/`or`",
    ast.UnaryOp: "this operator",
    ast.Compare: "a comparison",
    ast.IfExp: "`if`/`else`",
    ast.Await: "`await`",
    ast.Yield: "`yield`",
    ast.Constant: "this kind of literal",
    ast.Tuple: "a tuple",
    ast.Set: "a set",
    ast.Starred: "`*`",
}
