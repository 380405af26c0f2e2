"""Collections in and out: the ``.npy`` and Parquet shards that other tools read and write, and a table of moments."""

from __future__ import annotations

from mmretrieval.collection.exchange.export import export_collection
from mmretrieval.collection.exchange.importing import import_collection
from mmretrieval.collection.exchange.listing import list_moments

__all__ = ["export_collection", "import_collection", "list_moments"]
