"""What is added and removed while the server runs is served, and no request is lost over it."""

import gc
import threading
import time
from contextlib import closing

import pytest
from fakes import ColourModel, video
from starlette.testclient import TestClient

from mmretrieval.collection import Collection
from mmretrieval.collection.locks import held_generations
from mmretrieval.errors import CollectionError
from mmretrieval.search.milvus import Milvus, NotCopied
from mmretrieval.search.pushing import push
from mmretrieval.web.app import create_app
from mmretrieval.web.gate import Gate
from mmretrieval.web.service import Service
from mmretrieval.web.serving import Serving


@pytest.fixture
def collection(tmp_path, model):
    video(tmp_path / "videos" / "red.mp4", "red", "red")
    return Collection.build(tmp_path / "made", [tmp_path / "videos"], model, "model", progress=False)


def wait_until(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_additions_and_removals_are_seen_without_an_error(tmp_path, collection, model):
    service = Service(Serving(collection.folder, model, every=0.05))
    with TestClient(Gate(create_app(service)), base_url="http://localhost") as client:
        answers, stop = [], threading.Event()

        def ask_again_and_again():
            while not stop.is_set():
                answers.append(client.get("/api/search", params={"text": "a green thing"}))

        asking = threading.Thread(target=ask_again_and_again)
        asking.start()
        video(tmp_path / "videos" / "green.mp4", "green", "green")
        collection.add([tmp_path / "videos"], model, progress=False)
        wait_until(lambda: client.get("/api/collection").json()["generation"] == 2)
        assert client.get("/api/search", params={"text": "a green thing"}).json()["hits"][0]["name"] == "green.mp4"
        collection.remove([tmp_path / "videos" / "red.mp4"])
        wait_until(lambda: client.get("/api/collection").json()["videos"] == 1)
        stop.set()
        asking.join()
    service.close()
    assert {answer.status_code for answer in answers} == {200}


def test_an_old_generation_is_let_go_of(tmp_path, collection, model):
    serving = Serving(collection.folder, model)
    video(tmp_path / "videos" / "green.mp4", "green", "green")
    collection.add([tmp_path / "videos"], model, progress=False)
    assert held_generations(collection.folder, 2) == {1}
    assert serving.look() and not serving.look()
    gc.collect()
    assert held_generations(collection.folder, 2) == set()
    assert len(serving.present.gallery) == 2


def test_what_cannot_be_opened_leaves_the_old_one_in_service(tmp_path, collection, model):
    serving = Serving(collection.folder, model)
    manifest = (collection.folder / "manifest.json").read_text()
    (collection.folder / "manifest.json").write_text(manifest.replace("red", "rot"))
    with pytest.raises(CollectionError):
        serving.look()
    assert serving.present.number == 1
    (collection.folder / "manifest.json").write_text(manifest)
    assert not serving.look()


def test_a_collection_of_another_model_is_not_changed_to(tmp_path, collection, model):
    serving = Serving(collection.folder, model)
    for file in ("manifest.json", *collection.manifest.files):
        (collection.folder / file).unlink()
    other = ColourModel("another")
    Collection.build(tmp_path / "fresh", [tmp_path / "videos"], other, "model", progress=False)
    video(tmp_path / "videos" / "green.mp4", "green", "green")
    made = Collection.open(tmp_path / "fresh")
    made.add([tmp_path / "videos"], other, progress=False)
    for file in ("manifest.json", *made.manifest.files):
        (tmp_path / "fresh" / file).rename(collection.folder / file)
    with pytest.raises(CollectionError, match="was made by model"):
        serving.look()
    assert serving.present.number == 1


def test_what_fails_is_told_once_and_tried_again_ever_less_often(tmp_path, collection, model, monkeypatch, caplog):
    """A disk, or a server, that does not answer for a while costs that while."""
    pauses = []
    serving = Serving(collection.folder, model, every=1.0)

    class Clock:
        def wait(self, seconds: float) -> bool:
            pauses.append(seconds)
            return len(pauses) > 11

    serving._stop = Clock()
    video(tmp_path / "videos" / "green.mp4", "green", "green")
    collection.add([tmp_path / "videos"], model, progress=False)
    opened, errors = Collection.open, [OSError(5, "Input/output error")] * 8 + [ZeroDivisionError()]

    def open_later(folder):
        if errors:
            raise errors.pop(0)
        return opened(folder)

    monkeypatch.setattr(Collection, "open", open_later)
    serving._watch()
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 60.0, 1.0, 1.0]
    assert serving.present.number == 2
    assert caplog.text.count("generation 1 stays: [Errno 5] Input/output error") == 1 and "Zero" not in caplog.text


def test_what_is_added_is_served_from_milvus_once_it_is_pushed(tmp_path, collection, model, caplog):
    def ask(client) -> list[str]:
        answer = client.get("/api/search", params={"text": "a green thing"})
        assert answer.status_code == 200
        return [hit["name"] for hit in answer.json()["hits"]]

    with closing(Milvus(str(tmp_path / "lite.db"))) as milvus:
        with pytest.raises(NotCopied, match="is not in Milvus"):
            Serving(collection.folder, model, milvus=milvus)
        push(collection, milvus, progress=False)
        service = Service(Serving(collection.folder, model, every=0.02, milvus=milvus))
        with TestClient(Gate(create_app(service)), base_url="http://localhost") as client:
            assert ask(client) == ["red.mp4"]
            video(tmp_path / "videos" / "green.mp4", "green", "green")
            collection.add([tmp_path / "videos"], model, progress=False)
            wait_until(lambda: "generation 1 stays: Milvus at" in caplog.text)
            assert ask(client) == ["red.mp4"]
            push(Collection.open(collection.folder), milvus, progress=False)
            wait_until(lambda: client.get("/api/collection").json()["generation"] == 2)
            assert ask(client) == ["green.mp4", "red.mp4"]
        service.close()
    assert caplog.text.count("stays") == 1


def test_an_empty_collection_is_served(tmp_path, collection, model):
    collection.remove([tmp_path / "videos"])
    service = Service(Serving(collection.folder, model))
    with TestClient(Gate(create_app(service)), base_url="http://localhost") as client:
        facts = client.get("/api/collection").json()
        assert (facts["videos"], facts["folders"], facts["earliest"], facts["longest"]) == (0, [], None, None)
        page = client.get("/api/search", params={"text": "a red thing"}).json()
        assert page["hits"] == [] and page["notes"] == ["there is no other moment to compare with"]
    service.close()
