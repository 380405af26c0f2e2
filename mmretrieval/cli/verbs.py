"""Commands whose help keeps its examples and tables as they are: an example is a line to be copied."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import typer

_KEEP = "\b\n"
"""Before a paragraph, it keeps click from filling its lines."""


class Verbs(typer.Typer):
    """A set of commands, documented by their docstrings."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Callable], Callable]:
        """Return a decorator that makes a function a command."""

        def register(verb: Callable) -> Callable:
            return super(Verbs, self).command(name, help=help_of(verb), **options)(verb)

        return register


def help_of(verb: Callable) -> str:
    """Return a docstring as help, with the lines of examples, and of what is indented, kept."""
    paragraphs = re.split(r"\n\s*\n", inspect.getdoc(verb) or "")
    return "\n\n".join(_KEEP + part if part.startswith(("Example", "  ")) else part for part in paragraphs)
