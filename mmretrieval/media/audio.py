"""Any recording to mono samples, and samples to what a model hears: decibels, Whisper's log-mel, or the waveform."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch

from mmretrieval.errors import MediaError
from mmretrieval.media.files import check_file, check_order, check_span
from mmretrieval.media.opening import open_alone
from mmretrieval.types import SpeechSpec

SILENCE = 1e-4
"""Peak below which a recording is silent, as a share of full scale (−80 dB): three steps of a 16-bit recording."""


def read_audio(
    path: str | Path, sample_rate: int = 16_000, start: float | None = None, end: float | None = None
) -> np.ndarray:
    """Read any recording, or the sound track of a video, as mono samples.

    soundfile reads wav, flac, ogg, mp3 and their kin; PyAV everything else (m4a, webm, mp4 …). Channels are averaged.

    Args:
        path: The file.
        sample_rate: Samples per second of the result.
        start: First second to read; None reads from the beginning.
        end: Last second to read; None reads to the end.

    Returns:
        (n,) float32 in about −1…1.

    Raises:
        MediaError: The file is missing, empty, damaged, has no audio track, or ends before the span does.
    """
    path = check_file(path)
    check_order(path, start, end)
    read = _read_by_soundfile(path, start, end) or _read_by_pyav(path, start, end)
    waveform, rate = read
    if not len(waveform):
        raise MediaError(f"{path}: the audio track is empty.")
    if not np.isfinite(waveform).all():
        raise MediaError(f"{path}: holds samples that are not numbers; the file is damaged.")
    if rate != sample_rate:
        import soxr

        waveform = soxr.resample(waveform, rate, sample_rate)
    return np.ascontiguousarray(waveform, dtype=np.float32)


def front_end(waveform: np.ndarray, spec: SpeechSpec) -> torch.Tensor:
    """Turn samples into what a model hears, by the front end that ``spec`` names.

    Returns:
        (T, M) or (n,) float32.

    Raises:
        MediaError: The audio is empty, silent, or not mono.
    """
    return _FRONT_ENDS[spec.frontend](waveform, spec)


def heard_length(spec: SpeechSpec, seconds: float) -> int:
    """Return how many samples or frames ``front_end`` makes of so many seconds."""
    if spec.frontend == "waveform":
        return round(seconds * spec.sample_rate)
    # the first frame is centred on the first sample; Whisper's last ones only reach back into the sound
    return int(seconds * 1000 / spec.hop_ms) + (2 if spec.frontend == "whisper" else 1)


def longest_shape(spec: SpeechSpec) -> tuple[int, ...]:
    """Return a shape that holds what ``front_end`` makes of the longest recording, ``max_seconds``."""
    longest = heard_length(spec, spec.max_seconds) + 1  # one more, for rounding
    return (longest,) if spec.frontend == "waveform" else (longest, spec.mels)


def log_mel(waveform: np.ndarray, spec: SpeechSpec) -> torch.Tensor:
    """Turn samples into decibels per mel band and frame, relative to the loudest of them.

    The DC offset is subtracted, highs are raised by pre-emphasis, power spectra of Hamming windows (centred, zeros
    beyond both ends) are pooled by Slaney's mel bands. 3 s at the default 10 ms hop are 301 frames.

    Args:
        waveform: (n,) mono samples at ``spec.sample_rate``; integers are scaled by their range.
        spec: The front end.

    Returns:
        (T, M) float32 in [``spec.floor_db``, 0].

    Raises:
        MediaError: The audio is empty, silent, or not mono.
    """
    samples = audible(waveform)
    samples = samples - _offset(samples)
    emphasised = samples.copy()
    emphasised[1:] -= spec.preemphasis * samples[:-1]
    power = _mel_transform(spec)(torch.from_numpy(emphasised)).T
    # relative to the maximum before the logarithm: how loud a recording is changes nothing
    ratio = power / power.max()
    return (10 * torch.log10(ratio.clamp_min(10 ** (spec.floor_db / 10)))).clamp_min(spec.floor_db).contiguous()


def plain_waveform(waveform: np.ndarray, spec: SpeechSpec) -> torch.Tensor:
    """Return the samples, (n,) float32, brought to mean 0 and variance 1 if ``spec.normalize`` says so.

    The arithmetic is that of transformers' ``Wav2Vec2FeatureExtractor``.

    Raises:
        MediaError: The audio is empty, silent, or not mono.
    """
    samples = audible(waveform)
    if spec.normalize:
        samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    return torch.from_numpy(samples)


def whisper_mel(waveform: np.ndarray, spec: SpeechSpec) -> torch.Tensor:
    """Return Whisper's log-mel frames (T, M) of a recording, T = 100 per second and what its last window reaches over.

    The half minute that Whisper hears is longer; every frame beyond T holds its silence and is left out.

    Raises:
        MediaError: The audio is empty, silent, or not mono.
    """
    samples = audible(waveform)
    extractor = _whisper_extractor(spec.mels)
    whole = extractor(samples, sampling_rate=spec.sample_rate, return_tensors="np").input_features[0]
    reached = -(-(len(samples) + extractor.n_fft // 2) // extractor.hop_length)
    return torch.from_numpy(np.ascontiguousarray(whole[:, :reached].T, dtype=np.float32))


_FRONT_ENDS = {"log_mel": log_mel, "waveform": plain_waveform, "whisper": whisper_mel}


def trim_silence(waveform: np.ndarray, sample_rate: int = 16_000, below_db: float = 40.0) -> np.ndarray:
    """Cut what lies before the first and after the last sound of a recording, but for a tenth of a second.

    Args:
        waveform: (n,) mono samples.
        sample_rate: Samples per second.
        below_db: What is this much quieter than the loudest moment counts as silence.
    """
    import librosa

    if not len(waveform):
        return waveform
    _, (first, last) = librosa.effects.trim(waveform, top_db=below_db, frame_length=1024, hop_length=256)
    margin = sample_rate // 10
    return waveform[max(0, first - margin) : last + margin]


def audible(waveform: np.ndarray) -> np.ndarray:
    """Return mono samples as float32 in about −1…1, after checking that there is something to hear.

    Raises:
        MediaError: The audio is empty, silent, or not mono.
    """
    samples = np.asarray(waveform)
    if samples.ndim != 1:
        raise MediaError(f"the audio has shape {samples.shape}; mono samples of shape (n,) are needed.")
    if not len(samples):
        raise MediaError("the audio is empty: it has no samples.")
    if np.issubdtype(samples.dtype, np.integer):
        samples = samples / -float(np.iinfo(samples.dtype).min or -np.iinfo(samples.dtype).max)
    samples = samples.astype(np.float32)
    if not np.isfinite(samples).all():
        raise MediaError("the audio holds samples that are not numbers.")
    peak = float(np.abs(samples - _offset(samples)).max())
    if peak < SILENCE:
        raise MediaError(
            f"the audio is silent: its loudest sample is {peak:.6f} of full scale. Check the microphone or the file."
        )
    return samples


def _offset(samples: np.ndarray) -> np.float32:
    return samples.mean(dtype=np.float64).astype(np.float32)


@functools.lru_cache(maxsize=2)
def _whisper_extractor(mels: int):
    from transformers import WhisperFeatureExtractor

    return WhisperFeatureExtractor(feature_size=mels)


@functools.lru_cache(maxsize=8)
def _mel_transform(spec: SpeechSpec) -> torch.nn.Module:
    import torchaudio

    window = round(spec.sample_rate * spec.window_ms / 1000)
    return torchaudio.transforms.MelSpectrogram(
        sample_rate=spec.sample_rate,
        n_fft=window,
        win_length=window,
        hop_length=round(spec.sample_rate * spec.hop_ms / 1000),
        f_min=spec.fmin,
        n_mels=spec.mels,
        window_fn=torch.hamming_window,
        power=2.0,
        center=True,
        pad_mode="constant",  # zeros, as librosa; torch's default reflects and differs by several dB at the edges
        norm="slaney",
        mel_scale="slaney",
    )


def _read_by_soundfile(path: Path, start: float | None, end: float | None) -> tuple[np.ndarray, int] | None:
    """Return mono samples and their rate, or None if soundfile does not know the format."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            rate, frames = file.samplerate, file.frames
            if not frames:
                return np.zeros(0, np.float32), rate
            check_span(path, "audio", start, end, frames / rate)
            file.seek(round((start or 0.0) * rate))
            count = -1 if end is None else round(end * rate) - round((start or 0.0) * rate)
            return file.read(count, dtype="float32", always_2d=True).mean(axis=1), rate
    except (soundfile.SoundFileError, RuntimeError):
        return None


