import pytest
from releases import make_media

from mmretrieval.data.processor import Processor
from mmretrieval.media.tokens import Tokenizer
from mmretrieval.types import ClipSpec, SpeechSpec, TextSpec


@pytest.fixture(scope="session")
def media(tmp_path_factory):
    return make_media(tmp_path_factory.mktemp("media"))


@pytest.fixture(scope="session")
def processor():
    tokenizer = Tokenizer.train(["a red dog number 0123456789 jumps over the ball, slowly"], 100)
    return Processor(ClipSpec(frames=4, size=32), SpeechSpec(), TextSpec(max_tokens=12), tokenizer)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "release"
    folder.mkdir()
    return folder


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"
