"""Speech: real words at the times that are claimed, the same samples every time."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from mmretrieval.errors import DependencyError
from mmretrieval.toyworld import build
from mmretrieval.toyworld.voices import SAMPLE_RATE, SEEN_VOICES, UNSEEN_VOICES, Narration, narrate

TEXT = "on the beach an orange dog jumps over a violet helicopter"
CLEAN = Narration("en-us+m1", 180, 50, 50, snr=35.0, reverb=0.0, lead=0.2, tail=0.3, seed=1)


def test_words_are_timed_within_the_recording():
    samples, words = narrate(TEXT, CLEAN)
    assert samples.dtype == np.int16 and 1.5 < len(samples) / SAMPLE_RATE < 6
    assert [word for word, _, _ in words] == TEXT.split()
    assert words[0][1] == pytest.approx(0.2, abs=0.01)
    assert words[-1][2] == pytest.approx(len(samples) / SAMPLE_RATE - 0.3, abs=0.01)
    for (_, start, end), (_, following, _) in zip(words, words[1:], strict=False):
        assert start < end == following


def test_a_long_word_is_where_it_is_said_to_be():
    """Without its last word, a sentence sounds the same up to that word's start, and ends there."""
    samples, words = narrate(TEXT, CLEAN)
    shorter, _ = narrate(TEXT.rsplit(" ", 1)[0], CLEAN)
    assert len(shorter) / SAMPLE_RATE - 0.3 == pytest.approx(words[-1][1], abs=0.25)
    lead = samples[: int(0.18 * SAMPLE_RATE)].astype(float)
    spoken = samples[int(0.2 * SAMPLE_RATE) : int(1.2 * SAMPLE_RATE)].astype(float)
    assert spoken.std() > 10 * lead.std()


def test_the_same_sentence_gives_the_same_samples_whatever_was_said_before():
    first = narrate(TEXT, CLEAN)
    narrate("something else entirely", replace(CLEAN, voice="en-gb-scotland+f2", rate=210))
    again = narrate(TEXT, CLEAN)
    assert (first.samples == again.samples).all() and first.words == again.words


def test_every_voice_speaks_and_no_two_sound_the_same():
    spoken = [narrate("a red dog", replace(CLEAN, voice=voice)).samples for voice in SEEN_VOICES + UNSEEN_VOICES]
    assert all(0.5 < len(samples) / SAMPLE_RATE < 2.5 for samples in spoken)
    assert len({samples.tobytes() for samples in spoken}) == len(spoken)


@pytest.mark.parametrize("snr", [15.0, 25.0, 35.0])
def test_noise_is_as_loud_as_asked_for(snr):
    narration = replace(CLEAN, snr=snr, lead=0.5)
    samples, words = narrate(TEXT, narration)
    noise = samples[: int(0.48 * SAMPLE_RATE)].astype(float)
    speech = samples[int(0.5 * SAMPLE_RATE) : int(words[-1][2] * SAMPLE_RATE)].astype(float)
    measured = 10 * np.log10((speech**2).mean() / (noise**2).mean())
    assert measured == pytest.approx(snr, abs=2.0)


def test_a_room_echoes():
    dry, wet = (narrate(TEXT, replace(CLEAN, reverb=reverb)).samples for reverb in (0.0, 0.35))
    assert len(dry) == len(wet)
    end = int((len(dry) / SAMPLE_RATE - 0.28) * SAMPLE_RATE)
    tails = [samples[end : end + 800].astype(float) / np.abs(samples).max() for samples in (dry, wet)]
    assert tails[1].std() > 1.5 * tails[0].std()


def test_faster_is_shorter():
    slow, fast = (len(narrate(TEXT, replace(CLEAN, rate=rate)).samples) for rate in (160, 215))
    assert fast < 0.9 * slow


def test_without_espeak_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError) as error:
        build(tmp_path / "world", 10, 0, progress=False)
    assert str(error.value) == (
        "the toy world speaks its captions with espeak-ng, and the package espeakng-loader is not installed. "
        "Install it with: pip install 'mmretrieval[demo]'"
    )
    assert not list(tmp_path.iterdir())


def test_an_unknown_voice_is_named():
    with pytest.raises(DependencyError) as error:
        narrate(TEXT, replace(CLEAN, voice="nobody"))
    assert str(error.value) == (
        "this espeak-ng has no voice 'nobody'. "
        "Install the one mmretrieval was made with: pip install 'mmretrieval[demo]'"
    )
