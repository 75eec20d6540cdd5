"""``flowcore check``: check a configuration and show its flows."""

from __future__ import annotations

from typing import TextIO

import click

from flowcore.commands.completing import offering
from flowcore.commands.configured import app_of, config_of, settings_argument


@click.command("check")
@settings_argument
@click.option(
    *("--flow", "name"), metavar="NAME", help="Show this flow only.",
    shell_complete=offering("flows"),
)  # fmt: skip
@click.option("--mermaid", is_flag=True, help="Print a diagram as text for Mermaid.")
@click.option(
    "--svg",
    type=click.File("w", encoding="utf-8", lazy=True),
    metavar="FILE",
    help="Draw a diagram into FILE; - prints it.",
)
def command(settings: tuple[str, ...], name: str | None, mermaid: bool, svg: TextIO | None) -> None:
    """Check the configuration and print the ops of each flow.

    Plugins, expressions, prompts and the settings of all backends are checked as at a start. With
    --mermaid or --svg the flows are drawn instead.
    """
    from flowcore.errors import UnknownNameError  # noqa: PLC0415 - with the app
    from flowcore.terminal import print_flows_as_trees  # noqa: PLC0415

    if mermaid and svg is not None:
        raise click.UsageError("--mermaid and --svg exclude each other")
    if svg is not None and "=" in svg.name and not svg.name.endswith(".svg"):
        raise click.UsageError(f"--svg takes a file; write --svg flows.svg {svg.name}")
    app = app_of(config_of(settings))
    app.backends.make_all()
    app.service().check(app)
    if name is not None and name not in app.flows:
        raise UnknownNameError("flow", name, app.flows)
    if svg is not None and svg.name in app.flows:
        raise click.UsageError(
            f"--svg takes a file; for the flow {svg.name!r} write --flow {svg.name} "
            f"--svg {svg.name}.svg"
        )
    names = [name] if name is not None else [*app.flows]
    ops = {each: app.flows[each].op for each in names}
    # One alone needs no heading.
    drawn = ops[names[0]] if len(names) == 1 else ops
    if mermaid:
        from flowcore.mermaid import to_mermaid  # noqa: PLC0415

        click.echo(to_mermaid(drawn), nl=False)
    elif svg is not None:
        from flowcore.svg import to_svg  # noqa: PLC0415

        svg.write(to_svg(drawn, title=", ".join(names), styled=True))
    else:
        print_flows_as_trees(app, names)
