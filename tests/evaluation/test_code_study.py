"""A whole study on a model whose codes are known colours, its pictures, and what it says about bad input."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "search"))
from colour_places import COLOURS, colour_model, film  # noqa: E402

from mmretrieval.data.dataset import ClipDataset, create_loader  # noqa: E402
from mmretrieval.data.manifest import Sample  # noqa: E402
from mmretrieval.errors import ManifestError, ModelError  # noqa: E402
from mmretrieval.evaluation.code_pictures import diagonal, draw_study  # noqa: E402
from mmretrieval.evaluation.code_study import best_seen, read_truth, study_codes  # noqa: E402

CODE = {name: number for number, name in enumerate(COLOURS)}
SHOWN = ["red", "green", "blue", "red", "blue", "green"]
PITCH = {"red": 200, "green": 1500, "blue": 6000}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Six clips: a coloured cell on black, the same colour said in the second half of a second, and typed."""
    folder = tmp_path_factory.mktemp("world")
    samples, truth = [], {}
    for number, colour in enumerate(SHOWN):
        row, column = number % 4, (2 * number) % 4
        video = film(folder / f"{number}.mkv", [{colour: (row, column)}] * 3)
        times = np.arange(8_000) / 16_000
        tones = [np.sin(2 * np.pi * PITCH[name] * times) for name in (SHOWN[number - 1], colour)]
        soundfile.write(folder / f"{number}.wav", np.concatenate(tones), 16_000)
        words = (("the", 0.0, 0.1), (SHOWN[number - 1], 0.1, 0.5), (colour, 0.5, 1.0))
        box = [column * 8, row * 8, column * 8 + 8, row * 8 + 8]
        samples.append(
            Sample(
                f"clip{number}", str(video), str(folder / f"{number}.wav"), f"a {colour} thing",
                labels=(f"be_{colour}",), words=words,
            )
        )  # fmt: skip
        truth[f"clip{number}"] = {
            "id": f"clip{number}", "setting": "night", "action": f"be_{colour}",
            "things": [{"kind": "ball", "colour": colour, "boxes": [box, None, box]}],
        }  # fmt: skip
    return samples, truth


def loaded(model, samples):
    dataset = ClipDataset(samples, model.processor, model.modalities, backend="pyav")
    return create_loader(dataset, [[0, 1, 2, 3], list(range(4, len(samples)))])


def study(model, samples, truth=None, **options):
    return study_codes(model, samples, loaded(model, samples), truth, **{"least": 1, **options})


@pytest.fixture(scope="module")
def found(world):
    return study(colour_model(), *world)


def test_words_said_and_typed(found):
    report = found.report
    assert report["clips"] == 6
    for group in ("spoken words", "typed words"):
        best = {row["name"]: row for row in report["groups"][group]["ranking"]}
        for colour in ("red", "green", "blue"):
            assert best[colour]["code"] == CODE[colour]
            assert best[colour]["precision"] > 0.85 and best[colour]["recall"] == 1
    assert "the" not in found.tables["spoken words"].names
    assert found.tables["spoken words"].occurrences.sum() == 12
    assert report["groups"]["typed words"]["detected"] == ["blue", "green", "red", "thing"]


def test_what_is_seen_in_whole_clips_and_in_place(found):
    groups = found.report["groups"]
    assert set(groups) == {
        "spoken words", "typed words", "label", "label, by position", "setting", "setting, by position",
        "thing", "thing, by position", "colour", "colour, by position", "thing in place", "colour in place",
    }  # fmt: skip
    for group, prefix in (("label", "be_"), ("colour", ""), ("colour in place", "")):
        best = {row["code"]: row for row in groups[group]["ranking"]}
        for colour in ("red", "green", "blue"):
            assert best[CODE[colour]]["name"] == prefix + colour
            assert best[CODE[colour]]["recall"] == 1
            # of three frames one has no box: there the code of the colour lies on nothing
            assert best[CODE[colour]]["precision"] == pytest.approx(2 / 3 if "place" in group else 1)
    black = next(row for row in groups["label, by position"]["ranking"] if row["code"] == CODE["black"])
    assert black["precision"] == pytest.approx(1 / 3)  # everywhere, hence a third of it in clips of each label


def test_what_is_seen_is_what_is_said(found):
    agreement = found.report["agreement"]
    assert agreement["codes"] == 3 and agreement["agreeing"] == 1 and agreement["by_chance"] == pytest.approx(1 / 3)
    assert {pair["said"] for pair in agreement["pairs"]} == {"red", "green", "blue"}
    assert found.report["usage"]["used"] == 4 and found.report["usage"]["dead"] == 1
    json.dumps(found.report)


