"""What a search returns: hits, whether they are any good, and what else there is to say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

from mmretrieval.types import Hit

NO_MATCH = "no good match"


@dataclass(frozen=True)
class Answer(Sequence[Hit]):
    """The hits of one page, best first; to be used like a list of them.

    Attributes:
        hits: The hits.
        matched: Whether the best hit of all pages is probably right; if not, this is "no good match", and the hits are
            the nearest there is.
        notes: What the person who asked should know, a line each: why nothing was found, what was not heard.
        offset: How many hits come before this page.
        more: Whether there are hits after this page.
    """

    hits: tuple[Hit, ...]
    matched: bool
    notes: tuple[str, ...] = ()
    offset: int = 0
    more: bool = False

    def __len__(self) -> int:
        return len(self.hits)

    @overload
    def __getitem__(self, place: int) -> Hit: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[Hit, ...]: ...

    def __getitem__(self, place):
        return self.hits[place]

    def to_json(self) -> dict[str, Any]:
        """Return plain values: ``{matched, notes, offset, more, hits}``."""
        return {
            "matched": self.matched,
            "notes": list(self.notes),
            "offset": self.offset,
            "more": self.more,
            "hits": hits_to_json(self),
        }


def hits_to_json(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    """Return hits as plain values: a list of ``{rank, score, id, path, start, end, …}``, the fields of ``Hit``."""
    return [{name: _plain(value) for name, value in hit._asdict().items()} for hit in hits]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
