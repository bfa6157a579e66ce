"""The commands that make pages to look at: ``report`` and ``watch``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayeslaw.cli.options import AsJson, PosteriorFile
from bayeslaw.cli.tables import print_json, print_report, say
from bayeslaw.errors import BadInput


def report_(
    posterior: PosteriorFile = None,
    runs: Annotated[
        list[Path] | None,
        typer.Option(help="Run table that the posterior was fitted to, for more figures. May be repeated."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Page to write, .html.")] = Path(
        "report.html"
    ),
    as_json: AsJson = False,
) -> None:
    """Write one HTML file with summary, figures, diagnostics, data and a live calculator.

    Example:

      bayeslaw report --posterior posterior.nc --runs runs.parquet -o report.html

    It needs no network, server or installation. The calculator gives the answers of `bayeslaw predict`
    for any run.
    """
    if output.suffix.lower() not in (".html", ".htm"):
        raise BadInput(f"{output}: unknown suffix {output.suffix!r}; expected a page in .html; rename it")
    from bayeslaw.assets import POSTERIOR
    from bayeslaw.files import check_writable
    from bayeslaw.posterior.netcdf import read_posterior

    check_writable(output)
    path = posterior or POSTERIOR
    fit = read_posterior(path)
    table = None
    if runs:
        from bayeslaw.diagnosis.fitted_runs import fitted_notes
        from bayeslaw.runs.io import read_runs

        table = read_runs(*runs)
        for note in fitted_notes(fit, table):
            say(f"note: {note}")

    from bayeslaw.reporting.page import write_report

    written = write_report(fit, output, str(path) if posterior else None, table)
    result = {"output": output} | written | {"posterior": {"path": str(path)} | fit.provenance}
    print_json(result) if as_json else print_report(result)


def watch_(
    folder: Annotated[Path, typer.Argument(help="Folder of a sweep or a loop, running or done.")],
    posterior: Annotated[
        Path | None, typer.Option(help="Fit whose curves are drawn. By default the loop's latest.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; by default this machine alone.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for one that is free.")] = 8765,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the progress once, and serve nothing.")
    ] = False,
) -> None:
    """Serve a page that shows a sweep or loop while it runs; it only reads the folder.

    Example:

      bayeslaw watch out/first

    Progress and time left, runs by status, loss against learning rate in each cell with the current fit,
    the optimum round by round, the journal, and a run's curve on a click. Where the sweep or loop has
    not begun, it is waited for. Stop it with Ctrl-C.
    """
    from contextlib import suppress
    from dataclasses import asdict

    from bayeslaw.watching.server import serve
    from bayeslaw.watching.state import read_state, wait_for

    if as_json:
        print_json({"folder": folder} | asdict(read_state(folder).progress))
        return
    with suppress(KeyboardInterrupt):
        wait_for(folder, say)
        with serve(folder, host, port, posterior) as server:
            say(f"http://{host}:{server.server_address[1]}")
            server.serve_forever()
