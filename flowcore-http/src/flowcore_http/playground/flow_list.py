"""What the page is told of the flows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree as ET

import flowcore
from flowcore import Flow, to_svg


def list_flows(flows: Iterable[Flow], *, with_keys: bool) -> dict[str, Any]:
    """Return the flows as JSON, with all that a form and a drawing of each needs.

    Args:
        flows: The flows.
        with_keys: Whether requests need a key.
    """
    return {
        "version": flowcore.__version__,
        "keys": with_keys,
        "flows": [
            {
                "name": flow.name,
                "description": flow.description,
                "stream": flow.stream,
                "input_schema": flow.input_schema,
                "graph": _tree(ET.fromstring(to_svg(flow.op, title=flow.name))),  # noqa: S314 - ours
            }
            for flow in flows
        ],
    }


def _tree(element: ET.Element) -> list[Any]:
    """Return a drawing as a tree, of which the page builds elements: it parses no markup."""
    children: list[Any] = [element.text.strip()] if element.text and element.text.strip() else []
    children += map(_tree, element)
    return [element.tag.rpartition("}")[2], dict(element.attrib), *children]
