"""Recording, with a stand-in for the package that does it."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from mmretrieval.errors import DependencyError, MediaError, QueryError
from mmretrieval.search.microphone import record


class PortAudioError(Exception):
    pass


@pytest.fixture
def device(monkeypatch):
    """A microphone that records a ramp."""

    def rec(frames, samplerate, channels, dtype):
        return np.linspace(0, 1, frames, dtype=dtype).reshape(-1, channels)

    made = SimpleNamespace(rec=rec, wait=lambda: None, PortAudioError=PortAudioError)
    monkeypatch.setitem(sys.modules, "sounddevice", made)
    return made


def test_mono_samples_at_16_khz(device):
    samples = record(1.5)
    assert samples.shape == (24_000,) and samples.dtype == np.float32


def message(kind, seconds=1.0):
    with pytest.raises(kind) as caught:
        record(seconds)
    return str(caught.value)


def test_no_microphone(device):
    def rec(*_, **__):
        raise PortAudioError("Error querying device -1")

    device.rec = rec
    assert message(MediaError) == (
        "the microphone cannot be used: Error querying device -1. Record a file and give it with --speech"
    )


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert message(DependencyError) == (
        "recording needs the optional package sounddevice: pip install 'mmretrieval[microphone]'"
    )


@pytest.mark.parametrize("seconds", [0.0, -1.0, 61.0])
def test_lengths_that_are_none(device, seconds):
    expected = f"a recording lasts more than 0 and at most 60 s, got {seconds:g} s"
    assert message(QueryError, seconds) == expected
