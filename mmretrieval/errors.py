"""One family of exceptions. Each is also the standard type it specialises, so ``except ValueError`` still works.

Every message says what was got, what is allowed and what to do. The command line prints it as one line and exits
with code 2; anything that is not one of these is a bug and shows its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MMRetrievalError(Exception):
    """Something the user can mend."""

    def __str__(self) -> str:
        return self.args[0] if self.args else ""


class UnknownNameError(MMRetrievalError, LookupError):
    """A name that no registry, recipe or command knows."""


class RecipeError(MMRetrievalError, ValueError):
    """A recipe with a wrong key, type or value."""


class ManifestError(MMRetrievalError, ValueError):
    """A manifest that cannot be read, or that has nothing usable in it."""


class MediaError(MMRetrievalError, ValueError):
    """A video or audio file that is missing, damaged, empty or too short."""


class QueryError(MMRetrievalError, ValueError):
    """A query that cannot be answered: empty, silent, or of a modality the model does not have."""


class ModelError(MMRetrievalError, ValueError):
    """A saved model that cannot be loaded, or does not fit its use."""


class TrainingError(MMRetrievalError, ArithmeticError):
    """Training that has nowhere to go: its loss is no number any more."""


class CollectionError(MMRetrievalError, ValueError):
    """A collection that cannot be opened, or belongs to another model."""


class StorageError(MMRetrievalError, OSError):
    """The disk is full or refuses to be written; what was there before is untouched."""


class DependencyError(MMRetrievalError, ImportError):
    """An optional package is not installed; the message names the one command that installs it."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest known name, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""
