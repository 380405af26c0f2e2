"""What pretrained models hear and see: waveforms, Whisper's log-mel, squashed frames; from files and from the cache."""

import numpy as np
import pytest
import soundfile
import torch
from makers import pictures, write_video

from mmretrieval.data.cache import ClipCache
from mmretrieval.data.manifest import Sample
from mmretrieval.data.processor import Processor
from mmretrieval.errors import MediaError
from mmretrieval.media.audio import front_end, longest_shape
from mmretrieval.media.transforms import fit
from mmretrieval.types import ClipSpec, SpeechSpec

WAVEFORM = SpeechSpec(frontend="waveform", normalize=True, max_seconds=0.5)
WHISPER = SpeechSpec(frontend="whisper", mels=80, max_seconds=0.5)


def sound(seconds=0.3, seed=0):
    return (np.random.default_rng(seed).standard_normal(int(16_000 * seconds)) * 0.1 + 0.05).astype(np.float32)


def test_a_normalised_waveform():
    heard = front_end(sound(), WAVEFORM)
    assert heard.shape == (4800,) and heard.dtype == torch.float32
    assert abs(float(heard.mean())) < 1e-5 and float(heard.std()) == pytest.approx(1, abs=1e-3)


def test_a_waveform_as_it_is():
    heard = front_end(sound(), SpeechSpec(frontend="waveform"))
    assert np.array_equal(heard.numpy(), sound())
    integers = (sound() * 32768).round().astype(np.int16)
    np.testing.assert_allclose(front_end(integers, SpeechSpec(frontend="waveform")).numpy(), sound(), atol=1e-4)


def test_whispers_frames_end_where_the_sound_does():
    heard = front_end(sound(), WHISPER)
    assert heard.shape == (32, 80)  # 30 frames, and two whose windows still reach into the sound
    assert float(heard.max() - heard.min()) <= 2 + 1e-6


@pytest.mark.parametrize("spec", [WAVEFORM, WHISPER])
def test_silence_is_refused_by_every_front_end(spec):
    for waveform in (np.zeros(4000, np.float32), np.full(4000, 0.3, np.float32)):
        with pytest.raises(MediaError) as caught:
            front_end(waveform, spec)
        assert "the audio is silent" in str(caught.value)


@pytest.mark.parametrize("spec", [WAVEFORM, WHISPER, SpeechSpec(max_seconds=0.5)])
def test_the_longest_recording_fits_its_slot(spec):
    processor = Processor(speech=spec)
    heard = processor.speech(sound(2.0))
    assert len(heard) <= longest_shape(spec)[0] and heard.shape[1:] == longest_shape(spec)[1:]


@pytest.mark.parametrize("spec", [WAVEFORM, WHISPER])
def test_the_cache_holds_what_the_processor_makes(spec, tmp_path):
    samples = []
    for number, seconds in enumerate((0.2, 0.7, 0.4)):
        soundfile.write(tmp_path / f"{number}.wav", sound(seconds, number), 16_000, subtype="FLOAT")
        samples.append(Sample(f"s{number}", speech=str(tmp_path / f"{number}.wav")))
    processor = Processor(speech=spec)
    cache = ClipCache.build(tmp_path / "cache", samples, processor, ["speech"], workers=0, progress=False)
    for sample in samples:
        held = cache.read(sample, processor, ["speech"])["speech"]
        torch.testing.assert_close(held, processor.speech(sample.speech), atol=2e-3, rtol=1e-3)
    drawn = Processor(speech=SpeechSpec(**vars(spec) | {"crop_seconds": 0.1}))
    held = cache.read(samples[1], drawn, ["speech"], np.random.default_rng(0))["speech"]
    assert len(held) == (1600 if spec is WAVEFORM else 12)


def test_silence_pads_a_batch():
    for spec, fill in ((WAVEFORM, 0.0), (WHISPER, 0.0), (SpeechSpec(), -80.0)):
        processor = Processor(speech=spec)
        parts = [{"speech": processor.speech(sound(seconds))} for seconds in (0.2, 0.4)]
        values, mask = processor.collate(["a", "b"], parts).inputs["speech"]
        assert mask.tolist()[1] == [True] * len(parts[1]["speech"])
        assert (values[0][~mask[0]] == fill).all() and (~mask[0]).any()


def test_specs_survive_json():
    spec = ClipSpec(resize="squash", crop=0.875, resample="bicubic")
    again = Processor.from_config(Processor(clip=spec, speech=WAVEFORM).to_config())
    assert (again.clip_spec, again.speech_spec) == (spec, WAVEFORM)


def test_squashing_keeps_what_cropping_loses():
    frames = np.zeros((1, 40, 80, 3), np.uint8)
    frames[:, :, :10] = 255  # a bar at the left edge
    assert not fit(frames, 20).any()
    squashed = fit(frames, 20, squash=True)
    assert squashed.shape == (1, 3, 20, 20) and squashed[0, 0, :, 0].min() > 200 and not squashed[0, 0, :, 10:].any()
    drawn = fit(frames, 20, np.random.default_rng(0), squash=True)
    assert drawn.shape == (1, 3, 20, 20)


def test_a_share_of_the_middle():
    frames = np.zeros((1, 40, 60, 3), np.uint8)
    frames[:, 10:30, 20:40] = 255
    assert (fit(frames, 20, share=0.5) == 255).all()
    assert not (fit(frames, 20, share=0.6) == 255).all()


def test_bicubic_is_not_bilinear_but_near():
    frames = np.random.default_rng(0).integers(0, 256, (1, 30, 30, 3), dtype=np.uint8)
    first, second = fit(frames, 20).float(), fit(frames, 20, resample="bicubic").float()
    assert not torch.equal(first, second) and (first - second).abs().mean() < 12


def test_cached_clips_of_a_squashing_model_keep_their_edges(tmp_path):
    path = write_video(tmp_path / "wide.mp4", pictures(12, 48, 96))
    spec = ClipSpec(frames=2, size=32, resize="squash", resample="bicubic")
    processor, sample = Processor(clip=spec), Sample("a", video=str(path))
    cache = ClipCache.build(tmp_path / "cache", [sample], processor, ["video"], workers=0, progress=False)
    held = cache.read(sample, processor, ["video"])["video"].float()
    read = processor.video(path).float()
    assert (held - read).abs().mean() < 12
    cropped = Processor(clip=ClipSpec(frames=2, size=32)).video(path).float()
    assert (held - cropped).abs().mean() > 20
