"""Search: a typed caption, a spoken one or an example clip in, moments of videos out."""

from __future__ import annotations

from mmretrieval.search.searcher import Searcher, hits_to_json

__all__ = ["Searcher", "hits_to_json"]
