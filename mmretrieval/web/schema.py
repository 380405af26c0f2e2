"""What goes in and what comes out, as types: the source of ``/openapi.json``."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

MOST_HITS = 100
FARTHEST = 10_000
LONGEST_TEXT = 1_000
LONGEST_NAME = 500

Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
Name = Annotated[str, Field(max_length=LONGEST_NAME)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class SearchParameters(BaseModel):
    """What is asked, and what kind of answer is wanted."""

    model_config = ConfigDict(extra="forbid")

    text: Text | None = Field(None, description="A typed caption.")
    like: Name | None = Field(None, description="The id of a moment: others like it are wanted.")
    without: Text | None = Field(None, description="A typed caption of what is not wanted.")
    weight: list[Name] = Field(
        [],
        max_length=5,
        description="How much a query counts beside others, as `text:0.5`; queries are text, speech, video, like and "
        "without. They count 1, without −0.5.",
    )
    k: int = Field(10, ge=1, le=MOST_HITS, description="How many hits.")
    offset: int = Field(0, ge=0, le=FARTHEST, description="How many hits to pass over: page 3 of 10 has offset 20.")
    folder: Name | None = Field(None, description="Only files in this folder or below it; an id of `/api/collection`.")
    path: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="Only files whose name, or path below the collection's folder, is like `*.mov` or `2026-*/*`."
    )
    after: Name | None = Field(None, description="Only files changed on this day or later, as 2026-01-31.")
    before: Name | None = Field(None, description="Only files changed before this day.")
    min_seconds: Seconds | None = Field(None, description="Only videos that last at least so long.")
    max_seconds: Seconds | None = Field(None, description="Only videos that last at most so long.")
    tag: list[Name] = Field([], max_length=20, description="Only videos with this label; several: all of them.")
    merge: bool = Field(True, description="Neighbouring moments of a video become one hit.")
    fold: bool = Field(True, description="Near-duplicates become one hit.")
    min_score: Annotated[float, Field(allow_inf_nan=False)] | None = Field(
        None, description="Leave out hits with a lower score."
    )

    @field_validator("weight")
    @classmethod
    def _check_weights(cls, weights: list[str]) -> list[str]:
        for given in weights:
            name, _, number = given.partition(":")
            try:
                sound = bool(name) and math.isfinite(float(number)) and abs(float(number)) <= 1000
            except ValueError:
                sound = False
            if not sound:
                raise ValueError("a weight is written like text:0.5, with a number between -1000 and 1000")
        return weights

    def weights(self) -> dict[str, float]:
        """Return the weights by query."""
        pairs = (given.partition(":") for given in self.weight)
        return {name.strip(): float(number) for name, _, number in pairs}


class UploadParameters(SearchParameters):
    """The same, beside a recording or a clip in the body."""

    kind: Literal["speech", "video"] = Field(
        alias="as", description="What the body is: a spoken caption, or an example clip."
    )


class Moment(BaseModel):
    """A span of a video; times in seconds."""

    id: str = Field(description="Of the best moment in the span.")
    video: str = Field(description="The file, by an id that is made of its content.")
    name: str = Field(description="Of the file.")
    folder: str = Field(description="Where the file lies, below the collection's folder; empty for that folder itself.")
    start: float
    end: float
    best: tuple[float, float] = Field(description="The span of the best moment.")
    moments: list[str] = Field(description="Ids of all moments that the span was made of.")
    copies: list[str] = Field(description="Ids of near-duplicates that this stands for.")
    tags: list[str]
    duration: float | None = Field(description="Length of the video.")
    modified: str | None = Field(description="When the file was changed last, ISO 8601.")
    playable: bool = Field(description="Whether browsers play `media`; `clip` is played by all of them.")
    thumbnail: str = Field(description="Address of a picture from the middle of the best moment (JPEG).")
    media: str = Field(description="Address of the file; it takes range requests.")
    clip: str = Field(description="Address of the best moment alone, as MP4 that every browser plays.")


class Hit(Moment):
    """One answer."""

    rank: int
    score: float
    confidence: float | None = Field(description="How probable it is that an answer with this score is right, 0–1.")
    matched: bool | None = Field(description="Whether that is enough.")


class Page(BaseModel):
    """The hits of one page, best first."""

    matched: bool = Field(description="Whether the best of all hits is probably right; if not: no good match.")
    notes: list[str] = Field(description="What the person who asked should know, a line each.")
    offset: int
    more: bool = Field(description="Whether there are hits after this page.")
    hits: list[Hit]


class Folder(BaseModel):
    """A folder with videos in it or below it."""

    id: str
    name: str


class Limits(BaseModel):
    """What an upload may be."""

    upload_bytes: int
    seconds: float


class Index(BaseModel):
    """How the collection is searched."""

    kind: str
    dim: int
    metric: str


class CollectionFacts(BaseModel):
    """What is searched."""

    name: str
    videos: int
    moments: int
    generation: int
    changed: str
    model: str = Field(description="The first letters of the model's fingerprint.")
    modalities: list[str] = Field(description="What can be asked with: video, speech, text.")
    index: Index
    tags: list[str]
    folders: list[Folder]
    earliest: str | None = Field(description="The day on which the oldest file was changed last.")
    latest: str | None = Field(description="The day on which the newest file was changed last.")
    longest: float | None = Field(description="Length of the longest video in seconds.")
    set_aside: int = Field(description="How much could not be used; `/api/set-aside` lists it.")
    limits: Limits


class SetAside(BaseModel):
    """Something that could not be used, and why; with times if it was only a part of the file."""

    name: str
    folder: str
    reason: str
    when: str | None
    start: float | None
    end: float | None


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = Field(description="What is wrong and what to do, in one line.")
