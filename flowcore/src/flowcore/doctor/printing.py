"""A diagnosis for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flowcore.doctor.examination import Diagnosis
from flowcore.terminal import printable

if TYPE_CHECKING:
    from flowcore.finding import Finding, Level

_MARKS: Mapping[Level, tuple[str, str, str]] = {
    "ok": ("✓", "ok", "green"),
    "info": (" ", "", ""),
    "warning": ("!", "warning", "yellow"),
    "problem": ("✗", "problem", "bold red"),
}


def print_diagnosis(diagnosis: Diagnosis) -> None:
    """Print the findings by section, and at the end what is to be done."""
    console = Console(highlight=False)
    for section, findings in diagnosis.sections().items():
        console.print(Text(section, style="bold"))
        console.print(_table(findings))
        console.print()
    to_do = [*diagnosis.problems, *diagnosis.warnings]
    if to_do:
        console.print(Text("to do", style="bold"))
        for found in to_do:
            mark, _, style = _MARKS[found.level]
            console.print(
                Text(f"  {mark} ", style=style),
                Text(printable(f"{found.name}: {found.advice or 'see above'}")),
                sep="",
                soft_wrap=True,
            )
        console.print()
    console.print(_verdict(diagnosis))


def _table(findings: list[Finding]) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1 + 1, justify="right")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold", style="dim")
    for found in findings:
        mark, word, style = _MARKS[found.level]
        said = Text()
        if found.level in {"warning", "problem"}:
            said.append(f"{word}: ", style=style)
        said.append(printable(found.text))
        name = Text(printable(found.name), style="cyan")
        table.add_row(Text(mark, style=style), name, said, Text(_short(found.origin)))
    return table


def _short(origin: str) -> str:
    """Return where a value comes from, without the folders of a file."""
    return printable(origin.rpartition("/")[2] if origin.startswith("/") else origin)


def _verdict(diagnosis: Diagnosis) -> Text:
    problems, warnings = len(diagnosis.problems), len(diagnosis.warnings)
    counts = [
        f"{count} {word}{'' if count == 1 else 's'}"
        for count, word in ((problems, "problem"), (warnings, "warning"))
        if count
    ]
    if diagnosis.is_ready:
        return Text(f"✓ ready{f', with {counts[0]}' if counts else ''}", style="bold green")
    return Text(f"✗ not ready: {', '.join(counts)}", style="bold red")
