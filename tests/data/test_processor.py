import dataclasses
import json

import numpy as np
import pytest
import soundfile
import torch
from makers import pictures, tone, write_video

from mmretrieval.data.manifest import Sample
from mmretrieval.data.processor import Processor, pad
from mmretrieval.errors import ManifestError, MediaError, ModelError, QueryError
from mmretrieval.media.audio import log_mel, read_audio
from mmretrieval.media.transforms import fit
from mmretrieval.media.video import open_video
from mmretrieval.types import ClipSpec, SpeechSpec


@pytest.mark.parametrize("backend", ["decord", "pyav"])
def test_video_in_evaluation_is_the_centre_of_eight_segments(world, processor, backend):
    clip = processor.video(world[0].video, backend=backend)
    with open_video(world[0].video, "pyav") as video:
        expected = fit(video.read(range(3, 48, 6)), 32)
    assert clip.dtype == torch.uint8 and clip.shape == (8, 3, 32, 32)
    assert torch.equal(clip, expected)


def test_video_span_is_sampled_inside(world, processor):
    with open_video(world[0].video, "pyav") as video:
        expected = fit(video.read(range(17, 32, 2)), 32)
    assert torch.equal(processor.video(world[0].video, 1.0, 2.0), expected)
    # an annotated end may be rounded up a little
    assert processor.video(world[0].video, 2.0, 3.4).shape == (8, 3, 32, 32)


@pytest.mark.parametrize(
    ("span", "message"),
    [
        ((4.0, 7.0), "asked for 4.0–7.0 s, the video ends at 3.0 s."),
        ((2.0, 7.0), "asked for 2.0–7.0 s, the video ends at 3.0 s."),
        ((3.5, None), "asked for 3.5 s onwards, the video ends at 3.0 s."),
        ((2.0, 1.0), "asked for 2.0–1.0 s; a span ends after it starts."),
        ((-1.0, None), "asked to start at -1.0 s; a span starts at 0 or later."),
    ],
)
def test_video_span_outside(world, processor, span, message):
    with pytest.raises(MediaError) as caught:
        processor.video(world[0].video, *span)
    assert str(caught.value) == f"{world[0].video}: {message}"


