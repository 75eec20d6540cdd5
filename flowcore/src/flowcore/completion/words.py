"""What may stand at a place of a command line: the functions that parameters of commands name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from flowcore.completion.configs import config_names, config_paths, read_configs, section

if TYPE_CHECKING:
    Items = list[CompletionItem[str]]  # click is generic from 8.2 on


def configs(ctx: click.Context, start: str) -> Items:
    """Offer names of configs; of several with commas, the last."""
    del ctx
    before, comma, last = start.rpartition(",")
    names = config_paths(last) if "/" in last else config_names()
    return _items(start, (f"{before}{comma}{name}" for name in names))


def settings(ctx: click.Context, start: str) -> Items:
    """Offer ``config=NAME`` and ``a.b=value``."""
    if start.startswith("config="):
        names = configs(ctx, start.removeprefix("config="))
        return _items(start, (f"config={name.value}" for name in names))
    return [*config_setting(ctx, start), *overrides(ctx, start)]


def config_setting(ctx: click.Context, start: str) -> Items:
    """Offer the beginning of ``config=NAME``."""
    del ctx
    return _items(start, ["config="])


def overrides(ctx: click.Context, start: str) -> Items:
    """Offer ``a.b=value``."""
    from flowcore.completion import keys  # noqa: PLC0415 - slow to import

    return _items(start, keys.settings(start, _said(ctx)))


def flows(ctx: click.Context, start: str) -> Items:
    """Offer names of flows."""
    found = section(_said(ctx), "flow")
    return [
        CompletionItem(name, help=str(section(found, name).get("description") or "") or None)
        for name in sorted(found)
        if name.startswith(start)
    ]


def inputs(ctx: click.Context, start: str) -> Items:
    """Offer ``key=`` for the inputs of the flow, and the values of those that have few."""
    if start.startswith("config="):
        return settings(ctx, start)
    fields = section(_said(ctx), "flow", str(ctx.params.get("flow")), "input_schema")
    key, equals, _ = start.partition("=")
    if equals:
        return _items(start, (f"{key}={value}" for value in _values(section(fields, key))))
    given = {pair.partition("=")[0] for pair in _given(ctx, "inputs")}
    return [
        CompletionItem(f"{name}=", help=str(section(fields, name).get("description") or "") or None)
        for name in fields
        if name.startswith(start) and name not in given
    ]


def flow_or_inputs(ctx: click.Context, start: str) -> Items:
    """Offer what the arguments of `flowcore chat` may be: a flow, and then its inputs."""
    arguments = _given(ctx, "arguments")
    if not arguments and "=" not in start:
        return flows(ctx, start)
    ctx.params["flow"] = arguments[0] if arguments else None
    return inputs(ctx, start)


def files(ctx: click.Context, start: str) -> Items:
    """Let the shell offer files."""
    del ctx
    return [CompletionItem(start, type="file")]


def codes(ctx: click.Context, start: str) -> Items:
    """Offer the codes of errors."""
    from flowcore.explain import explanations  # noqa: PLC0415

    del ctx
    return _items(start, sorted({page.code for page in explanations()}))


def _said(ctx: click.Context) -> Mapping[str, Any]:
    """Return what the configs say that the line has named so far."""
    names = [name for names in _given(ctx, "names") for name in names.split(",") if name]
    said: list[str] = list(_given(ctx, "overrides"))
    for setting in (*_given(ctx, "settings"), *_given(ctx, "inputs"), *_given(ctx, "arguments")):
        key, _, value = setting.partition("=")
        if key == "config":
            names += [name for name in value.split(",") if name]
    said += [setting for setting in _given(ctx, "settings") if "=" in setting]
    return read_configs(names, [setting for setting in said if not setting.startswith("config=")])


def _given(ctx: click.Context, name: str) -> tuple[str, ...]:
    return tuple(ctx.params.get(name) or ())


def _values(field: Mapping[str, Any]) -> Iterator[str]:
    if field.get("type") == "boolean":
        yield from ("true", "false")
    enum: object = field.get("enum")
    if isinstance(enum, list):
        yield from map(str, enum)  # pyright: ignore[reportUnknownArgumentType]


def _items(start: str, values: Iterable[str]) -> Items:
    return [CompletionItem(value) for value in values if value.startswith(start)]
