"""The ``mmretrieval`` command.

Whatever the user can mend ends as one line on stderr and exit code 2; a bug shows its traceback. Verbs import what
they need when they run, so that ``--help`` answers at once.
"""

from __future__ import annotations

import sys

import typer

from mmretrieval.allocator import keep_freed_memory
from mmretrieval.cli.adopt import adopt, transcribe
from mmretrieval.cli.ask import search
from mmretrieval.cli.codes import codes
from mmretrieval.cli.cross import evaluate_cross
from mmretrieval.cli.demo import demo
from mmretrieval.cli.importing import import_
from mmretrieval.cli.index import index
from mmretrieval.cli.learn import evaluate, train
from mmretrieval.cli.localize import localize
from mmretrieval.cli.machine import doctor, models
from mmretrieval.cli.recognize import recognize
from mmretrieval.cli.reembed import reembed as _  # noqa: F401  a verb of index
from mmretrieval.cli.serve import serve
from mmretrieval.cli.study import study
from mmretrieval.cli.verbs import Verbs
from mmretrieval.cli.world import toyworld
from mmretrieval.errors import MMRetrievalError
from mmretrieval.shown import one_line

app = Verbs(
    name="mmretrieval",
    help="Search video by what people say: train a model, index a collection, ask it by voice or keyboard.\n\n"
    "New here? 'mmretrieval demo' does all of it on a little narrated world and tells you what to type next.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
for verb in (
    demo,
    toyworld,
    train,
    evaluate,
    evaluate_cross,
    study,
    codes,
    search,
    serve,
    localize,
    recognize,
    models,
    doctor,
):
    app.command()(verb)
for verb in (adopt, transcribe):
    app.command()(verb)
app.command("import")(import_)
app.add_typer(index, name="index")


@app.callback(invoke_without_command=True)
def _options(version: bool = typer.Option(False, "--version", help="Show the version and exit.")) -> None:
    if version:
        from mmretrieval import __version__

        typer.echo(f"mmretrieval {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line and turn known errors into one line and exit code 2."""
    keep_freed_memory()
    try:
        app()
    except MMRetrievalError as error:
        sys.exit(_complain(error))
    except SystemExit as end:
        # typer turns Ctrl-C into exit code 130 and drops what it says: where things stand and how to go on
        interrupt = end.__context__ and end.__context__.__cause__
        if isinstance(interrupt, KeyboardInterrupt):
            print(f"mmretrieval: {str(interrupt) or 'interrupted'}", file=sys.stderr)
        raise


def _complain(error: MMRetrievalError) -> int:
    print(f"mmretrieval: {one_line(error)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
