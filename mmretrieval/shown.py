"""What is shown to a person: numbers of things, and names that may hold whatever their authors put there."""

from __future__ import annotations

import re

_UNSEEN = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # controls: a new line, or a command to the terminal
    "\u2028\u2029"  # separators of lines
    "\u202a-\u202e\u2066-\u2069"  # the direction of what follows
    "\ud800-\udfff"  # bytes that are no UTF-8
    "]"
)


def one_line(text: object) -> str:
    """Return a text on one line, with what a terminal would obey, or could not print, written as an escape."""
    return _UNSEEN.sub(lambda found: found.group().encode("unicode_escape").decode(), str(text))


def count(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
