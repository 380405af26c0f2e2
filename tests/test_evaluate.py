"""Saved models on real clips: the protocol's options, and several models on several data sets."""

import json

import pytest
import tiny
from clips import write_world

from mmretrieval.data.manifest import read_manifest, write_manifest
from mmretrieval.errors import ManifestError, ModelError
from mmretrieval.evaluate import EvaluationSet, evaluate_cross, evaluate_on, evaluate_saved
from mmretrieval.evaluation.protocol import Rules


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("data") / "world", clips=16)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "model"
    tiny.model().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A model without speech."""
    folder = tmp_path_factory.mktemp("models") / "reader"
    tiny.model(seed=1, speech=None).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def listener(tmp_path_factory):
    """A model without text."""
    folder = tmp_path_factory.mktemp("models") / "listener"
    tiny.model(seed=2, text=None).save_pretrained(folder)
    return folder


def changed(world, name, **changes):
    """A manifest of the world's training clips with some keys of every row changed."""
    file = world / f"{name}.jsonl"
    rows = [json.loads(line) for line in (world / "train.jsonl").read_text().splitlines()]
    rows = [{**row, **changes} for row in rows]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_some_modalities_only(model, world):
    report = evaluate_saved(model, world / "train.jsonl", workers=0, modalities=["text", "video"])
    assert set(report["retrieval"]) == {"text_to_video", "video_to_text", "mean"}
    whole = evaluate_saved(model, world / "train.jsonl", workers=0)["retrieval"]
    assert report["retrieval"]["text_to_video"] == whole["text_to_video"]


def test_modalities_a_model_does_not_have(reader, world):
    for names, message in (
        (["video", "speech"], f"the model {reader} has no 'speech'; it knows video, text"),
        (["video"], "retrieval needs two modalities, got video"),
    ):
        with pytest.raises(ModelError) as caught:
            evaluate_saved(reader, world / "train.jsonl", modalities=names)
        assert str(caught.value) == message


def test_not_one_clip_can_be_read(reader, tmp_path):
    own = write_world(tmp_path / "own", clips=4)
    for file in (own / "videos").iterdir():
        file.write_bytes(b"no video")
    with pytest.raises(ManifestError, match=r"val\.jsonl: none of its 1 clips can be read, the first: .*0\.mp4"):
        evaluate_saved(reader, own / "val.jsonl", workers=0)


def test_options_of_the_command(run, model, world, tmp_path):
    sets = tmp_path / "sets"
    sets.mkdir()
    ids = [sample.id for sample in read_manifest(world / "train.jsonl")]
    (sets / "a.txt").write_text("\n".join(ids[:6]))
    (sets / "b.txt").write_text("\n".join(ids[4:10]))
    videos = changed(world, "one-video", video_id="the same")
    options = ("--subsets", sets, "--modalities", "video,text", "--workers", 0, "--json")
    code, out, err = run("evaluate", model, videos, *options, "--relevance", "video", "--run-dir", tmp_path / "trec")
    report = json.loads(out)
    assert (code, err) == (0, "")
    assert set(report) == {"text_to_video", "video_to_text", "mean", "subsets"}
    assert report["mean"]["recall@1"] == 1  # every caption is of the only video
    assert [len(rows) for rows in report["subsets"]["rows"]] == [6, 6]
    assert sorted(path.name for path in (tmp_path / "trec").iterdir()) == [
        f"{direction}.{kind}" for direction in ("text_to_video", "video_to_text") for kind in ("qrels", "run")
    ]
    assert len((tmp_path / "trec/text_to_video.run").read_text().splitlines()) == len(ids)
    code, out, _ = run("evaluate", model, videos, *options[:-1], "--relevance", "pair", "--ties", "pessimistic")
    assert code == 0 and "2 sets of 6" in out and "own row only" not in out


def test_one_caption_for_all_warns_and_is_chance(run, model, world):
    same = changed(world, "same", text="a red ball moves down")
    code, out, err = run("evaluate", model, same, "--json", "--workers", 0, "--ties", "expected")
    report = json.loads(out)
    assert code == 0
    assert err == ("warning: all 12 captions are 'a red ball moves down': whatever is measured with text is chance\n")
    for direction in ("text_to_video", "video_to_text", "text_to_speech"):
        assert report[direction]["median_rank"] == 6.5
        assert report[direction]["recall@1"] == pytest.approx(1 / 12)


def test_more_than_a_thousand_clips_have_stored_sets(reader, world, tmp_path):
    """A few clips under many ids: the sets appear beside the manifest and are used again."""
    few = read_manifest(world / "train.jsonl").samples
    rows = [few[i % len(few)] for i in range(1030)]
    rows = [type(row)(f"c{i}", video=row.video, text=row.text) for i, row in enumerate(rows)]
    write_manifest(tmp_path / "many.jsonl", rows)
    data = EvaluationSet.read(tmp_path / "many.jsonl", Rules())
    assert len(list((tmp_path / "many.subsets").glob("subset-*.txt"))) == 5
    (tmp_path / "many.subsets/subsets.json").unlink()
    again = EvaluationSet.read(tmp_path / "many.jsonl", Rules())
    assert again.subsets == data.subsets


