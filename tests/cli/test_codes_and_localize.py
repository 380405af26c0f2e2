"""The verbs ``codes`` and ``localize`` as people and scripts call them."""

import json

import pytest
import tiny
from clips import write_world
from PIL import Image

from mmretrieval.cli.codes import format_study


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = write_world(tmp_path_factory.mktemp("data") / "world", clips=8)
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    for row in rows:
        words = row["text"].split()
        row["labels"] = [words[2]]
        row["words"] = [[words[1], 0.0, 0.25], [words[2], 0.25, 0.5]]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    truth = [{"id": row["id"], "setting": "dark", "things": [{"kind": row["labels"][0]}]} for row in rows]
    (folder / "truth.jsonl").write_text("".join(json.dumps(row) + "\n" for row in truth))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "model"
    tiny.model().save_pretrained(folder)
    return folder


def test_codes_for_people(run, model, world, tmp_path):
    out = tmp_path / "codes"
    code, text, _ = run(
        "codes", model, world / "train.jsonl", "--truth", world / "truth.jsonl", "--out", out, "--least", 1, "-n", 3,
        "--workers", 0,
    )  # fmt: skip
    assert code == 0
    lines = text.splitlines()
    assert lines[0].split() == ["code", "word", "F1", "P", "R", "seen", "F1", "P", "R"]
    best = lines[1 : lines.index("")]
    assert 1 <= len(best) <= 3 and all(len(line.split()) in (5, 9) for line in best)
    assert any(line.startswith("spoken words:") for line in lines) and any(line.startswith("codes:") for line in lines)
    report = json.loads((out / "codes.json").read_text())
    assert report["clips"] == 6 and {"setting", "thing", "label"} < set(report["groups"])
    with Image.open(out / "codes.png") as picture:
        assert picture.format == "PNG"


def test_codes_for_scripts(run, model, world):
    code, text, _ = run("codes", model, world / "train.jsonl", "--json", "--workers", 0, "--stop-words", "ball, red")
    report = json.loads(text)
    assert code == 0 and set(report) == {
        "clips", "least", "detected_from", "usage", "groups", "seen", "agreement",
    }  # fmt: skip
    assert report["clips"] == 6 and set(report["usage"]["perplexity"]) == {"joint", "video", "speech", "text"}


def test_a_report_without_spoken_words_says_so():
    group = {"names": 1, "detected": [], "ranking": []}
    usage = {"used": 1, "size": 2, "dead": 1, "shared": 0.0, "balanced": 0.0, "perplexity": {"joint": 1.0}, "jsd": {}}
    report = {"groups": {"typed words": group}, "seen": [], "usage": usage, "agreement": None, "detected_from": 0.35}
    lines = format_study(report, 5).splitlines()
    assert lines[2] == "spoken words: none; they need a model with speech and 'words' in the manifest"


def test_localize_by_text(run, model, world, tmp_path):
    video = world / "videos/3.mp4"
    picture = tmp_path / "heat.png"
    code, text, _ = run("localize", model, video, "--text", "a red dog runs", "--word", "dog", "--out", picture)
    assert code == 0
    assert "hottest place of 'dog' (x, y in a frame of 32 × 32)" in text and text.endswith(f"picture: {picture}\n")
    assert len(text.splitlines()) == 6
    code, text, _ = run("localize", model, video, "--text", "a red dog runs", "--json", "--size", 32, "--windows", 2)
    heat = json.loads(text)
    assert set(heat) == {"name", "times", "frame", "peaks", "values"} and heat["name"] == "a red dog runs"
    assert len(heat["times"]) == len(heat["peaks"]) == len(heat["values"]) == 8


def test_localize_by_speech(run, model, world, tmp_path):
    picture = tmp_path / "heat.gif"
    asked = ["localize", model, world / "videos/3.mp4", "--speech", world / "speech/3.wav", "--from", 0.1, "--to", 0.3]
    code, text, _ = run(*asked, "--out", picture, "--method", "features")
    assert code == 0 and "hottest place of '3.wav, 0.10–0.30 s'" in text
    with Image.open(picture) as moving:
        assert moving.format == "GIF" and moving.size == (32, 32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give exactly one of --text and --speech"),
        (["--text", "a dog", "--speech", "q.wav"], "give exactly one of --text and --speech"),
        (
            ["--speech", "q.wav", "--word", "dog"],
            "--word belongs to --text; say with --from and --to which part of the recording is meant",
        ),
        (
            ["--text", "a dog", "--from", "1"],
            "--from and --to belong to --speech; say with --word which part of the caption is meant",
        ),
        (["--text", "a dog", "--out", "heat.jpg"], "a picture is a .png or a .gif file, got 'heat.jpg'"),
        (
            ["--text", "a red dog", "--word", "cat"],
            "the caption 'a red dog' has no 'cat'. Its words are: a, red, dog",
        ),
        (
            ["--text", "a red dog", "--method", "cods"],
            "unknown method 'cods'. Did you mean 'codes'? Known: codes, raw_codes, best_code, features, left_out, "
            "code_features.",
        ),
        (["--speech", "{world}/speech/3.wav", "--from", "0.7"],
         "{world}/speech/3.wav: asked for 0.7 s onwards, the audio ends at 0.5 s."),
    ],
)  # fmt: skip
def test_messages_of_localize(run, model, world, arguments, message):
    arguments = [argument.replace("{world}", str(world)) for argument in arguments]
    code, out, err = run("localize", model, world / "videos/3.mp4", *arguments)
    assert (code, out, err) == (2, "", f"mmretrieval: {message.replace('{world}', str(world))}\n")


def test_a_model_without_codebook(run, world, tmp_path):
    folder = tmp_path / "model"
    tiny.model(codebook=None).save_pretrained(folder)
    assert run("localize", folder, world / "videos/3.mp4", "--text", "a red dog") == (
        2, "", "mmretrieval: this model has no codebook, which the method 'codes' needs: use the method 'features' "
        "(--method features)\n",
    )  # fmt: skip
    assert run("codes", folder, world / "train.jsonl", "--workers", 0) == (
        2, "", "mmretrieval: this model has no codebook: there are no codes to study. Train it with model.codebook\n",
    )  # fmt: skip
    code, text, _ = run("localize", folder, world / "videos/3.mp4", "--text", "a red dog", "--method", "left_out")
    assert code == 0 and "hottest place of 'a red dog'" in text
