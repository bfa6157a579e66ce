"""The command line: files, printing and exit codes. Every computation lives in another package.

Each command is a module beside this one. Heavy packages are imported inside the commands, so that
``bayeslaw --help`` is instant. Results go to stdout, messages to stderr. Bad input and misuse exit with
code 2.
"""

from __future__ import annotations

import copy
import errno
import sys
from typing import Annotated

import typer

from bayeslaw.cli.batches import batch_
from bayeslaw.cli.comparison import compare_
from bayeslaw.cli.conversion import convert_
from bayeslaw.cli.design import design_
from bayeslaw.cli.diagnosis import diagnose_
from bayeslaw.cli.evaluation import evaluate_
from bayeslaw.cli.fitting import fit_
from bayeslaw.cli.importing import import_
from bayeslaw.cli.listing import Listing
from bayeslaw.cli.loop import loop_
from bayeslaw.cli.pages import report_, watch_
from bayeslaw.cli.prediction import predict_
from bayeslaw.cli.replay import replay_
from bayeslaw.cli.schedules import schedule
from bayeslaw.cli.tables import all_written, replace_what_cannot_be_written, say
from bayeslaw.compiled import keep_compiled
from bayeslaw.errors import BadInput

app = typer.Typer(
    name="bayeslaw",
    help="Bayesian hierarchical scaling laws of optimizer hyperparameters.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(version("bayeslaw"))
        raise typer.Exit


@app.callback()
def _commands(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Bayesian hierarchical scaling laws of optimizer hyperparameters."""


app.command("import", cls=Listing)(import_)
app.command("fit")(fit_)
app.command("predict")(predict_)
app.command("convert")(convert_)
app.command("evaluate")(evaluate_)
app.command("compare")(compare_)
app.command("diagnose")(diagnose_)
app.command("design", cls=Listing)(design_)
app.command("replay")(replay_)
app.command("loop")(loop_)
app.command("report")(report_)
app.command("watch")(watch_)
schedule.command("batch")(batch_)
app.add_typer(schedule)


def _of(arguments: list[str]) -> typer.Typer:
    """The application with the command that is asked for alone, since Typer builds the options of each."""
    asked = [command for command in app.registered_commands if [command.name] == arguments[:1]]
    if not asked:
        return app
    alone = copy.copy(app)
    alone.registered_commands, alone.registered_groups = asked, []
    return alone


def main() -> None:
    """Run the command line: a BadInput becomes its message on stderr and exit code 2, never a traceback.

    An output that is full is one too; one whose reader is gone (``| head -1``) ends with 1, in silence.
    """
    replace_what_cannot_be_written()
    keep_compiled()
    with all_written():
        try:
            _of(sys.argv[1:])()
        except BadInput as error:
            say(f"error: {error}")
            sys.exit(2)
        except OSError as error:  # whichever option names the path
            if error.errno != errno.ENAMETOOLONG:
                raise
            say(f"error: {str(error.filename)[:60]}...: {error.strerror}; expected a path; correct it")
            sys.exit(2)


if __name__ == "__main__":
    main()
