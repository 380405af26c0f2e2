"""The few types that travel between the rooms of the package.

Letters: B batch, T frames, C channels, H height, W width, N positions, D width, K codes, L tokens, M mels.
A mask is always boolean and always means the same: True = real, False = padding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor

MODALITIES = ("video", "speech", "text")
"""The modality keys in their canonical order; pairs of modalities are always named in this order."""


class Padded(NamedTuple):
    """Variable-length sequences padded to one length.

    ``values`` is (B, N, …): frames (B, T, C, H, W) uint8, log-mel (B, T, M) float, token ids (B, L) long.
    ``mask`` is (B, N) bool, True = real.
    """

    values: Tensor
    mask: Tensor


class Features(NamedTuple):
    """Fine-grained output of a backbone or an encoder.

    ``values`` (B, N, D); ``mask`` (B, N) bool, an output because adaptive networks drop positions; ``grid`` says how
    N unfolds, e.g. (T, H, W) for video and (T,) for speech; ``costs`` are named scalars that an adaptive network
    reports and is trained on.
    """

    values: Tensor
    mask: Tensor
    grid: tuple[int, ...]
    costs: Mapping[str, Tensor] = {}


class Batch(NamedTuple):
    """What a loader hands to a task: sample ids and any of the three modalities, keyed by its name.

    A modality whose encoder is frozen may come as the ``Features`` that this encoder would make, computed beforehand.
    """

    ids: list[str]
    inputs: dict[str, Padded | Features]


class Quantized(NamedTuple):
    """What a codebook makes of features.

    ``features`` are the nearest codes with a straight-through gradient; ``codes`` (B, N) long, −1 where padded;
    ``distribution`` (B, K) is the mean soft assignment over real positions; ``commitment`` is a scalar.
    """

    features: Features
    codes: Tensor
    distribution: Tensor
    commitment: Tensor


class Encoding(NamedTuple):
    """One modality of a batch, encoded: ``embedding`` (B, D) is what is compared and indexed."""

    embedding: Tensor
    features: Features
    quantized: Quantized | None


class Hit(NamedTuple):
    """One answer of a search: a span of a video, in seconds, and how well it matches.

    ``score`` and ``id`` are those of the best moment in the span; ``best`` is that moment's own span. ``confidence``
    (0–1) says how probable it is that an answer with this score is right, ``matched`` whether that is enough.
    ``moments`` are the ids of all moments that the span was made of, ``copies`` of near-duplicates it stands for.
    """

    rank: int
    score: float
    id: str
    path: str
    start: float
    end: float
    confidence: float | None = None
    matched: bool | None = None
    best: tuple[float, float] | None = None
    moments: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClipSpec:
    """What the weights of a video backbone expect of a clip.

    Attributes:
        frames: Frames per clip.
        size: Height and width in pixels.
        fps: Frames per second at which a clip is cut; None spreads the frames over the whole clip.
        mean: Per-channel mean of pixels scaled to 0–1.
        std: Per-channel standard deviation of pixels scaled to 0–1.
        resize: How a frame becomes a square: ``crop`` cuts out its middle, ``squash`` brings all of it to a square.
        crop: Share of the largest square's side that is cut out in evaluation.
        resample: ``bilinear`` or ``bicubic``, both with antialiasing.
        sampling: Which frames are looked at as recognition papers do it, ``uniform`` or ``dense``; see
            ``media.sampling.Sampling``. None as ``fps`` says.
        stride: Of dense sampling: distance between frames.
        per_group: Of uniform sampling: frames drawn from each segment in training.
    """

    frames: int = 8
    size: int = 224
    fps: float | None = None
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    resize: str = "crop"
    crop: float = 1.0
    resample: str = "bilinear"
    sampling: str | None = None
    stride: int = 1
    per_group: int = 1


@dataclass(frozen=True)
class SpeechSpec:
    """The front end: what mono audio is turned into before the network sees it.

    ``log_mel`` is that of the ResDAVEnet family, (T, M) decibels below the loudest bin of the utterance: by default 40
    mel bands from 20 Hz, Hamming windows of 25 ms every 10 ms, pre-emphasis 0.97, 80 dB of range. ``waveform`` is the
    samples themselves, (n,). ``whisper`` is Whisper's own log-mel, (T, M), without the silence it pads with.

    Attributes:
        frontend: ``log_mel``, ``waveform`` or ``whisper``; what follows is about the first unless it says otherwise.
        sample_rate: Samples per second, of every front end.
        mels: Mel bands, M; also Whisper's.
        window_ms: Window length in milliseconds.
        hop_ms: Hop in milliseconds.
        fmin: Lowest frequency in Hz.
        preemphasis: Coefficient of the first-order high-pass; 0 turns it off.
        floor_db: Lowest value; padding is filled with it.
        max_seconds: Longer audio is cut, at random in training and at the start otherwise; every front end.
        crop_seconds: In training longer audio is cut to so much, at random; None cuts it to ``max_seconds``.
        normalize: Of the waveform: bring it to mean 0 and variance 1.
    """

    sample_rate: int = 16_000
    mels: int = 40
    window_ms: float = 25.0
    hop_ms: float = 10.0
    fmin: float = 20.0
    preemphasis: float = 0.97
    floor_db: float = -80.0
    max_seconds: float = 20.0
    crop_seconds: float | None = None
    frontend: str = "log_mel"
    normalize: bool = False

    @property
    def fill(self) -> float:
        """What stands for silence behind a recording that is padded."""
        return self.floor_db if self.frontend == "log_mel" else 0.0


@dataclass(frozen=True)
class TextSpec:
    """What a text encoder expects: at most ``max_tokens`` sub-word tokens; the rest of a caption is cut.

    ``vocabulary`` is ``own``, learned from the training captions, or ``pretrained``, come with a language model.
    """

    max_tokens: int = 64
    vocabulary: str = "own"


class Backbone(Protocol):
    """Pixels to features: ``Padded`` float frames (B, T, C, H, W), normalised by ``spec``, to ``Features``."""

    feature_dim: int
    spec: ClipSpec

    def __call__(self, frames: Padded) -> Features: ...


class Encoder(Protocol):
    """One modality to features."""

    modality: str
    feature_dim: int

    def __call__(self, inputs: Padded) -> Features: ...


class Pooler(Protocol):
    """Features to one vector per item, (B, D). No signature without the mask exists."""

    def __call__(self, features: Features) -> Tensor: ...


class Codebook(Protocol):
    """Features to the nearest of ``size`` vectors of width ``dim``."""

    size: int
    dim: int

    def __call__(self, features: Features) -> Quantized: ...


class Objective(Protocol):
    """Encodings to named scalar losses, one per pair of modalities present.

    ``same`` is an optional (B, B) bool mask of pairs that describe one thing and so are no negatives.
    """

    def __call__(self, encodings: Mapping[str, Encoding], same: Tensor | None = None) -> dict[str, Tensor]: ...


class Task(Protocol):
    """What the training loop trains.

    Around ``losses`` of a batch (total and named parts) the loop calls ``before_step`` (step, steps in all) and
    ``after_step``. ``evaluate`` returns at least ``score`` (higher is better: it chooses the model that is kept) and
    ``summary``, the scalars worth showing.
    """

    def before_step(self, step: int, total: int) -> None: ...

    def after_step(self) -> None: ...

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]: ...

    def evaluate(self) -> dict: ...
