"""The preprocessing that belongs to a model's weights: files and captions to the tensors it was trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmretrieval.data.manifest import Sample
from mmretrieval.errors import ManifestError, MediaError, ModelError
from mmretrieval.media.audio import front_end, heard_length, read_audio
from mmretrieval.media.files import check_span
from mmretrieval.media.sampling import Sampling, dense_indices, span_indices, uniform_indices
from mmretrieval.media.tokens import Tokenizer, tokenizer_from_json
from mmretrieval.media.transforms import Augmentation, fit
from mmretrieval.media.video import open_video
from mmretrieval.media.views import Views, cut_views, shorter_side
from mmretrieval.types import MODALITIES, Batch, ClipSpec, Padded, SpeechSpec, TextSpec

MUCH_LARGER = 4
"""Frames whose shorter side is this many times the clip's are shrunk to it while they are decoded."""


class Processor:
    """Turns what a person has into what a model takes, the same way in training, in collections and in queries.

    Everything random comes from the ``rng`` that is passed in; without one, the answer is that of evaluation.

    Args:
        clip: How clips are cut and sized; None for a model without video.
        speech: What recordings are turned into; None for a model without speech.
        text: How captions are cut; None for a model without text.
        tokenizer: The sub-word vocabulary; needed with ``text``.

    Raises:
        ModelError: ``text`` without ``tokenizer``.
    """

    def __init__(
        self,
        clip: ClipSpec | None = None,
        speech: SpeechSpec | None = None,
        text: TextSpec | None = None,
        tokenizer: Tokenizer | None = None,
    ):
        if text is not None and tokenizer is None:
            raise ModelError("a model with text needs its sub-word vocabulary")
        self.clip_spec = clip
        self.speech_spec = speech
        self.text_spec = text
        self.tokenizer = tokenizer
        self.augmentation = Augmentation()

    def augmented(self, augmentation: Augmentation) -> Processor:
        """Return one that cuts training clips so. It is not part of what is saved: evaluation does not depend on it."""
        other = Processor(self.clip_spec, self.speech_spec, self.text_spec, self.tokenizer)
        other.augmentation = augmentation
        return other

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities this model has, in canonical order."""
        specs = zip(MODALITIES, (self.clip_spec, self.speech_spec, self.text_spec))
        return tuple(name for name, spec in specs if spec is not None)

    def video(
        self,
        path: str | Path,
        start: float | None = None,
        end: float | None = None,
        rng: np.random.Generator | None = None,
        backend: str = "pyav",
    ) -> Tensor:
        """Read a clip: a whole video, or the span from ``start`` to ``end`` seconds.

        Args:
            path: The video file.
            start: First second; None is the beginning.
            end: Last second; None is the end.
            rng: Draws frames and crop in training.
            backend: The reader: ``"pyav"`` is careful, ``"decord"`` is for training.

        Returns:
            (T, C, H, W) uint8.

        Raises:
            MediaError: The file is missing or damaged, or the span lies outside of it.
        """
        spec = self._need(self.clip_spec, "video")
        with open_video(path, backend) as reader:
            check_span(path, "video", start, end, reader.duration)
            span = span_indices(reader.times, start, end)
            chosen = span[self.choose_frames(len(span), reader.fps, rng)]
            return self.fit(reader.read(chosen, at_most=MUCH_LARGER * spec.size), rng)

    def views(
        self,
        path: str | Path,
        views: Views,
        start: float | None = None,
        end: float | None = None,
        backend: str = "pyav",
    ) -> Tensor:
        """Read several views of a video, or of a span of it, for evaluation; one view is what ``video`` reads.

        Returns:
            (V, T, C, H, W) uint8.

        Raises:
            MediaError: As ``video``.
            ModelError: Several crops for a model that sees whole frames as squares.
        """
        spec = self._need(self.clip_spec, "video")
        if views.crops > 1 and spec.resize == "squash":
            raise ModelError(f"this model squashes whole frames, which leaves one crop; {views.crops} were asked for")
        # many views are many frames in memory
        at_most = (MUCH_LARGER * spec.size) if views.count == 1 else 2 * shorter_side(spec.size, spec.crop)
        with open_video(path, backend) as reader:
            check_span(path, "video", start, end, reader.duration)
            span = span_indices(reader.times, start, end)
            chosen = span[self.choose_clips(len(span), reader.fps, views.clips)]
            frames = reader.read(chosen.ravel(), at_most)
        if views.crops == 1:
            return self.fit(frames).unflatten(0, chosen.shape)
        clips = frames.reshape(*chosen.shape, *frames.shape[1:])
        return cut_views(clips, spec.size, views.crops, spec.crop, spec.resample)

    def fit(self, frames: np.ndarray, rng: np.random.Generator | None = None) -> Tensor:
        """Bring decoded frames (T, H, W, 3) to the squares (T, C, size, size) that the model sees."""
        spec = self._need(self.clip_spec, "video")
        if rng is not None:
            return self.augmentation(frames, spec, rng)
        return fit(frames, spec.size, share=spec.crop, squash=spec.resize == "squash", resample=spec.resample)

    def choose_frames(self, total: int, fps: float, rng: np.random.Generator | None = None) -> np.ndarray:
        """Choose the (T,) frames of a clip of ``total`` frames at ``fps`` that the model looks at."""
        spec = self._need(self.clip_spec, "video")
        if spec.sampling is not None:
            sampling = self.sampling(fps)
            return sampling.evaluate(total)[0] if rng is None else sampling.train(total, rng)
        if spec.fps is None:
            return uniform_indices(total, spec.frames, rng)
        return dense_indices(total, spec.frames, fps / spec.fps, rng)

    def choose_clips(self, total: int, fps: float, clips: int) -> np.ndarray:
        """Choose the (C, T) frames of ``clips`` excerpts to evaluate on.

        Several are spread as published, whatever a single one is: see ``uniform_clips`` and ``dense_clips``.
        """
        return self.choose_frames(total, fps)[None] if clips == 1 else self.sampling(fps, clips).evaluate(total)

    def sampling(self, fps: float, clips: int = 1) -> Sampling:
        """Say which frames of videos at ``fps`` the model looks at, in ``clips`` excerpts."""
        spec = self._need(self.clip_spec, "video")
        if spec.sampling is not None:
            return Sampling(spec.sampling, spec.frames, spec.stride, spec.per_group, clips)
        if spec.fps is None:
            return Sampling("uniform", spec.frames, clips=clips)
        return Sampling("dense", spec.frames, fps / spec.fps, clips=clips)

    def describe(self, views: Views, total: int = 300, fps: float = 30.0) -> str:
        """Say in one line which of the ``total`` frames of a video at ``fps`` are looked at in evaluation."""
        chosen = self.choose_clips(total, fps, views.clips)
        return self.sampling(fps, views.clips).describe(total, chosen)

    def speech(
        self,
        source: str | Path | np.ndarray,
        start: float | None = None,
        end: float | None = None,
        rng: np.random.Generator | None = None,
    ) -> Tensor:
        """Turn a recording into what the model hears, at most ``max_seconds`` of it, in training ``crop_seconds``.

        Args:
            source: A file, or mono samples (n,) at the model's sample rate.
            start: First second; None is the beginning.
            end: Last second; None is the end.
            rng: Draws which part of a longer recording is heard; None hears its beginning.

        Returns:
            (T, M) float32 decibels, or what another front end makes: (n,) samples, (T, M) of Whisper's log-mel.

        Raises:
            MediaError: The recording is missing, damaged, empty or silent, or the span lies outside of it.
        """
        spec = self._need(self.speech_spec, "speech")
        longest = round(_seconds_heard(spec, rng) * spec.sample_rate)
        if isinstance(source, np.ndarray):
            first = round((start or 0.0) * spec.sample_rate)
            waveform = source[first : None if end is None else round(end * spec.sample_rate)]
            return front_end(_cut(waveform, longest, rng), spec)
        waveform = read_audio(source, spec.sample_rate, start, end)
        try:
            return front_end(_cut(waveform, longest, rng), spec)
        except MediaError as error:
            raise MediaError(f"{source}: {error}") from None

    def crop(self, heard: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """Cut what ``speech`` made beforehand, (T, M) or (n,), as it cuts a recording.

        Levels stay relative to those of the longer recording.
        """
        spec = self._need(self.speech_spec, "speech")
        return _cut(heard, heard_length(spec, _seconds_heard(spec, rng)), rng)

    def text(self, caption: str) -> Tensor:
        """Turn a caption into (L,) long token ids, at most ``max_tokens`` of them.

        Raises:
            QueryError: The caption is empty, or holds no word this model knows.
        """
        spec = self._need(self.text_spec, "text")
        self.tokenizer.check(caption)
        return torch.tensor(self.tokenizer.encode(caption)[: spec.max_tokens], dtype=torch.long)

    def sample(
        self,
        sample: Sample,
        modalities: Sequence[str] | None = None,
        rng: np.random.Generator | None = None,
        backend: str = "pyav",
    ) -> dict[str, Tensor]:
        """Read one sample of a manifest: a tensor per modality asked for (default: all the model has).

        ``start`` and ``end`` cut the video, and the speech if it is that video's own sound track.

        Raises:
            ManifestError: The sample lacks a modality that was asked for.
            MediaError: One of its files cannot be used.
            QueryError: Its caption has no word this model knows.
        """
        parts = {}
        for name in self.modalities if modalities is None else modalities:
            value = getattr(sample, name)
            if value is None:
                raise ManifestError(f"the sample '{sample.id}' has no {name}")
            if name == "video":
                parts[name] = self.video(value, sample.start, sample.end, rng, backend)
            elif name == "speech":
                span = (sample.start, sample.end) if sample.speech == sample.video else (None, None)
                parts[name] = self.speech(value, *span, rng)
            else:
                parts[name] = self.text(value)
        return parts

    def collate(self, ids: Sequence[str], samples: Sequence[dict[str, Tensor]]) -> Batch:
        """Pad samples of the same modalities to one batch: speech with silence, text with the padding token."""
        fills = {"video": 0, "speech": self.speech_spec.fill if self.speech_spec else 0.0, "text": 0}
        names = [name for name in MODALITIES if name in samples[0]]
        inputs = {name: pad([sample[name] for sample in samples], fills[name]) for name in names}
        return Batch(list(ids), inputs)

    def to_config(self) -> dict[str, Any]:
        """Return everything but the vocabulary, ready for JSON."""
        specs = {"clip": self.clip_spec, "speech": self.speech_spec, "text": self.text_spec}
        config = {name: dataclasses.asdict(spec) for name, spec in specs.items() if spec is not None}
        if self.clip_spec is not None and self.clip_spec.sampling is None:
            # as before there was a choice: features are kept by this description of how clips are read
            for key in ("sampling", "stride", "per_group"):
                del config["clip"][key]
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], tokenizer_json: str | None = None) -> Processor:
        """Rebuild a processor from ``to_config`` and ``Tokenizer.to_json``.

        Raises:
            ModelError: A key or value that this version does not know, or a vocabulary that is missing.
        """
        kinds = {"clip": ClipSpec, "speech": SpeechSpec, "text": TextSpec}
        if unknown := [name for name in config if name not in kinds]:
            raise ModelError(f"the preprocessing cannot be rebuilt: unknown section '{unknown[0]}'")
        try:
            specs = {name: kinds[name](**_tuples(values)) for name, values in config.items()}
        except TypeError as error:
            raise ModelError(f"the preprocessing cannot be rebuilt: {error}") from None
        vocabulary = specs["text"].vocabulary if "text" in specs else "own"
        tokenizer = None if tokenizer_json is None else tokenizer_from_json(tokenizer_json, vocabulary)
        return cls(**specs, tokenizer=tokenizer)

    @staticmethod
    def _need(spec: Any, modality: str) -> Any:
        if spec is None:
            raise ModelError(f"this model has no {modality}")
        return spec


def pad(sequences: Sequence[Tensor], fill: float) -> Padded:
    """Stack sequences (N, …) of different length to (B, N, …), the ends filled with ``fill`` and masked."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    if bool(mask.all()):
        return Padded(torch.stack(list(sequences)), mask)
    return Padded(torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True, padding_value=fill), mask)


def _seconds_heard(spec: SpeechSpec, rng: np.random.Generator | None) -> float:
    """Return how much of a long recording is heard: less in training, if the spec says so."""
    return spec.max_seconds if rng is None or spec.crop_seconds is None else spec.crop_seconds


def _cut(sequence: np.ndarray, longest: int, rng: np.random.Generator | None) -> np.ndarray:
    room = len(sequence) - longest
    if room <= 0:
        return sequence
    first = 0 if rng is None else int(rng.integers(room + 1))
    return sequence[first : first + longest]


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
