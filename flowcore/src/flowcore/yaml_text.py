"""YAML as configurations use it: safe, without dates, and with one kind of error."""

from __future__ import annotations

from typing import Any, Self, cast

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

_TIMESTAMP = "tag:yaml.org,2002:timestamp"

MALFORMED = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
)
"""What PyYAML lets out besides its own errors: for a malformed number, or for deep nesting."""

MAX_NODES = 100_000
_MAX_BITS = 14_000
"""The largest integer; Python refuses to write those of more than 4300 digits as text."""


class YamlLoader(yaml.SafeLoader):
    """PyYAML's safe loader, with bounds, and save that a date is text, as it is in JSON."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own way
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Return the next node, unless there are too many."""
        # Each costs a kilobyte and some 20 microseconds, long before anybody can look at it.
        self._nodes += 1
        if self._nodes > MAX_NODES:
            mark = cast("Any", self).peek_event().start_mark
            raise ComposerError(None, None, f"there are more than {MAX_NODES} values", mark)
        return super().compose_node(parent, index)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Return the integer that a node holds, unless it is too large."""
        value: int = super().construct_yaml_int(node)  # pyright: ignore[reportUnknownMemberType]
        if value.bit_length() > _MAX_BITS:
            raise ConstructorError(None, None, "the integer is too large", node.start_mark)
        return value


YamlLoader.add_constructor("tag:yaml.org,2002:int", YamlLoader.construct_yaml_int)


class TextOrigin(str):
    """Where a text was said, such as ``"my.yaml:5"``, which also finds the parts of that text.

    Args:
        shown: Where its key stands.
        file: Name of the file.
        content: All that is in the file.
        start: Where in that the text begins, however it is written.
    """

    __slots__ = ("_content", "_file", "_start")

    def __new__(cls, shown: str, file: str, content: str, start: int) -> Self:
        """Make it of the text that is shown, to which the rest is only attached."""
        self = super().__new__(cls, shown)
        self._file, self._content, self._start = file, content, start
        return self

    def of_part(self, text: str, line: int, column: int) -> str:
        """Return file, line and column of a part of the text; just the origin if that is unclear.

        Args:
            text: The text as it was read; blanks and line ends may differ from those in the file.
            line: The part's line in that text, from 1.
            column: Its column in that line, from 1.
        """
        lines = text.split("\n")
        before = "".join([*lines[: line - 1], lines[line - 1][: column - 1]])
        wanted, solid = len("".join(before.split())), "".join(text.split())
        content, index = self._content, self._start
        if content[index] in "|>":
            index = content.find("\n", index)
        elif content[index] in "\"'":
            index += 1
        for character in solid[: wanted + 1]:
            while content[index : index + 1].isspace():
                index += 1
            if content[index : index + 1] != character:
                return str(self)  # a variable was filled in, or the text has escapes
            index += 1
        if wanted < len(solid):
            index -= 1  # on it, not behind it
        column = index - content.rfind("\n", 0, index)
        return f"{self._file}:{content.count(chr(10), 0, index) + 1}:{column}"


def parse_yaml(text: str) -> Any:
    """Return the value that a YAML text holds.

    Raises:
        yaml.YAMLError: If it is not valid YAML.
    """
    try:
        return yaml.load(text, YamlLoader)  # noqa: S506 - a subclass of the safe loader
    except MALFORMED as error:
        raise yaml.YAMLError(str(error)) from None
