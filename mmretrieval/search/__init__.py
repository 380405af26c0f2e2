"""Search: a typed caption, a spoken one or an example clip in, moments of videos out."""

from __future__ import annotations

from mmretrieval.search.answer import Answer, hits_to_json
from mmretrieval.search.filters import Filter
from mmretrieval.search.request import Request
from mmretrieval.search.searcher import Searcher

__all__ = ["Answer", "Filter", "Request", "Searcher", "hits_to_json"]
