"""What ``--help`` teaches: its examples are whole lines, and the command line takes them."""

import inspect
import shlex

import pytest
import typer

from mmretrieval.cli.main import app
from mmretrieval.cli.verbs import help_of


def commands(group, *names):
    """All commands below a group, each with its words."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *names, name)
        else:
            yield (*names, name), command


ROOT = typer.main.get_command(app)
COMMANDS = dict(commands(ROOT))
EXAMPLES = [
    (words, line.removeprefix("Example: ").strip())
    for words, command in COMMANDS.items()
    for line in inspect.getdoc(command.callback).replace("\\\n", " ").splitlines()
    if line.removeprefix("Example: ").lstrip().startswith("mmretrieval ")
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_lines_of_examples_are_whole(run, words):
    code, out, _ = run(*words, "--help")
    shown = {line.strip() for line in out.splitlines()}
    kept = [line.strip() for line in inspect.getdoc(COMMANDS[words].callback).splitlines() if "mmretrieval " in line]
    assert code == 0 and out.startswith(f"Usage: mmretrieval {' '.join(words)} ")
    assert {line for line in kept if line.removeprefix("Example: ").startswith("mmretrieval ")} <= shown


@pytest.mark.parametrize(("words", "line"), EXAMPLES, ids=[line for _, line in EXAMPLES])
def test_examples_are_what_the_command_line_takes(words, line):
    _, *given = shlex.split(line.partition(" > ")[0])
    command, name = ROOT, "mmretrieval"
    while hasattr(command, "commands"):
        name, *given = given
        command = command.commands[name]
    command.make_context(name, given)


def test_every_command_has_an_example():
    assert set(COMMANDS) == {words for words, _ in EXAMPLES}


def test_paragraphs_are_filled_and_lists_are_kept():
    def verb():
        """Do it.

        Words that
        are filled.

          a    table
          b    kept

        Examples:
          one
          two
        """

    assert help_of(verb) == (
        "Do it.\n\nWords that\nare filled.\n\n\b\n  a    table\n  b    kept\n\n\b\nExamples:\n  one\n  two"
    )
