"""``flowcore completion``: the script with which a shell completes commands."""

from __future__ import annotations

import click

HELP = """Print the script that completes commands in SHELL.

\b
bash:        eval "$(flowcore completion bash)"
zsh:         eval "$(flowcore completion zsh)"
fish:        flowcore completion fish | source
PowerShell:  flowcore completion powershell | Out-String | Invoke-Expression

The line belongs into the file that the shell reads at its start: .bashrc, .zshrc, config.fish,
$PROFILE.
"""


@click.command("completion", help=HELP)
@click.argument("shell", type=click.Choice(["bash", "fish", "powershell", "zsh"]))
def command(shell: str) -> None:  # noqa: D103 - its help text is HELP
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - here only

    from flowcore.completion.shells import VARIABLE, register  # noqa: PLC0415

    register()
    cls = get_completion_class(shell)
    if cls is None:
        raise click.ClickException(f"completion for {shell} needs click 8.5 or later")
    root = click.get_current_context().find_root().command
    click.echo(cls(root, {}, "flowcore", VARIABLE).source(), nl=False)
