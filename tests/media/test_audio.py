import librosa
import numpy as np
import pytest
import soundfile
import torch
from makers import pictures, tone, write_sound, write_video

from mmretrieval.errors import MediaError
from mmretrieval.media.audio import log_mel, read_audio, trim_silence
from mmretrieval.types import SpeechSpec


def spectrum_peak(samples):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return spectrum.argmax() * 16_000 / len(samples)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.m4a", "a.webm", "a.mp4"])
def test_any_recording_is_read_as_mono_16_khz(tmp_path, name):
    rate = {"a.webm": 48_000, "a.mp4": 16_000}.get(name, 44_100)
    path, samples = tmp_path / name, tone(2, rate)
    if name in ("a.wav", "a.flac", "a.ogg", "a.mp3"):
        soundfile.write(path, samples, rate)
    elif name == "a.mp4":
        write_video(path, pictures(32, 64, 64), sound=samples)
    else:
        write_sound(path, samples, rate, {"a.m4a": "aac", "a.webm": "libopus"}[name])
    read = read_audio(path)
    assert read.dtype == np.float32 and read.ndim == 1
    assert len(read) == pytest.approx(32_000, abs=1500)  # lossy formats pad to whole packets
    assert spectrum_peak(read[8000:24_000]) == pytest.approx(440, abs=2)
    assert np.abs(read[16_000:24_000]).max() == pytest.approx(0.4 * 0.8, rel=0.1)


def test_channels_are_averaged(tmp_path):
    left, right = tone(1, 16_000, 440), tone(1, 16_000, 660)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), (left + right) / 2, atol=1e-6)
    write_sound(tmp_path / "a.mka", np.stack([left, right]), 16_000, "flac")
    np.testing.assert_allclose(read_audio(tmp_path / "a.mka"), (left + right) / 2, atol=1e-4)


@pytest.mark.parametrize("name", ["a.flac", "a.mka"])
def test_spans(tmp_path, name):
    path, samples = tmp_path / name, tone(3)
    if name == "a.flac":
        soundfile.write(path, samples, 16_000)
    else:
        write_sound(path, samples, 16_000, "flac")
    np.testing.assert_allclose(read_audio(path, start=0.5, end=1.25), samples[8000:20_000], atol=1e-4)
    np.testing.assert_allclose(read_audio(path, start=2.0), samples[32_000:], atol=1e-4)
    np.testing.assert_allclose(read_audio(path, end=1.0), samples[:16_000], atol=1e-4)
    for start, end, asked in [(4.0, 7.0, "4.0–7.0 s"), (2.0, 5.0, "2.0–5.0 s"), (3.5, None, "3.5 s onwards")]:
        with pytest.raises(MediaError) as caught:
            read_audio(path, start=start, end=end)
        assert str(caught.value) == f"{path}: asked for {asked}, the audio ends at 3.0 s."
    with pytest.raises(MediaError) as caught:
        read_audio(path, start=2.0, end=1.0)
    assert str(caught.value) == f"{path}: asked for 2.0–1.0 s; a span ends after it starts."
    with pytest.raises(MediaError) as caught:
        read_audio(path, start=-1.0)
    assert str(caught.value) == f"{path}: asked to start at -1.0 s; a span starts at 0 or later."


class TestBadFiles:
    def message(self, path):
        with pytest.raises(MediaError) as caught:
            read_audio(path)
        return str(caught.value)

    def test_missing(self, tmp_path):
        assert self.message(tmp_path / "q.wav") == f"{tmp_path}/q.wav: no such file."

    def test_no_bytes(self, tmp_path):
        (tmp_path / "q.wav").touch()
        assert self.message(tmp_path / "q.wav") == f"{tmp_path}/q.wav: the file is empty."

    def test_no_samples(self, tmp_path):
        soundfile.write(tmp_path / "q.wav", np.zeros(0), 16_000)
        assert self.message(tmp_path / "q.wav") == f"{tmp_path}/q.wav: the audio track is empty."

    def test_text(self, tmp_path):
        (tmp_path / "q.wav").write_text("hello\n" * 50)
        assert self.message(tmp_path / "q.wav") == (
            f"{tmp_path}/q.wav: is not a recording, or is damaged (invalid data found when processing input)."
        )

    def test_silent_film(self, tmp_path):
        path = write_video(tmp_path / "q.mp4", pictures(4, 64, 64))
        assert self.message(path) == f"{path}: has no audio track."

    def test_not_numbers(self, tmp_path):
        soundfile.write(tmp_path / "q.wav", np.array([0.1, np.nan, 0.2]), 16_000, subtype="FLOAT")
        assert self.message(tmp_path / "q.wav") == (
            f"{tmp_path}/q.wav: holds samples that are not numbers; the file is damaged."
        )

    def test_cut_off_recordings_give_what_is_there(self, tmp_path):
        soundfile.write(tmp_path / "q.wav", tone(2), 16_000)
        write_sound(tmp_path / "q.webm", tone(2, 48_000), 48_000, "libopus")
        for path in (tmp_path / "q.wav", tmp_path / "q.webm"):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            assert 8000 < len(read_audio(path)) < 24_000


