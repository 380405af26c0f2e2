"""The cross-data-set table: its numbers, its words and its picture."""

import json
import struct

import pytest

from mmretrieval.evaluation.cross import Cell, cross_markdown, cross_values, draw_cross, write_cross


def row(value):
    return {"recall@1": value, "recall@5": 2 * value, "recall@10": 3 * value, "map": 1.5 * value, "median_rank": 7.0}


def report(mean, text_to_video=None, subsets=None):
    full = {"text_to_video": row(text_to_video or mean), "mean": row(mean)}
    if subsets is not None:
        spread = {key: {"mean": value, "std": value / 10} for key, value in row(subsets).items()}
        full["subsets"] = {"mean": spread, "text_to_video": spread}
    return full


VT = ("video", "text")
CELLS = {
    "A": {"smit": Cell(VT, report(0.1, subsets=0.2)), "vatex": Cell(VT, report(0.3, 0.2))},
    "B": {
        "smit": Cell(("video", "speech", "text"), report(0.15, subsets=0.25)),
        "vatex": Cell(("text",), None, "model and data set share only text; retrieval needs two"),
    },
}


def test_values():
    table = cross_values(CELLS)
    assert table["A"]["smit"] == {key: value for key, value in row(0.1).items() if key != "median_rank"}
    assert table["A"]["mean"]["recall@1"] == pytest.approx(0.2)
    assert table["B"]["vatex"] is None and table["B"]["mean"] is None
    assert cross_values(CELLS, subsets=True)["A"]["smit"]["recall@1"] == 0.2
    assert cross_values(CELLS, subsets=True)["A"]["vatex"]["recall@1"] == 0.3  # too small for sets
    assert cross_values(CELLS, "text_to_video")["A"]["vatex"]["recall@1"] == 0.2
    assert cross_values(CELLS, "speech_to_video")["A"]["vatex"] is None


def test_markdown():
    assert cross_markdown(CELLS) == PAGE


PAGE = """\
## Train on (rows), test on (columns): R@1 / R@5 / R@10 / mAP in %

### Sets of 1,000, mean of all directions

| train \\ test | smit | vatex | mean |
|---|---|---|---|
| A | 20.0 ± 2.0 / 40.0 ± 4.0 / 60.0 ± 6.0 / 30.0 ± 3.0 (video, text) | 30.0 / 60.0 / 90.0 / 45.0 | \
25.0 / 50.0 / 75.0 / 37.5 |
| B | 25.0 ± 2.5 / 50.0 ± 5.0 / 75.0 ± 7.5 / 37.5 ± 3.8 | – | – |

### Full sets, mean of all directions

| train \\ test | smit | vatex | mean |
|---|---|---|---|
| A | 10.0 / 20.0 / 30.0 / 15.0 (video, text) | 30.0 / 60.0 / 90.0 / 45.0 | 20.0 / 40.0 / 60.0 / 30.0 |
| B | 15.0 / 30.0 / 45.0 / 22.5 | – | – |

- B on vatex: model and data set share only text; retrieval needs two
- A cell that names modalities was measured with these only: its mean is over fewer directions than those of others \
in its column. --modalities makes them alike.
"""


def test_a_table_per_direction():
    text = cross_markdown(CELLS, per_direction=True)
    assert [line for line in text.splitlines() if line.startswith("###")] == [
        "### Sets of 1,000, mean of all directions",
        "### Full sets, mean of all directions",
        "### Sets of 1,000, text to video",
        "### Full sets, text to video",
    ]


def test_files(tmp_path):
    files = write_cross(tmp_path / "cross", CELLS, {"models": {"A": "a", "B": "b"}})
    assert [file.name for file in files] == ["cross.md", "cross.json", "cross.png"]
    assert files[0].read_text() == PAGE
    content = json.loads(files[1].read_text())
    assert content["models"] == {"A": "a", "B": "b"}
    assert content["table"] == json.loads(
        json.dumps({"full": cross_values(CELLS), "subsets": cross_values(CELLS, subsets=True)})
    )
    assert content["cells"]["B"]["vatex"]["reason"].startswith("model and data set share only text")


def test_the_heat_map_grows_with_the_table():
    picture = draw_cross(CELLS)
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    # inches: 1.6 and three panels of 1.6; 1.1 and 0.55 per model; 120 dots each
    assert struct.unpack(">II", picture[16:24]) == (round(120 * 6.4), round(120 * 2.2))
    three = dict.fromkeys("ABC", CELLS["A"])
    assert struct.unpack(">II", draw_cross(three)[16:24])[1] == round(120 * 2.75)
