from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from fakes import COLOURS, FOLDER, ColourModel, recording, video

from mmretrieval.collection import Collection
from mmretrieval.errors import CollectionError, MediaError, QueryError
from mmretrieval.search import Filter, Searcher, hits_to_json
from mmretrieval.search.gallery import Gallery
from mmretrieval.types import Hit


@pytest.fixture
def searcher(model, collection):
    return Searcher(model, collection)


def names(hits: list[Hit]) -> list[str]:
    return [Path(hit.path).stem for hit in hits]


def message(kind: type[Exception], searcher: Searcher, **query) -> str:
    with pytest.raises(kind) as caught:
        searcher.search(**query)
    return str(caught.value)


@pytest.mark.parametrize("colour", COLOURS)
def test_a_typed_caption_finds_its_video(searcher, clips, colour):
    hits = searcher.search(text=f"a {colour} thing", k=3)
    assert sorted(names(hits)) == ["blue", "green", "red"]
    assert hits[0].path == str(clips / f"{colour}.mp4") and (hits[0].start, hits[0].end) == (0.0, 2.0)
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert 1.0 >= round(hits[0].score, 3) > hits[1].score >= hits[2].score


@pytest.mark.parametrize("colour", COLOURS)
def test_a_spoken_caption_finds_its_video(searcher, tmp_path, colour):
    assert names(searcher.search(speech=recording(tmp_path / "q.wav", colour), k=1)) == [colour]


def test_a_spoken_caption_as_samples(searcher):
    times = np.arange(16_000) / 16_000
    assert names(searcher.search(speech=np.sin(2 * np.pi * 4000 * times).astype(np.float32), k=1)) == ["blue"]


def test_silence_around_the_words_is_cut_off(searcher, tmp_path, monkeypatch):
    heard = []
    original = searcher.model.processor.speech
    monkeypatch.setattr(searcher.model.processor, "speech", lambda wave: heard.append(len(wave)) or original(wave))
    searcher.search(speech=recording(tmp_path / "q.wav", "red", seconds=1.0, silence=2.0))
    assert 16_000 <= heard[0] <= 24_000


def test_an_example_clip_finds_itself(searcher, clips):
    assert names(searcher.search(video=clips / "green.mp4", k=1)) == ["green"]


def test_a_clip_as_frames_is_the_clip(searcher, clips):
    frames = searcher.model.processor.video(clips / "green.mp4").numpy()
    assert searcher.search(video=frames).hits == searcher.search(video=clips / "green.mp4").hits


def test_a_gallery_may_show_less(model, collection):
    """Filters see the paths of the gallery that the searcher is given."""

    class Shown(Gallery):
        @property
        def paths(self):
            codes, paths = Gallery.paths.func(self)
            return codes, [f"/{Path(path).name}" for path in paths]

    searcher = Searcher(model, collection, Shown(collection))
    assert names(searcher.search(text="a red thing", filters=Filter(path_glob="/green*"))) == ["green"]
    assert searcher.search(text="a red thing", filters=Filter(path_glob="*/clips/*")).hits == ()


def test_k_limits_and_everything_is_all_there_is(searcher):
    assert len(searcher.search(text="a red thing", k=2)) == 2
    assert len(searcher.search(text="a red thing", k=50)) == 3


def test_json_shape(searcher):
    (hit,) = hits_to_json(searcher.search(text="a red thing", k=1))
    assert list(hit)[:6] == ["rank", "score", "id", "path", "start", "end"]
    assert list(hit)[6:] == ["confidence", "matched", "best", "moments", "copies"]
    assert hit["best"] == [0.0, 2.0] and hit["moments"] == [hit["id"]] and hit["copies"] == []
    assert json.loads(json.dumps(hit)) == hit
    assert type(hit["score"]) is float and type(hit["rank"]) is int


def test_no_query(searcher):
    said = message(QueryError, searcher)
    assert said == "give something to look for: text, speech, video or like, got nothing"
    said = message(QueryError, searcher, weights={"text": 1.0})
    assert said == "give something to look for: text, speech, video or like, got weights for text alone"


def test_k_below_one(searcher):
    assert message(QueryError, searcher, text="a red thing", k=0) == "k is the number of answers and at least 1, got 0"


@pytest.mark.parametrize("caption", ["", "  \n"])
def test_an_empty_caption(searcher, caption):
    said = message(QueryError, searcher, text=caption)
    assert said == "the caption is empty: say in a few words what is to be seen."


def test_a_caption_of_unknown_words(searcher):
    said = message(QueryError, searcher, text="xyzzy")
    assert said == "the caption 'xyzzy' has no word this model knows. Use words like those of its training captions."


