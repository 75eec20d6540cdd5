"""YAML as configurations use it: safe, without dates, and with one kind of error."""

from __future__ import annotations

from typing import Any

import yaml

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


class YamlLoader(yaml.SafeLoader):
    """PyYAML's safe loader, save that a date is text, as it is in JSON."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own way
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def parse_yaml(text: str) -> Any:
    """Return the value that a YAML text holds.

    Raises:
        yaml.YAMLError: If it is not valid YAML.
    """
    try:
        return yaml.load(text, YamlLoader)  # noqa: S506 - a subclass of the safe loader
    except MALFORMED as error:
        raise yaml.YAMLError(str(error)) from None
