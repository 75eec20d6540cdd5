"""A diagnosis for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flowcore.doctor.examination import Diagnosis
from flowcore.terminal import counted, printable

if TYPE_CHECKING:
    from flowcore.finding import Finding, Level

_STYLES: Mapping[Level, str] = {
    "ok": "green",
    "info": "",
    "warning": "yellow",
    "problem": "bold red",
}
_MARKS: Mapping[Level, str] = {"ok": "✓", "info": " ", "warning": "!", "problem": "✗"}
_PLAIN_MARKS: Mapping[Level, str] = {"ok": "+", "info": " ", "warning": "!", "problem": "x"}


def print_diagnosis(diagnosis: Diagnosis) -> None:
    """Print the findings by section, and at the end what is to be done."""
    console = Console(highlight=False)
    marks = _MARKS if _can_show(console, *_MARKS.values()) else _PLAIN_MARKS
    for section, findings in diagnosis.sections().items():
        console.print(Text(section, style="bold"))
        console.print(_table(findings, marks))
        console.print()
    to_do = [*diagnosis.problems, *diagnosis.warnings]
    if to_do:
        console.print(Text("to do", style="bold"))
        for found in to_do:
            console.print(
                Text(f"  {marks[found.level]} ", style=_STYLES[found.level]),
                Text(printable(f"{found.name}: {_advice(found)}")),
                sep="",
                soft_wrap=True,
            )
        console.print()
    level = "ok" if diagnosis.is_ready else "problem"
    console.print(Text(f"{marks[level]} {_verdict(diagnosis)}", style=f"bold {_STYLES[level]}"))


def _table(findings: list[Finding], marks: Mapping[Level, str]) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=2, justify="right")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    if any(found.origin for found in findings):
        table.add_column(overflow="fold", style="dim")
    for found in findings:
        style = _STYLES[found.level]
        said = Text()
        if found.level in {"warning", "problem"}:
            said.append(f"{found.level}: ", style=style)
        said.append(printable(found.text))
        row = [Text(marks[found.level], style=style), Text(printable(found.name), style="cyan")]
        table.add_row(*row, said, *([Text(_short(found.origin))] if found.origin else []))
    return table


def _advice(found: Finding) -> str:
    """Return what is wrong and what to do; the table may be far above."""
    what = found.text.partition("\n")[0]
    return f"{what}; {found.advice}" if found.advice else what


def _verdict(diagnosis: Diagnosis) -> str:
    counts = [
        counted(len(found), word)
        for found, word in ((diagnosis.problems, "problem"), (diagnosis.warnings, "warning"))
        if found
    ]
    if diagnosis.is_ready:
        return f"ready{f', with {counts[0]}' if counts else ''}"
    return f"not ready: {', '.join(counts)}"


def _can_show(console: Console, *marks: str) -> bool:
    try:
        "".join(marks).encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _short(origin: str) -> str:
    """Return where a value comes from, without the folders of a file."""
    return printable(origin.rpartition("/")[2] if origin.startswith("/") else origin)
