"""What clients see of moments and of a collection: ids and names, never a path of this machine."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import numpy as np

from mmretrieval.search.answer import Answer
from mmretrieval.types import Hit as Found
from mmretrieval.web import schema
from mmretrieval.web.files.playing import Playing
from mmretrieval.web.names import SharedGallery
from mmretrieval.web.serving import Generation

MOST_FOLDERS = 1_000
"""Folders and tags that a client is told of; more than a person reads."""

_FOLDERS = re.compile(r"(?<![\w./])/(?:[^\s/:'\"]+/)+")


def show_answer(answer: Answer, generation: Generation, playing: Playing) -> schema.Page:
    """Return a page of hits for clients."""
    hits = [show_hit(hit, generation, playing) for hit in answer]
    notes = list(answer.notes)
    return schema.Page(matched=answer.matched, notes=notes, offset=answer.offset, more=answer.more, hits=hits)


def show_hit(hit: Found, generation: Generation, playing: Playing) -> schema.Hit:
    """Return a hit for clients."""
    row = generation.gallery.row_of(hit.id)
    span = {"start": hit.start, "end": hit.end, "moments": hit.moments, "copies": hit.copies}
    judged = {"rank": hit.rank, "score": hit.score, "confidence": hit.confidence, "matched": hit.matched}
    return schema.Hit(**{**_facts(row, generation, playing), **span, **judged})


def show_moment(row: int, generation: Generation, playing: Playing) -> schema.Moment:
    """Return a moment for clients, as if it were the whole of a span."""
    return schema.Moment(**_facts(row, generation, playing))


def _facts(row: int, generation: Generation, playing: Playing) -> dict[str, Any]:
    moment, gallery = generation.moment(row), generation.gallery
    video, whole = gallery.video_of(row), gallery.name_of(row)
    folder, _, name = whole.rpartition("/")
    address = quote(moment.id, safe="")
    return {
        "id": moment.id,
        "video": video,
        "name": name,
        "folder": folder,
        "start": moment.start,
        "end": moment.end,
        "best": (moment.start, moment.end),
        "moments": [moment.id],
        "copies": [],
        "tags": [str(label) for label in moment.metadata.get("labels") or ()],
        "duration": moment.metadata.get("duration"),
        "modified": moment.metadata.get("modified"),
        "playable": playing.plays(video, name),
        "thumbnail": f"/thumbnails/{address}.jpg",
        "media": f"/media/{video}",
        "clip": f"/clips/{address}.mp4",
    }


def show_collection(generation: Generation, limits: schema.Limits) -> schema.CollectionFacts:
    """Return what is searched, for clients."""
    manifest, gallery = generation.collection.manifest, generation.gallery
    known = gallery.modified[np.isfinite(gallery.modified)]
    lengths = gallery.durations[np.isfinite(gallery.durations)]
    folders = [schema.Folder(id=name, name=name) for name in gallery.folders[:MOST_FOLDERS]]
    return schema.CollectionFacts(
        name=generation.collection.folder.resolve().name,
        videos=manifest.counts["videos"],
        moments=manifest.counts["moments"],
        generation=manifest.generation,
        changed=manifest.changed,
        model=manifest.model["fingerprint"][:8],
        modalities=list(generation.searcher.model.modalities),
        index=schema.Index(kind=manifest.index["kind"], dim=manifest.dim, metric=manifest.metric),
        tags=list(gallery.tags)[:MOST_FOLDERS],
        folders=folders,
        earliest=_day(known.min()) if len(known) else None,
        latest=_day(known.max()) if len(known) else None,
        longest=float(lengths.max()) if len(lengths) else None,
        set_aside=len(manifest.quarantined),
        limits=limits,
    )


def show_set_aside(record: dict[str, Any], gallery: SharedGallery) -> schema.SetAside:
    """Return what could not be used, for clients."""
    folder, _, name = gallery.roots.name(record["path"]).rpartition("/")
    reason = record["reason"].replace(f"{record['path']}: ", "").replace(record["path"], name)
    reason = _FOLDERS.sub("", gallery.roots.without_folders(reason))
    times = {key: record.get(key) for key in ("start", "end")}
    return schema.SetAside(name=name, folder=folder, reason=reason, when=record.get("time"), **times)


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(float(seconds), UTC).date().isoformat()