def test_a_modality_that_the_model_does_not_have(collection):
    deaf = ColourModel(modalities=("video", "text"))
    said = message(QueryError, Searcher(deaf, collection), speech="q.wav")
    assert said == "a spoken caption cannot be searched for: this model knows video, text"


def test_silent_empty_and_missing_recordings(searcher, tmp_path):
    silent = recording(tmp_path / "silent.wav", None)
    assert message(MediaError, searcher, speech=silent) == (
        f"{silent}: the audio is silent: its loudest sample is 0.000000 of full scale. "
        f"Check the microphone or the file."
    )
    empty = recording(tmp_path / "empty.wav", "red", seconds=0)
    assert message(MediaError, searcher, speech=empty) == f"{empty}: the audio track is empty."
    assert message(MediaError, searcher, speech=tmp_path / "no.wav") == f"{tmp_path}/no.wav: no such file."
    assert message(MediaError, searcher, video=tmp_path / "no.mp4") == f"{tmp_path}/no.mp4: no such file."


def test_a_collection_of_another_model_is_refused(collection, tmp_path):
    other = ColourModel("two")
    with pytest.raises(CollectionError) as caught:
        Searcher(other, collection)
    assert str(caught.value) == (
        f"{collection.folder} was made by model 7692c3ad, this is {other.fingerprint()[:8]}: open it with "
        f"{tmp_path}/model, or build another with 'mmretrieval index build FOLDER --model MODEL VIDEOS'"
    )


@pytest.fixture
def saved_models(monkeypatch, model):
    """Stand in for loading: which folders were asked for."""
    asked = []

    class RetrievalModel:
        @classmethod
        def from_pretrained(cls, folder):
            asked.append(Path(folder))
            return model

    monkeypatch.setitem(sys.modules, "mmretrieval.model", types.SimpleNamespace(RetrievalModel=RetrievalModel))
    return asked


def test_the_collection_remembers_its_model(collection, tmp_path, saved_models):
    (tmp_path / "model").mkdir()
    assert len(Searcher.open(collection.folder).search(text="a red thing")) == 3
    Searcher.open(collection.folder, model=tmp_path / "copy")
    assert saved_models == [tmp_path / "model", tmp_path / "copy"]


def test_model_and_collection_may_move_together_or_the_collection_alone(tmp_path, clips, model, saved_models):
    (tmp_path / "run" / "model").mkdir(parents=True)
    Collection.build(tmp_path / "run" / "index", [clips], model, tmp_path / "run" / "model")
    (tmp_path / "run" / "index").rename(tmp_path / "alone")
    Searcher.open(tmp_path / "alone")
    (tmp_path / "alone").rename(tmp_path / "run" / "index")
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    Searcher.open(tmp_path / "elsewhere" / "index")
    assert saved_models == [tmp_path / "run" / "model", tmp_path / "elsewhere" / "model"]


def test_a_model_that_is_gone(collection, tmp_path, saved_models):
    with pytest.raises(CollectionError) as caught:
        Searcher.open(collection.folder)
    assert str(caught.value) == (
        f"{collection.folder} was made with the model in '{tmp_path}/model', which is no longer there: "
        f"say where it is with --model"
    )
    assert saved_models == []


def test_a_typed_search_in_a_fresh_process_loads_no_decoder_no_librosa_no_training_code(collection):
    code = f"""
import sys
sys.path.insert(0, {FOLDER!r})
from mmretrieval.search.searcher import Searcher
from mmretrieval.collection import Collection
from fakes import ColourModel
model = ColourModel()
hits = Searcher(model, Collection.open({str(collection.folder)!r})).search(text="a blue thing")
assert hits[0].path.endswith("blue.mp4"), hits
heavy = {{"librosa", "av", "decord", "soundfile", "torchaudio", "accelerate", "sklearn", "PIL", "matplotlib"}}
print(sorted(name for name in sys.modules if name in heavy or name.startswith("mmretrieval.training")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_a_removed_video_is_no_answer(searcher, collection, clips, model):
    collection.remove([clips / "red.mp4"])
    assert "red" not in names(Searcher(model, Collection.open(collection.folder)).search(text="a red thing"))


def test_a_renamed_video_is_found_where_it_is(searcher, collection, clips, model):
    (clips / "red.mp4").rename(clips / "crimson.mp4")
    collection.add([clips], model)
    assert names(Searcher(model, collection).search(text="a red thing", k=1)) == ["crimson"]


def test_moments_of_a_long_video_are_answers_of_their_own(tmp_path, model):
    long = video(tmp_path / "long.mp4", *["red"] * 3, *["green"] * 3, *["blue"] * 3)
    searcher = Searcher(model, Collection.build(tmp_path / "made", [long], model, "model"))
    hit = searcher.search(text="a green thing", k=1)[0]
    assert (hit.start, hit.end) == (3.0, 6.0)
