import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

sys.path.insert(0, str(Path(__file__).parents[1]))  # makers.py

from makers import pictures, tone, write_video  # noqa: E402

from mmretrieval.data.manifest import Sample  # noqa: E402
from mmretrieval.data.processor import Processor  # noqa: E402
from mmretrieval.media.tokens import Tokenizer  # noqa: E402
from mmretrieval.types import ClipSpec, SpeechSpec, TextSpec  # noqa: E402

CAPTIONS = ["a dog jumps over a ball", "the cat falls", "a bus moves left", "two birds rise"]


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Four good samples, and one with a broken video."""
    folder = tmp_path_factory.mktemp("world")
    samples = []
    for number, caption in enumerate(CAPTIONS):
        frames = pictures(48, 64, 80)
        video = write_video(folder / f"{number}.mp4", [np.roll(frame, 7 * number, axis=1) for frame in frames])
        speech = folder / f"{number}.wav"
        soundfile.write(speech, tone(1.0 + 0.5 * number, pitch=300 + 100 * number), 16_000)
        samples.append(Sample(f"s{number}", video=str(video), speech=str(speech), text=caption))
    broken = folder / "broken.mp4"
    broken.write_text("not a video")
    return [*samples, Sample("broken", video=str(broken), speech=samples[0].speech, text=CAPTIONS[0])]


@pytest.fixture(scope="session")
def processor():
    tokenizer = Tokenizer.train(CAPTIONS, 150)
    return Processor(ClipSpec(frames=8, size=32), SpeechSpec(max_seconds=2.0), TextSpec(max_tokens=6), tokenizer)
