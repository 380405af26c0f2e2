"""Search video by what people say.

Train retrieval models in which video, spoken captions and typed captions share a vector-quantised codebook, build a
search index over a collection of videos, and query it by voice or keyboard::

    import mmretrieval as mm

    model = mm.RetrievalModel.from_pretrained("runs/demo/model")
    collection = mm.Collection.open("indexes/demo")
    hits = mm.Searcher(model, collection).search(text="a dog jumps over a red ball", k=10)

Names are imported when they are first used: ``import mmretrieval`` itself loads nothing heavy.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("mmretrieval")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"

_HOMES = {
    "Collection": "mmretrieval.collection",
    "Recognizer": "mmretrieval.recognizer",
    "RetrievalModel": "mmretrieval.model",
    "Searcher": "mmretrieval.search.searcher",
    "create_backbone": "mmretrieval.backbones",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'mmretrieval' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
