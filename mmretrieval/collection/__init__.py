"""Collections: videos made searchable, as checksummed files in a folder. The format is in ``indexes/README.md``."""

from __future__ import annotations

from mmretrieval.collection.collection import Added, Collection
from mmretrieval.collection.reembedding import LossError, Reembedded
from mmretrieval.collection.segments import Moment
from mmretrieval.collection.verify import verify_collection

__all__ = ["Added", "Collection", "LossError", "Moment", "Reembedded", "verify_collection"]