def test_training_is_random_and_repeatable(world, processor):
    draws = [processor.video(world[0].video, rng=np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_a_clip_spec_with_a_rate_sees_a_window(world):
    processor = Processor(ClipSpec(frames=4, size=32, fps=8.0))
    with open_video(world[0].video, "pyav") as video:
        expected = fit(video.read([20, 22, 24, 26]), 32)
    assert torch.equal(processor.video(world[0].video), expected)


def test_huge_frames_are_shrunk_first(tmp_path):
    path = write_video(tmp_path / "a.mp4", pictures(6, 300, 400), options={"preset": "ultrafast"})
    clip = Processor(ClipSpec(frames=3, size=32)).video(path)
    with open_video(path, "pyav") as video:
        direct = fit(video.read([1, 3, 5]), 32)
    assert clip.shape == (3, 3, 32, 32)
    assert (clip.float() - direct.float()).abs().mean() < 3


def test_speech_of_a_file_and_of_samples(world, processor):
    spec = processor.speech_spec
    expected = log_mel(read_audio(world[1].speech), spec)
    assert torch.equal(processor.speech(world[1].speech), expected)
    assert torch.equal(processor.speech(read_audio(world[1].speech)), expected)
    half = log_mel(read_audio(world[1].speech)[8000:16_000], spec)
    assert torch.equal(processor.speech(world[1].speech, 0.5, 1.0), half)
    assert torch.equal(processor.speech(read_audio(world[1].speech), 0.5, 1.0), half)


def test_long_speech_is_cut_at_random_in_training(world, processor):
    samples = read_audio(world[3].speech)  # 2.5 s, 2 are heard
    assert torch.equal(processor.speech(samples), log_mel(samples[:32_000], processor.speech_spec))
    draws = [processor.speech(samples, rng=np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert all(draw.shape == (201, 40) for draw in draws)
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_training_hears_less_of_a_long_recording_than_evaluation(processor):
    spec = dataclasses.replace(processor.speech_spec, max_seconds=2.0, crop_seconds=0.5)
    own, samples = Processor(speech=spec), tone(3)
    assert own.speech(samples).shape == (201, 40)
    torch.testing.assert_close(own.speech(samples), processor.speech(samples))
    heard = own.speech(samples, rng=np.random.default_rng(0))
    assert heard.shape == (51, 40)
    assert torch.equal(heard, own.speech(samples, rng=np.random.default_rng(0)))
    assert not torch.equal(heard, own.speech(samples, rng=np.random.default_rng(1)))
    assert own.speech(tone(0.3), rng=np.random.default_rng(0)).shape == (31, 40)


def test_spectrograms_made_beforehand_are_cut_as_recordings_are(processor):
    own = Processor(speech=dataclasses.replace(processor.speech_spec, max_seconds=2.0, crop_seconds=0.5))
    made = np.arange(150 * 40, dtype=np.float32).reshape(150, 40)
    assert np.array_equal(own.crop(made), made)
    part = own.crop(made, np.random.default_rng(0))
    first = int(part[0, 0]) // 40
    assert part.shape == (51, 40) and first > 0
    assert np.array_equal(part, made[first : first + 51])


def test_silent_recording_is_named(tmp_path, processor):
    soundfile.write(tmp_path / "q.wav", np.zeros(16_000), 16_000)
    with pytest.raises(MediaError) as caught:
        processor.speech(tmp_path / "q.wav")
    assert str(caught.value) == (
        f"{tmp_path}/q.wav: the audio is silent: its loudest sample is 0.000000 of full scale. "
        "Check the microphone or the file."
    )


def test_text_is_cut_and_checked(processor):
    ids = processor.text("a dog jumps over a ball and a cat falls")
    assert ids.dtype == torch.long and ids.shape == (6,)
    for caption, message in [
        ("", "the caption is empty: say in a few words what is to be seen."),
        ("xyzzy", "the caption 'xyzzy' has no word this model knows. Use words like those of its training captions."),
    ]:
        with pytest.raises(QueryError) as caught:
            processor.text(caption)
        assert str(caught.value) == message


def test_sample_reads_what_is_asked(world, processor):
    parts = processor.sample(world[0])
    assert list(parts) == ["video", "speech", "text"]
    assert list(processor.sample(world[0], ["text"])) == ["text"]
    with pytest.raises(ManifestError) as caught:
        processor.sample(Sample("x", text="a dog"), ["video"])
    assert str(caught.value) == "the sample 'x' has no video"


def test_span_cuts_the_videos_own_sound_only(tmp_path, processor):
    film = str(write_video(tmp_path / "a.mp4", pictures(48, 64, 64), sound=tone(3)))
    own = processor.sample(Sample("a", video=film, speech=film, start=1.0, end=2.0), ["speech"])
    assert own["speech"].shape == (101, 40)
    soundfile.write(tmp_path / "a.wav", tone(1.5), 16_000)
    other = Sample("a", video=film, speech=str(tmp_path / "a.wav"), start=1.0, end=2.0)
    assert processor.sample(other, ["speech"])["speech"].shape == (151, 40)


def test_collate_pads_with_the_floor_and_masks(world, processor):
    samples = [processor.sample(sample) for sample in world[:2]]
    batch = processor.collate(["x", "y"], samples)
    assert batch.ids == ["x", "y"] and list(batch.inputs) == ["video", "speech", "text"]
    for name, fill in [("video", 0), ("speech", -80.0), ("text", 0)]:
        values, mask = batch.inputs[name]
        assert mask.dtype == torch.bool and mask.shape == values.shape[:2]
        for row, sample in enumerate(samples):
            length = len(sample[name])
            assert mask[row].tolist() == [True] * length + [False] * (values.shape[1] - length)
            assert torch.equal(values[row, :length], sample[name])
            assert (values[row, length:] == fill).all()
    assert batch.inputs["video"].values.dtype == torch.uint8
    assert not batch.inputs["speech"].mask.all()


def test_pad_of_equal_lengths():
    values, mask = pad([torch.ones(3), torch.zeros(3)], -1)
    assert values.tolist() == [[1, 1, 1], [0, 0, 0]] and mask.all()


def test_config_round_trip(processor):
    config = json.loads(json.dumps(processor.to_config()))
    copy = Processor.from_config(config, processor.tokenizer.to_json())
    for name in ("clip_spec", "speech_spec", "text_spec"):
        assert getattr(copy, name) == getattr(processor, name)
    assert copy.modalities == ("video", "speech", "text")
    assert torch.equal(copy.text("a dog"), processor.text("a dog"))
    only = Processor.from_config({"speech": dataclasses.asdict(SpeechSpec())})
    assert only.modalities == ("speech",)


def test_errors_of_a_processor(processor):
    for call, message in [
        (lambda: Processor().video("a.mp4"), "this model has no video"),
        (lambda: Processor().speech("a.wav"), "this model has no speech"),
        (lambda: Processor().text("a"), "this model has no text"),
        (lambda: Processor(text=processor.text_spec), "a model with text needs its sub-word vocabulary"),
        (lambda: Processor.from_config({"sound": {}}), "the preprocessing cannot be rebuilt: unknown section 'sound'"),
    ]:
        with pytest.raises(ModelError) as caught:
            call()
        assert str(caught.value) == message