def _read_by_pyav(path: Path, start: float | None, end: float | None) -> tuple[np.ndarray, int]:
    """Return mono samples and their rate, decoded by FFmpeg; a file that breaks off gives what comes before."""
    import av

    try:
        container = open_alone(path)
    except (av.error.FFmpegError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise MediaError(f"{path}: is not a recording, or is damaged ({reason}).") from None
    with container:
        if not container.streams.audio:
            raise MediaError(f"{path}: has no audio track.")
        stream = container.streams.audio[0]
        rate = stream.codec_context.sample_rate
        resampler = av.AudioResampler(format="fltp", rate=rate)
        parts, samples = [], 0
        wanted = None if end is None else round(end * rate)
        for frame in _audio_frames(container, stream):
            for planar in resampler.resample(frame):
                parts.append(planar.to_ndarray().mean(axis=0))
                samples += len(parts[-1])
            if wanted is not None and samples >= wanted:
                break
    waveform = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if len(waveform):
        check_span(path, "audio", start, end, len(waveform) / rate)
    return waveform[round((start or 0.0) * rate) : wanted], rate


def _audio_frames(container, stream):
    import av

    try:
        for packet in container.demux(stream):
            try:
                yield from packet.decode()
            except av.error.FFmpegError:
                continue
    except av.error.FFmpegError:
        return
