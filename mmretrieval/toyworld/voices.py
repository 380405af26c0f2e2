"""Spoken captions: espeak-ng (its shared library comes with the ``espeakng-loader`` wheel) and a little room acoustics.

espeak keeps the state of its oscillators from one sentence to the next, and offers no way to reset it. So that the same
sentence always gives the same samples, the library is unloaded and loaded anew for every sentence, which takes less
than a millisecond.
"""

from __future__ import annotations

import _ctypes
import ctypes
import importlib.util
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from mmretrieval.errors import DependencyError

SAMPLE_RATE = 16_000

ACCENTS = {
    "en-us": "gmw/en-US",
    "en-gb": "gmw/en",
    "en-gb-scotland": "gmw/en-GB-scotland",
    "en-gb-x-rp": "gmw/en-GB-x-rp",
    "en-029": "gmw/en-029",
    "en-gb-x-gbclan": "gmw/en-GB-x-gbclan",
    "en-gb-x-gbcwmd": "gmw/en-GB-x-gbcwmd",
    "en-us-nyc": "gmw/en-US-nyc",
}
"""Accents, and their files in espeak's data; by its file, a voice loads without a search through all languages."""
SEEN_SPEAKERS = ("m1", "m2", "m3", "m5", "m6", "m7", "f1", "f2", "f4", "Andy", "Annie", "Michael")
UNSEEN_SPEAKERS = ("m4", "m8", "f3", "f5", "linda", "Lee")

SEEN_VOICES = tuple(f"{accent}+{speaker}" for i, accent in enumerate(ACCENTS) for speaker in SEEN_SPEAKERS[i % 2 :: 2])
"""Voices of all splits."""
UNSEEN_VOICES = tuple(
    f"{accent}+{speaker}" for i, speaker in enumerate(UNSEEN_SPEAKERS) for accent in list(ACCENTS)[i % 4 :: 4]
)
"""Voices of the test split only: neither they nor their speakers are heard in training."""

Word = tuple[str, float, float]


@dataclass(frozen=True)
class Narration:
    """How a caption is spoken.

    Attributes:
        voice: Accent and speaker (espeak's voice and variant), joined by a plus sign.
        rate: Words per minute.
        pitch: 0–99, 50 = the speaker's own.
        pitch_range: Liveliness, 0–99, 50 = the speaker's own.
        snr: Speech over background noise in dB.
        reverb: Loudness of the room's echo relative to the voice, 0 = none.
        lead: Seconds before the first word.
        tail: Seconds after the last word.
        seed: Of the noise and of the room.
    """

    voice: str
    rate: int
    pitch: int
    pitch_range: int
    snr: float
    reverb: float
    lead: float
    tail: float
    seed: int


class Utterance(NamedTuple):
    """Spoken words: 16 kHz samples (n,) int16 and when each word is said, in seconds."""

    samples: np.ndarray
    words: list[Word]


def draw_narration(rng: np.random.Generator, voices: tuple[str, ...]) -> Narration:
    """Draw a way to speak from some voices."""
    return Narration(
        voice=voices[int(rng.integers(len(voices)))],
        rate=int(rng.integers(160, 216)),
        pitch=int(rng.integers(36, 65)),
        pitch_range=int(rng.integers(35, 75)),
        snr=round(float(rng.uniform(15, 35)), 1),
        reverb=round(float(rng.uniform(0.05, 0.35)), 2) if rng.random() < 0.6 else 0.0,
        lead=round(float(rng.uniform(0.06, 0.25)), 3),
        tail=round(float(rng.uniform(0.08, 0.25)), 3),
        seed=int(rng.integers(1 << 31)),
    )


def narrate(text: str, narration: Narration) -> Utterance:
    """Speak a sentence, put it into a room, add noise.

    Raises:
        DependencyError: The ``espeakng-loader`` package is not installed.
    """
    from scipy.signal import lfilter, oaconvolve

    samples, rate, starts = _speak(text, narration)
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    first, last = int(loud[0]), int(loud[-1]) + 1
    voice = _resample(samples[first:last].astype(np.float32), rate)
    lead, tail = (round(seconds * SAMPLE_RATE) for seconds in (narration.lead, narration.tail))
    sound = np.concatenate([np.zeros(lead, np.float32), voice, np.zeros(tail, np.float32)])

    rng = np.random.default_rng(narration.seed)
    power = float(np.mean(voice**2))
    if narration.reverb:
        length = int(SAMPLE_RATE * rng.uniform(0.08, 0.22))
        fade = np.exp(-6.0 * np.arange(length, dtype=np.float32) / length)
        echo = rng.standard_normal(length, np.float32) * fade
        echo *= narration.reverb / np.sqrt(np.sum(echo**2))
        sound = sound + oaconvolve(sound, echo)[: len(sound)]
    hiss = rng.standard_normal(len(sound), np.float32)
    hiss = lfilter([1.0], [1.0, -rng.uniform(0, 0.95)], hiss)  # from white towards brown
    sound = sound + hiss * np.sqrt(power / 10 ** (narration.snr / 10) / np.mean(hiss**2))
    peak = rng.uniform(0.4, 0.9) * 32767
    samples16 = np.rint(sound * (peak / np.abs(sound).max())).astype(np.int16)
    end = (lead + len(voice)) / SAMPLE_RATE
    return Utterance(samples16, _timings(text, starts, narration.lead - first / rate, narration.lead, end))