def test_a_manifest_beside_which_nothing_can_be_written(monkeypatch, world, tmp_path, reader):
    from mmretrieval.errors import StorageError
    from mmretrieval.model import RetrievalModel

    def refuse(manifest, rows, folder):
        raise StorageError("the disk is full.")

    monkeypatch.setattr("mmretrieval.evaluate.stored_subsets", refuse)
    data = EvaluationSet.read(world / "val.jsonl", Rules())
    result = evaluate_on(RetrievalModel.from_pretrained(reader), data, ("video", "text"), workers=0)
    assert result["warnings"] == ["no subsets were measured: the disk is full. Name a folder for them with --subsets."]
    with pytest.raises(StorageError):
        EvaluationSet.read(world / "val.jsonl", Rules(subsets=tmp_path / "wanted"))


# --- several models on several data sets


def test_cross(model, reader, listener, world, tmp_path, monkeypatch):
    silent = changed(world, "silent", speech=None)
    models = {"all": model, "reader": reader, "listener": listener}
    data = {"world": world / "val.jsonl", "silent": silent}
    said = []
    cells, facts = evaluate_cross(models, data, tmp_path, workers=0, say=said.append)
    assert {name: [cell.modalities for cell in row.values()] for name, row in cells.items()} == {
        "all": [("video", "speech", "text"), ("video", "text")],
        "reader": [("video", "text"), ("video", "text")],
        "listener": [("video", "speech"), ("video",)],
    }
    assert cells["listener"]["silent"].retrieval is None
    assert cells["listener"]["silent"].reason == "model and data set share only video; retrieval needs two"
    alone = evaluate_saved(reader, silent, workers=0)["retrieval"]
    assert cells["reader"]["silent"].retrieval == json.loads(json.dumps(alone))
    assert len(said) == 6 and said[5] == f"listener on silent: – ({cells['listener']['silent'].reason})"
    assert facts["models"]["all"]["path"] == str(model) and len(facts["data"]["silent"]["sha256"]) == 64

    def never(*arguments, **options):
        raise AssertionError("measured again")

    with monkeypatch.context() as patched:
        patched.setattr("mmretrieval.evaluate.evaluate_on", never)
        again, _ = evaluate_cross(models, data, tmp_path, workers=0)
        assert json.loads(json.dumps(again)) == json.loads(json.dumps(cells))
    changed(world, "silent", speech=None, text="other words")
    fresh, _ = evaluate_cross({"reader": reader}, data, tmp_path, workers=0)
    assert fresh["reader"]["world"] == again["reader"]["world"]
    assert fresh["reader"]["silent"].retrieval != again["reader"]["silent"].retrieval


def test_the_cross_command(run, reader, world, tmp_path):
    options = ("--data", f"val={world}/val.jsonl", "--data", f"train={world}/train.jsonl", "--workers", 0)
    code, out, err = run("evaluate-cross", "--model", f"A={reader}", *options, "--out", tmp_path / "x")
    assert code == 0 and "| train \\ test | val | train | mean |" in out
    assert [line.split(":")[0] for line in err.splitlines()] == ["A on val", "A on train"]
    assert {path.name for path in (tmp_path / "x").iterdir()} == {"cells", "cross.md", "cross.json", "cross.png"}
    code, out, _ = run("evaluate-cross", "--model", f"A={reader}", *options, "--out", tmp_path / "x", "--json")
    assert set(json.loads(out)["full"]["A"]) == {"val", "train", "mean"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "runs/a", "--data", "d=x"], "'runs/a' is not of the form NAME=PATH"),
        (["--model", "a=b", "--data", "d=x", "--data", "d=y"], "the name 'd' was given twice"),
        (["--model", "a=b", "--data", "mean=x"], "the name 'mean' is the name of the last column"),
    ],
)
def test_names_of_models_and_data(run, arguments, message):
    code, _, err = run("evaluate-cross", *arguments)
    assert code == 2 and message in " ".join(err.split())


def test_an_unknown_modality(run, reader, world, tmp_path):
    arguments = ("--model", f"A={reader}", "--data", f"v={world}/val.jsonl", "--modalities", "vide,text")
    code, _, err = run("evaluate-cross", *arguments, "--out", tmp_path / "x")
    assert (code, err) == (
        2,
        "mmretrieval: unknown modality 'vide'. Did you mean 'video'? Known: video, speech, text.\n",
    )


def test_a_missing_model_is_said_before_anything_is_measured(run, reader, world, tmp_path):
    arguments = ("--model", f"A={reader}", "--model", "B=nowhere", "--data", f"v={world}/val.jsonl")
    code, out, err = run("evaluate-cross", *arguments, "--out", tmp_path / "x")
    assert (code, out) == (2, "") and err.startswith("mmretrieval: no model at 'nowhere'") and err.count("\n") == 1