def test_a_codebook_larger_than_what_is_seen_and_permuted(world, found):
    large = study(colour_model(repeat=20), *world)
    assert large.report["usage"]["dead"] == 96 and large.report["agreement"] == found.report["agreement"]


def test_without_words_labels_and_truth(world):
    bare = [replace(sample, words=(), labels=()) for sample in world[0]]
    report = study(colour_model(), bare).report
    assert list(report["groups"]) == ["typed words"] and report["agreement"] is None and report["seen"] == []


def test_all_captions_equal(world):
    same = [replace(sample, text="a red thing", words=(("red", 0.5, 1.0),)) for sample in world[0]]
    found = study(colour_model(), same)
    assert found.report["groups"]["typed words"]["names"] == 2
    assert found.report["groups"]["spoken words"]["names"] == 1


def test_least_and_stop_words(world):
    found = study(colour_model(), *world, least=5, stop_words={"a"})
    assert set(found.tables["typed words"].names) == {"thing"}
    assert set(found.tables["spoken words"].names) == {"the"}


def test_boxes_decide_about_things():
    row = lambda name, f1: [{"code": 1, "name": name, "f1": f1, "precision": f1}]  # noqa: E731
    rankings = {"spoken words": row("w", 1), "thing": row("dog", 0.9), "thing in place": row("cat", 0.2),
                "label": row("run", 0.3), "label, by position": row("no", 1)}  # fmt: skip
    (best,) = best_seen(rankings)
    assert (best["name"], best["group"]) == ("run", "label")


def test_pictures_are_drawn(found, tmp_path):
    written = draw_study(found, colour_model(), tmp_path)
    assert [path.name for path in written] == [
        "usage.png", "matrix-spoken-words.png", "matrix-typed-words.png", "matrix-label.png", "matrix-setting.png",
        "matrix-thing.png", "matrix-colour.png", "matrix-thing-in-place.png", "matrix-colour-in-place.png", "codes.png",
    ]  # fmt: skip
    for path in written:
        with Image.open(path) as picture:
            assert picture.format == "PNG" and min(picture.size) > 150
            assert len(picture.convert("RGB").getcolors(1 << 22)) > 20, path


def test_the_diagonal_has_the_best_code_of_each_name(found):
    table = found.tables["colour"]
    names, codes = diagonal(table)
    assert {(table.names[n], int(c)) for n, c in zip(names, codes)} == {(c, CODE[c]) for c in ("red", "green", "blue")}
    few, _ = diagonal(table, most=2)
    assert len(few) == 2


def message(error, call):
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


def test_messages(world, tmp_path):
    samples, truth = world
    assert message(ModelError, lambda: study(colour_model(coded=False), samples)) == (
        "this model has no codebook: there are no codes to study. Train it with model.codebook"
    )
    assert message(ModelError, lambda: study(tiny.model(started=False), samples)) == (
        "this model was saved before its codebook was started: there are no codes to study. "
        "Train it with model.codebook"
    )
    assert message(ManifestError, lambda: study(colour_model(), samples, {"other": {}})) == (
        "the truth says nothing about these clips: it has 'other', they are 'clip0' and 5 more"
    )
    short = {"clip0": {"things": [{"kind": "ball", "boxes": [None, None]}]}}
    assert message(ManifestError, lambda: study(colour_model(), samples, short)) == (
        "the truth about 'clip0' has boxes for 2 frames, its clip has 3: one box, or null, is needed for each"
    )
    missing = [replace(sample, video=str(tmp_path / "none.mp4")) for sample in samples]
    assert message(ManifestError, lambda: study(colour_model(), missing)) == (
        f"none of the 6 clips could be read. The first: clip0: {tmp_path}/none.mp4: no such file."
    )
    assert message(ManifestError, lambda: read_truth(tmp_path / "truth.jsonl")) == (
        f"{tmp_path}/truth.jsonl: no such file of truth. It is a file of JSON lines, one clip each."
    )
    (tmp_path / "truth.jsonl").write_text('{"id": "a"}\n\n["b"]\n')
    assert message(ManifestError, lambda: read_truth(tmp_path / "truth.jsonl")) == (
        f'{tmp_path}/truth.jsonl, line 3: is no JSON object with an "id"'
    )


def test_a_clip_that_cannot_be_read_is_set_aside(world, tmp_path):
    samples = [*world[0], replace(world[0][0], id="gone", video=str(tmp_path / "none.mp4"))]
    found = study(colour_model(), samples, world[1])
    assert found.report["clips"] == 6 and [failure.id for failure in found.failures] == ["gone"]
