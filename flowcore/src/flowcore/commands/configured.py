"""What the commands share that work on a configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from flowcore.commands.completing import offering

if TYPE_CHECKING:
    from flowcore.app import FlowApp
    from flowcore.config import FlowConfig

F = TypeVar("F", bound=Callable[..., Any])

_SECTIONS = frozenset({"deadlines", "embedding_model", "flow", "http", "llm", "vector_store"})
"""Where keys of a configuration begin that have dots in their names."""


def settings_argument(function: F) -> F:
    """Let a command take ``config=NAME`` and ``a.b.c=value``, as many as are given."""
    return click.argument(
        "settings", nargs=-1, metavar="[SETTINGS]...", shell_complete=offering("settings")
    )(function)


def flow_options(function: F) -> F:
    """Let a command that runs a flow take ``-c NAME``, ``-s A.B=VALUE`` and ``--url URL``."""
    url = click.option("--url", metavar="URL", help="Run the flow on this server instead of here.")
    overrides = click.option(
        *("-s", "--set", "overrides"), multiple=True, metavar="A.B=VALUE", help="Override a key.",
        shell_complete=offering("overrides"),
    )  # fmt: skip
    names = click.option(
        *("-c", "--config", "names"), multiple=True, metavar="NAME", help="Config to load.",
        shell_complete=offering("configs"),
    )  # fmt: skip
    return names(overrides(url(function)))


def split_inputs(
    pairs: Sequence[str], names: Sequence[str]
) -> tuple[dict[str, str], Sequence[str]]:
    """Return the inputs of a flow that arguments hold, and the configurations to load.

    Args:
        pairs: The arguments, ``key=value``; ``config=NAME`` among them names configurations,
            where ``names`` does not.
        names: What ``-c`` names.

    Raises:
        UsageError: If an argument is not written as ``key=value``, or names a setting.
    """
    for pair in pairs:
        name, equals, _ = pair.partition("=")
        if not name or not equals:
            raise click.UsageError(f"an input is written as key=value, not {pair!r}")
        if "." in name and name.partition(".")[0] in _SECTIONS:
            raise click.UsageError(f"{name} is a setting, and no input: -s {name}=…")
    inputs = dict(pair.split("=", 1) for pair in pairs)
    if not names and "config" in inputs:
        names = inputs.pop("config").split(",")
    return inputs, names


def split_settings(settings: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the names of the configurations and the overrides that the settings hold.

    Raises:
        UsageError: If a setting is not written as ``key=value``.
    """
    names: list[str] = []
    overrides: list[str] = []
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            hint = (
                f"; did you mean config={setting}?" if setting.endswith((".yaml", ".yml")) else ""
            )
            raise click.UsageError(f"settings are written as key=value, not {setting!r}{hint}")
        if key == "config":
            names += [name for name in value.split(",") if name]
        else:
            overrides.append(setting)
    return names, overrides


def config_of(settings: Sequence[str], *, optional: bool = False) -> FlowConfig:
    """Load what the settings say.

    Args:
        settings: ``config=NAME`` and ``a.b.c=value``.
        optional: Whether no ``config=NAME`` means an empty configuration, and not ``default``.

    Raises:
        ConfigError: If the configuration is wrong.
        UsageError: If a setting is not written as ``key=value``.
    """
    from flowcore.config import load_config  # noqa: PLC0415

    names, overrides = split_settings(settings)
    if not (names or optional):
        click.get_current_context().find_root().obj = (
            "no config=NAME was given, so that is `default`"
        )
    return load_config(*(names or ([{}] if optional else [])), *overrides)


def app_of(config: FlowConfig) -> FlowApp:
    """Make the app of a configuration.

    Raises:
        FlowcoreError: If the configuration does not fit what is installed.
    """
    from flowcore.app import FlowApp  # noqa: PLC0415

    return FlowApp(config)


def app_for_flow(names: Sequence[str], settings: Sequence[str], url: str | None) -> FlowApp:
    """Make the app with which a command runs a flow here, or reaches the server at ``url``.

    Raises:
        FlowcoreError: As :func:`config_of` and :func:`app_of` do.
    """
    given = [*(f"config={name}" for name in names), *settings]
    return app_of(config_of(given, optional=url is not None))
