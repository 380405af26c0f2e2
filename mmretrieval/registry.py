"""Things by name: registered by a decorator, imported explicitly, never overwritten."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from mmretrieval.errors import UnknownNameError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """A table from names to the functions or classes that build one kind of thing.

    Args:
        kind: What an entry is, in the words of an error message: "backbone", "objective".
        listing: Where a person finds all names, as the closing part of that message: ``'mmretrieval models' lists``.
    """

    def __init__(self, kind: str, listing: str | None = None):
        self.kind = kind
        self.listing = listing
        self._entries: dict[str, T] = {}

    def register(self, name: str | None = None) -> Callable[[T], T]:
        """Decorate a builder; its own name is the entry's name unless one is given. A duplicate raises."""

        def decorate(builder: T) -> T:
            key = name or builder.__name__
            if key in self._entries:
                raise ValueError(f"{self.kind} '{key}' is registered twice: {self._entries[key]} and {builder}")
            self._entries[key] = builder
            return builder

        return decorate

    def get(self, name: str) -> T:
        """Return the builder registered under ``name``.

        Raises:
            UnknownNameError: No such name; the message offers the nearest one and says where all are listed.
        """
        if name not in self._entries:
            where = f"{self.listing} all {len(self)}." if self.listing else f"Known: {', '.join(self.names())}."
            raise UnknownNameError(f"unknown {self.kind} '{name}'.{did_you_mean(name, self._entries)} {where}")
        return self._entries[name]

    def names(self) -> list[str]:
        """Return all names, sorted."""
        return sorted(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)
