"""``flowcore batch``: run a flow for each row of a file."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

import click

from flowcore.commands.completing import offering
from flowcore.commands.configured import app_for_flow, flow_options, settings_argument
from flowcore.interruption import leave_at_once, run_until_interrupt

if TYPE_CHECKING:
    from flowcore.batch import BatchReport


@click.command("batch")
@click.argument("flow", shell_complete=offering("flows"))
@click.argument("source", metavar="INPUT", shell_complete=offering("files"))
@settings_argument
@click.option(
    "-o",
    "--output",
    "target",
    required=True,
    metavar="FILE",
    help="Answers, as JSONL.",
    shell_complete=offering("files"),
)
@click.option(
    "--failed",
    metavar="FILE",
    shell_complete=offering("files"),
    help="Failures, as JSONL.  [default: beside -o, OUT.failed.jsonl]",
)
@click.option(
    *("-j", "--concurrency"), default=8, show_default=True, type=click.IntRange(1, 10_000),
    metavar="N", help="Rows that run at the same time.",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Run N rows and stop.")
@click.option("--max-failed", type=click.IntRange(1), metavar="N", help="Stop after N failures.")
@click.option("--retry-failed", is_flag=True, help="Try rows again that have failed before.")
@click.option("--with-inputs", is_flag=True, help="Repeat the inputs of a row in its result.")
@flow_options
@click.option("-q", "--quiet", is_flag=True, help="Print only errors.")
def command(
    flow: str,
    source: str,
    settings: tuple[str, ...],
    target: str,
    failed: str | None,
    concurrency: int,
    limit: int | None,
    max_failed: int | None,
    retry_failed: bool,
    with_inputs: bool,
    names: tuple[str, ...],
    overrides: tuple[str, ...],
    url: str | None,
    quiet: bool,
) -> None:
    """Run FLOW for each row of INPUT; started again, go on.

    INPUT is a JSONL file, or - for standard input: each line is an object with the inputs of a
    run. The same command, started again, runs the rows that have no result yet. The exit code
    is 1 if any row has failed.
    """
    from flowcore.batch import BatchReport, run_batch  # noqa: PLC0415 - here and below: slow
    from flowcore.batch.progress import shown_progress, summary  # noqa: PLC0415
    from flowcore.calling import connected  # noqa: PLC0415

    if target == "-":
        raise click.UsageError("the output must be a file, which the next start can continue")
    app = app_for_flow(names, (*settings, *overrides), url)
    report = BatchReport()

    def keep(latest: BatchReport) -> None:
        nonlocal report
        report = latest
        show(latest)

    async def run() -> None:
        async with connected(app, url) if url else app as where:
            await run_batch(
                where,
                flow,
                source,
                target,
                failures=failed,
                concurrency=concurrency,
                limit=limit,
                max_failed=max_failed,
                retry_failed=retry_failed,
                with_inputs=with_inputs,
                watch=keep,
            )

    try:
        with nullcontext(_show_nothing) if quiet else shown_progress() as show:
            run_until_interrupt(run)
    except KeyboardInterrupt:
        with suppress(OSError):  # nobody may read it
            click.echo(f"interrupted: {_state(report)}; the same command goes on", err=True)
        leave_at_once()
    except OSError as error:
        what = f"{error.filename or 'the input or the results'}: {error.strerror or error}"
        raise click.ClickException(f"{what}; {_state(report)}; the same command goes on") from None
    if not quiet:
        click.echo(summary(report), err=True)
    if report.failed + report.failed_before:
        if not quiet:
            click.echo(f"failures: {report.failures}", err=True)
        raise SystemExit(1)


def _show_nothing(report: BatchReport) -> None:
    del report


def _state(report: BatchReport) -> str:
    of = "" if report.total is None else f" of {report.total}"
    return f"{report.done}{of} rows are done"
