"""A spoken caption from the microphone of this machine, by the optional package ``sounddevice``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmretrieval.errors import DependencyError, MediaError, QueryError

if TYPE_CHECKING:
    import numpy as np

SAMPLE_RATE = 16_000
LONGEST = 60.0
"""Seconds that may be recorded."""


def record(seconds: float) -> np.ndarray:
    """Record from the default microphone; return mono samples at 16 kHz, (n,) float32.

    Raises:
        QueryError: ``seconds`` is not above 0 and at most a minute.
        DependencyError: sounddevice is not installed, or the system's PortAudio library is missing.
        MediaError: There is no microphone, or it cannot be used.
    """
    if not 0 < seconds <= LONGEST:
        raise QueryError(f"a recording lasts more than 0 and at most {LONGEST:g} s, got {seconds:g} s")
    try:
        import sounddevice
    except ImportError:
        raise DependencyError(
            "recording needs the optional package sounddevice: pip install 'mmretrieval[microphone]'"
        ) from None
    except OSError:  # what it says when its library is missing
        raise DependencyError("recording needs the system's PortAudio library: apt install libportaudio2") from None
    try:
        recorded = sounddevice.rec(round(seconds * SAMPLE_RATE), samplerate=SAMPLE_RATE, channels=1, dtype="float32")
        sounddevice.wait()
    except sounddevice.PortAudioError as error:
        reason = " ".join(str(error).split())
        raise MediaError(f"the microphone cannot be used: {reason}. Record a file and give it with --speech") from None
    return recorded[:, 0]
