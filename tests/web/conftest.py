"""A small collection behind the whole of the server, in this process."""

import sys
from pathlib import Path

import pytest
from starlette.testclient import TestClient

# the videos and the model that sees colours are those of the collection's tests
sys.path.append(str(Path(__file__).parents[1] / "collection"))

from fakes import ColourModel, recording, video  # noqa: E402
from films import film  # noqa: E402

from mmretrieval.collection import Collection  # noqa: E402
from mmretrieval.web.app import create_app  # noqa: E402
from mmretrieval.web.gate import Gate  # noqa: E402
from mmretrieval.web.service import Service  # noqa: E402
from mmretrieval.web.serving import Serving  # noqa: E402


def write_videos(folder: Path) -> Path:
    """Four videos in three folders: two that browsers play, one in an old container, one with sound."""
    video(folder / "red.mp4", "red", "red")
    video(folder / "holiday" / "green.mp4", "green", "green")
    film(folder / "holiday" / "2026" / "blue.avi", "blue", codec="mpeg4", sound="mp3")
    film(folder / "holiday" / "2026" / "loud.mp4", "red", sound="aac")
    return folder


@pytest.fixture(scope="session")
def model():
    return ColourModel()


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    return write_videos(tmp_path_factory.mktemp("web") / "videos")


@pytest.fixture(scope="session")
def served(tmp_path_factory, videos, model):
    """A folder of a collection."""
    folder = tmp_path_factory.mktemp("collections") / "clips"
    broken = videos.parent / "aside"
    broken.mkdir()
    (broken / "notes.mp4").write_text("these are no pictures\n" * 20)
    Collection.build(folder, [videos, broken], model, "model", progress=False)
    return folder


@pytest.fixture(scope="session")
def service(served, model):
    service = Service(Serving(served, model, every=0.05), upload_bytes=1 << 20, seconds=20)
    yield service
    service.close()


@pytest.fixture(scope="session")
def client(service):
    """A client on this machine."""
    with TestClient(Gate(create_app(service)), base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def spoken(tmp_path):
    """The bytes of a recording that says a colour."""
    return lambda colour, **how: recording(tmp_path / "said.wav", colour, **how).read_bytes()


@pytest.fixture
def hit(client):
    """The first hit for a colour."""
    return lambda colour: client.get("/api/search", params={"text": f"a {colour} thing"}).json()["hits"][0]
