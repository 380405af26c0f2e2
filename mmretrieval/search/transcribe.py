"""Speech by transcript: Whisper writes down what was said, and that is searched for as if it had been typed.

The baseline next to direct speech: it knows far more words than a model trained on some thousand captions, and loses
whatever it mishears.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mmretrieval.data.manifest import Sample
from mmretrieval.encoders.pretrained.source import ask, quietly, read_architecture
from mmretrieval.errors import MediaError, ModelError
from mmretrieval.media.audio import audible, read_audio

if TYPE_CHECKING:
    from torch import Tensor

SAMPLE_RATE = 16_000


class Transcriber:
    """Whisper, by hub name or folder.

    Args:
        source: For example ``openai/whisper-base``, or a folder that ``save_pretrained`` of transformers wrote.
        language: What is spoken, e.g. ``en``; None lets the model find out. English-only models need none.
        device: Where it runs; None is a GPU if there is one.

    Raises:
        ModelError: The source cannot be read, or is no Whisper.
    """

    def __init__(self, source: str, language: str | None = None, device: str | None = None):
        from transformers import AutoTokenizer, WhisperFeatureExtractor, WhisperForConditionalGeneration

        kind = read_architecture(source)["model_type"]
        if kind != "whisper":
            raise ModelError(f"'{source}' is a '{kind}', not a Whisper: give for example openai/whisper-base")
        options = {"dtype": torch.float32, "use_safetensors": True, "trust_remote_code": False}
        model = ask(source, lambda: WhisperForConditionalGeneration.from_pretrained(source, **options))
        settings = "preprocessor_config.json"
        self.extractor = ask(source, lambda: WhisperFeatureExtractor.from_pretrained(source), settings)
        self.tokenizer = ask(source, lambda: AutoTokenizer.from_pretrained(source), "tokenizer.json")
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model = model.to(self.device).eval()
        self.options = self._options(source, language)

    def transcribe(self, recordings: Iterable[str | Path | np.ndarray], batch_size: int = 8) -> list[str]:
        """Write down recordings: files, or mono samples at 16 kHz; without time stamps, "" where no word is heard.

        Longer recordings than half a minute are heard in parts of that length, one after the other.

        Raises:
            MediaError: A recording is missing, damaged, empty or silent.
        """
        parts = [self._parts(recording) for recording in recordings]
        texts = iter(self._write([piece for pieces in parts for piece in pieces], batch_size))
        return [" ".join(filter(None, (next(texts) for _ in pieces))) for pieces in parts]

    def _options(self, source: str, language: str | None) -> dict[str, Any]:
        options: dict[str, Any] = {"return_timestamps": False}
        if getattr(self.model.generation_config, "is_multilingual", False):
            return options | {"task": "transcribe", "language": language}
        if language not in (None, "en"):
            raise ModelError(f"'{source}' knows English alone, not '{language}': take a multilingual Whisper")
        return options

    def _parts(self, recording: str | Path | np.ndarray) -> list[np.ndarray]:
        """Read a recording and cut it to what the model hears at a time; silent parts are left out."""
        if isinstance(recording, np.ndarray):
            return _cut(audible(recording), self.extractor.n_samples)
        try:
            return _cut(audible(read_audio(recording, SAMPLE_RATE)), self.extractor.n_samples)
        except MediaError as error:
            raise MediaError(f"{recording}: {str(error).removeprefix(f'{recording}: ')}") from None

    @torch.inference_mode()
    def _write(self, pieces: Sequence[np.ndarray], batch_size: int) -> list[str]:
        texts: list[str] = []
        for first in range(0, len(pieces), batch_size):
            group = list(pieces[first : first + batch_size])
            heard = self.extractor(group, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
            with quietly():
                written: Tensor = self.model.generate(input_features=heard.to(self.device), **self.options)
            texts += self.tokenizer.batch_decode(written, skip_special_tokens=True)
        return [text.strip() for text in texts]


def transcribe_samples(
    samples: Sequence[Sample],
    transcriber: Transcriber,
    batch_size: int = 8,
    step: Callable[[int], Any] = lambda done: None,
) -> tuple[list[Sample], list[tuple[str, str]]]:
    """Put what is heard in place of the typed captions of samples.

    Args:
        samples: Samples with recordings.
        transcriber: Writes them down.
        batch_size: Recordings written down at a time.
        step: Called with the number of samples that are done since the last call.

    Returns:
        The samples with their transcripts, and (id, reason) of those that have none.
    """
    kept: list[Sample] = []
    aside: list[tuple[str, str]] = []
    for first in range(0, len(samples), batch_size):
        group = samples[first : first + batch_size]
        waveforms = {}
        for sample in group:
            try:
                waveforms[sample.id] = _waveform(sample)
            except MediaError as error:
                aside.append((sample.id, str(error)))
        texts = dict(zip(waveforms, transcriber.transcribe(waveforms.values(), batch_size)))
        for sample in group:
            if texts.get(sample.id):
                kept.append(replace(sample, text=texts[sample.id]))
            elif sample.id in texts:
                aside.append((sample.id, f"{sample.speech}: not a word was heard"))
        step(len(group))
    return kept, aside


def _waveform(sample: Sample) -> np.ndarray:
    """Read the recording of a sample; of its video's own sound, the span of the sample."""
    if sample.speech is None:
        raise MediaError("has no speech")
    span = (sample.start, sample.end) if sample.speech == sample.video else (None, None)
    waveform = read_audio(sample.speech, SAMPLE_RATE, *span)
    try:
        return audible(waveform)
    except MediaError as error:
        raise MediaError(f"{sample.speech}: {error}") from None


def _cut(samples: np.ndarray, longest: int) -> list[np.ndarray]:
    parts = [samples[first : first + longest] for first in range(0, len(samples), longest)]
    return [part for part in parts if _is_audible(part)]


def _is_audible(part: np.ndarray) -> bool:
    try:
        audible(part)
    except MediaError:
        return False
    return True
