"""Releases of data sets to manifests: one file per source; ``import_source`` checks and writes what they yield."""

from mmretrieval.data.sources import (  # noqa: F401 (importing a source registers its name)
    activitynet,
    activitynet_captions,
    csv_file,
    fcvid,
    folder,
    frames,
    jester,
    kinetics,
    moments,
    msrvtt,
    places_audio,
    smit,
    something,
    ucf101,
    vatex,
)
from mmretrieval.data.sources.base import Finding, Note, Row, SetAside, sources
from mmretrieval.data.sources.importing import import_source
from mmretrieval.data.sources.report import ImportReport

__all__ = ["Finding", "ImportReport", "Note", "Row", "SetAside", "import_source", "sources"]