@lru_cache(maxsize=1)
def _low_pass(up: int, down: int) -> np.ndarray:
    from scipy.signal import firwin

    return firwin(20 * max(up, down) + 1, 1 / max(up, down), window=("kaiser", 5.0)).astype(np.float32)


def _resample(sound: np.ndarray, rate: int) -> np.ndarray:
    """Resample (n,) to ``SAMPLE_RATE``; the filter, whose design costs more than its use, is made once."""
    from scipy.signal import resample_poly

    common = math.gcd(SAMPLE_RATE, rate)
    up, down = SAMPLE_RATE // common, rate // common
    return resample_poly(sound, up, down, window=_low_pass(up, down))


def require_espeak() -> None:
    """Raise ``DependencyError`` if speech cannot be made on this machine."""
    if importlib.util.find_spec("espeakng_loader") is None:
        raise DependencyError(
            "the toy world speaks its captions with espeak-ng, and the package espeakng-loader is not installed. "
            "Install it with: pip install 'mmretrieval[demo]'"
        )


def _timings(text: str, starts: dict[int, float], shift: float, begin: float, end: float) -> list[Word]:
    """Turn espeak's word events into one span per word.

    Args:
        text: The sentence.
        starts: Seconds by the character a word begins at; espeak speaks some words in one go and reports only the
            first of them, the others are placed between their neighbours by their letters.
        shift: Seconds from espeak's clock to the recording's.
        begin: When speech begins in the recording.
        end: When it ends.
    """
    words = text.split()
    offsets = np.cumsum([0, *(len(word) + 1 for word in words)])
    known = {0: begin, int(offsets[-1]): end}
    known.update({at: min(max(seconds + shift, begin), end) for at, seconds in starts.items() if at in offsets[1:-1]})
    places = sorted(known)
    times = np.maximum.accumulate(np.interp(offsets, places, [known[place] for place in places]))
    return [(word, round(float(a), 3), round(float(b), 3)) for word, a, b in zip(words, times, times[1:], strict=False)]


# --- espeak-ng -------------------------------------------------------------------------------------------------------


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    """``espeak_EVENT`` of speak_lib.h."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))

_SYNCHRONOUS, _UTF8, _BY_CHARACTER = 2, 1, 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_LIST_END, _WORD = 0, 1


def _speak(text: str, narration: Narration) -> tuple[np.ndarray, int, dict[int, float]]:
    """Return samples (n,) int16, their rate, and when words begin: seconds by position of the first character."""
    require_espeak()
    import espeakng_loader

    chunks: list[bytes] = []
    starts: dict[int, float] = {}

    @_Callback
    def collect(samples, count, events) -> int:
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, 2 * count))
        i = 0
        while events[i].type != _LIST_END:
            if events[i].type == _WORD:
                starts[events[i].text_position - 1] = events[i].audio_position / 1000
            i += 1
        return 0

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    try:
        rate = library.espeak_Initialize(_SYNCHRONOUS, 0, str(espeakng_loader.get_data_path()).encode(), 0)
        if rate <= 0:
            raise DependencyError(
                "espeak-ng does not start: its data files are missing or damaged. "
                "Install them again with: pip install --force-reinstall espeakng-loader"
            )
        library.espeak_SetSynthCallback(collect)
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        accent, _, speaker = narration.voice.partition("+")
        if library.espeak_SetVoiceByName(f"{ACCENTS.get(accent, accent)}+{speaker}".encode()):
            raise DependencyError(
                f"this espeak-ng has no voice '{narration.voice}'. "
                "Install the one mmretrieval was made with: pip install 'mmretrieval[demo]'"
            )
        for parameter, value in ((_RATE, narration.rate), (_PITCH, narration.pitch), (_RANGE, narration.pitch_range)):
            library.espeak_SetParameter(parameter, value, 0)
        line = text.encode()
        library.espeak_Synth(line, ctypes.c_size_t(len(line) + 1), 0, _BY_CHARACTER, 0, _UTF8, None, None)
        library.espeak_Terminate()
    finally:
        handle = library._handle
        del library
        getattr(_ctypes, "dlclose", getattr(_ctypes, "FreeLibrary", None))(handle)
    return np.frombuffer(b"".join(chunks), np.int16), rate, starts