def by_librosa(samples, spec):
    """The front end of the lab's published code, in its own words."""
    samples = samples - samples.mean()
    samples = np.append(samples[0], samples[1:] - spec.preemphasis * samples[:-1])
    window = int(spec.sample_rate * spec.window_ms / 1000)
    mel = librosa.feature.melspectrogram(
        y=samples, sr=spec.sample_rate, n_fft=window, win_length=window, window="hamming", center=True, power=2.0,
        hop_length=int(spec.sample_rate * spec.hop_ms / 1000), n_mels=spec.mels, fmin=spec.fmin, pad_mode="constant",
    )  # fmt: skip
    return librosa.power_to_db(mel, ref=np.max, top_db=-spec.floor_db).T


@pytest.mark.parametrize("spec", [SpeechSpec(), SpeechSpec(mels=64, window_ms=32, hop_ms=8, preemphasis=0, fmin=50)])
@pytest.mark.parametrize("seconds", [3.0, 10.0, 0.4567])
def test_log_mel_equals_librosa_edges_included(seconds, spec):
    rng = np.random.default_rng(0)
    count = round(seconds * 16_000)
    samples = (rng.standard_normal(count) * np.linspace(0.3, 0.001, count) + 0.05 + tone(count / 16_000)).astype("f4")
    result = log_mel(samples, spec)
    assert result.dtype == torch.float32 and result.is_contiguous()
    assert float(result.max()) == 0 and float(result.min()) >= spec.floor_db
    np.testing.assert_allclose(result, by_librosa(samples, spec), atol=1e-3)


def test_frame_counts_of_the_papers():
    noise = np.random.default_rng(0).standard_normal(160_000).astype(np.float32)
    assert log_mel(noise, SpeechSpec()).shape == (1001, 40)
    assert log_mel(noise[:48_000], SpeechSpec()).shape == (301, 40)


def test_floor_is_reached_and_loudness_changes_nothing():
    samples = np.concatenate([tone(0.5), np.zeros(8000, np.float32)])
    loud = log_mel(samples, SpeechSpec(preemphasis=0.97))
    assert float(loud.min()) == -80
    torch.testing.assert_close(loud, log_mel(samples / 64, SpeechSpec()), atol=1e-3, rtol=0)


def test_integer_samples_mean_the_same():
    samples, spec = tone(0.5), SpeechSpec(floor_db=-50)
    as_integers = np.round(samples * 32_768).astype(np.int16)
    torch.testing.assert_close(log_mel(as_integers, spec), log_mel(samples, spec), atol=0.1, rtol=0)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(0, np.float32), "the audio is empty: it has no samples."),
        (
            np.full(1600, 0.3, np.float32),
            "the audio is silent: its loudest sample is 0.000000 of full scale. Check the microphone or the file.",
        ),
        (
            np.tile(np.float32([0, 6e-5]), 800),
            "the audio is silent: its loudest sample is 0.000030 of full scale. Check the microphone or the file.",
        ),
        (np.zeros((2, 1600), np.float32), "the audio has shape (2, 1600); mono samples of shape (n,) are needed."),
        (np.float32([0.1, np.inf]), "the audio holds samples that are not numbers."),
    ],
)
def test_audio_that_cannot_be_heard(samples, message):
    with pytest.raises(MediaError) as caught:
        log_mel(samples, SpeechSpec())
    assert str(caught.value) == message


def test_trim_keeps_the_sound_and_a_tenth_of_a_second():
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000).astype(np.float32)
    trimmed = trim_silence(np.concatenate([np.zeros(16_000, np.float32), sound, np.zeros(32_000, np.float32)]))
    assert 16_000 + 2 * 1600 <= len(trimmed) <= 16_000 + 2 * 1600 + 2 * 1024
    assert len(trim_silence(np.zeros(0, np.float32))) == 0
