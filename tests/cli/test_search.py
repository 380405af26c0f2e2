"""``mmretrieval search`` as a person or a script sees it."""

import json
import shutil

import numpy as np
import pytest
import soundfile
import tiny
from clips import write_world

from mmretrieval.collection import Collection
from mmretrieval.search.calibration import Calibration
from mmretrieval.search.searcher import Searcher


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("data") / "world", clips=8)


@pytest.fixture(scope="module")
def searcher(world, tmp_path_factory):
    model = tiny.model()
    folder = tmp_path_factory.mktemp("model") / "model"
    model.save_pretrained(folder)
    where = tmp_path_factory.mktemp("indexes") / "clips"
    return Searcher(model.eval(), Collection.build(where, [world / "videos"], model, folder, progress=False))


@pytest.fixture
def search(run, searcher):
    return lambda *arguments: run("search", searcher.collection.folder, *arguments)


def test_rows_for_scripts(search, searcher):
    code, out, err = search("a red dog", "--json")
    rows = json.loads(out)
    assert (code, err) == (0, "")
    assert list(rows[0])[:6] == ["rank", "score", "id", "path", "start", "end"]
    assert [row["id"] for row in rows] == [hit.id for hit in searcher.search(text="a red dog")]


def test_no_good_match_is_said_to_people_and_flagged_to_scripts(search, monkeypatch):
    monkeypatch.setattr(Calibration, "confidence", lambda self, modality, scores: np.zeros(len(scores)))
    code, out, _ = search("a red dog", "-k", 2)
    assert code == 0
    assert out.splitlines()[0] == "no good match; the nearest there is:" and len(out.splitlines()) == 3
    assert not any(row["matched"] for row in json.loads(search("a red dog", "--json")[1]))


def test_a_file_name_commands_no_terminal(run, searcher, world, tmp_path):
    """A person's terminal would obey these names, and no address could hold an id with a line break."""
    (tmp_path / "videos").mkdir()
    shutil.copy(world / "videos" / "1.mp4", tmp_path / "videos" / "new\nline\x1b[31m.mp4")
    (tmp_path / "videos" / "bad\x1b[2J.mp4").write_bytes(b"bad")
    model = searcher.collection.model_path()
    said = [
        *run("index", "build", tmp_path / "made", tmp_path / "videos", "--model", model),
        *run("search", tmp_path / "made", "a red dog"),
        *run("index", "info", tmp_path / "made"),
        *run("search", tmp_path / "made", "--video", tmp_path / "videos" / "bad\x1b[2J.mp4"),
    ]
    text = "".join(part for part in said if isinstance(part, str))
    assert "\x1b" not in text and text.count("bad\\x1b[2J.mp4") == 3 and text.count("/new\\nline\\x1b[31m.mp4\n") == 1
    [row] = json.loads(run("search", tmp_path / "made", "a red dog", "--json")[1])
    assert row["path"].endswith("/new\nline\x1b[31m.mp4") and row["id"].startswith("new\\nline\\x1b[31m-")


def test_pages(search):
    whole = json.loads(search("a red dog", "--json", "--no-merge")[1])
    first = json.loads(search("a red dog", "--json", "--no-merge", "-k", 3)[1])
    second = json.loads(search("a red dog", "--json", "--no-merge", "-k", 50, "--offset", 3)[1])
    assert first + second == whole
    assert search("a red dog", "-k", 3, "--no-merge")[2] == "more: --offset 3\n"


def test_filters(search, world):
    _, out, _ = search("a red dog", "--json", "--path-glob", "[23].mp4", "--folder", world / "videos")
    assert {row["path"] for row in json.loads(out)} <= {str(world / f"videos/{name}.mp4") for name in (2, 3)}
    code, out, err = search("a red dog", "--json", "--folder", world / "speech")
    assert (code, json.loads(out)) == (0, [])
    assert err == f"no moment passes the filter: none of 8 has a path in {world}/speech\n"


def test_more_like_this_mixed_and_weighed(search, searcher):
    known = searcher.collection.moments[2].id
    weights = {"text": 0.5, "like": 1.0, "without": -0.25}
    given = [word for name, weight in weights.items() for word in ("--weight", f"{name}={weight}")]
    _, out, _ = search("a red dog", "--like", known, "--without", "a blue bird", *given, "--json")
    expected = searcher.search(text="a red dog", like=known, without="a blue bird", weights=weights)
    assert [row["id"] for row in json.loads(out)] == [hit.id for hit in expected]
    assert known not in [row["id"] for row in json.loads(out)]


def test_a_file_of_queries(search, searcher, world, tmp_path):
    queries = ["a red dog", json.dumps({"speech": str(world / "speech/3.wav"), "k": 1}), "ξψω"]
    (tmp_path / "queries.txt").write_text("\n".join(queries), encoding="utf-8")
    code, out, err = search("--batch", tmp_path / "queries.txt", "-k", 2)
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert err == f"{tmp_path}/queries.txt: 2 queries answered, 1 not\n"
    assert [answer["line"] for answer in answers] == [1, 2, 3]
    assert list(answers[0]) == ["line", "query", "matched", "notes", "offset", "more", "hits"]
    assert [hit["id"] for hit in answers[0]["hits"]] == [hit.id for hit in searcher.search(text="a red dog", k=2)]
    assert len(answers[1]["hits"]) == 1
    assert list(answers[2]) == ["line", "query", "error"] and "\n" not in answers[2]["error"]


def test_the_microphone(search, searcher, world, monkeypatch):
    samples, _ = soundfile.read(world / "speech/3.wav", dtype="float32")
    monkeypatch.setattr("mmretrieval.search.microphone.record", lambda seconds: samples)
    code, out, err = search("--microphone", 2, "--json")
    assert (code, err) == (0, "speak now, for 2 s …\n")
    assert [row["id"] for row in json.loads(out)] == [hit.id for hit in searcher.search(speech=samples)]


def test_noise_is_answered_with_little_confidence_or_none(search, tmp_path):
    noise = np.random.default_rng(0).standard_normal(32_000).astype(np.float32) * 0.1
    soundfile.write(tmp_path / "noise.wav", noise, 16_000)
    code, out, _ = search("--speech", tmp_path / "noise.wav", "--json")
    assert code == 0 and all(0 <= row["confidence"] <= 1 for row in json.loads(out))


BAD = {
    "nothing asked": ([], "give something to look for: text, speech, video or like, got nothing"),
    "only what is not wanted": (
        ["--without", "a dog"],
        "nothing is asked for, only what is not wanted: give a query with a weight above 0",
    ),
    "weight without a number": (
        ["a dog", "--weight", "text"],
        "--weight says which query counts how much, like text=0.7; got 'text'",
    ),
    "weight without its query": (["a dog", "--weight", "like=1"], "there is a weight for like, but no like query"),
    "bad date": (
        ["a dog", "--after", "last week"],
        "after: 'last week' is no date: write it like 2026-01-31 or 2026-01-31T18:00",
    ),
    "batch beside a caption": (
        ["a dog", "--batch", "queries.txt", "--weight", "text=1"],
        "--batch reads all queries from its file: leave out a caption, --weight, or write them into a JSON line",
    ),
    "two recordings": (
        ["--speech", "a.wav", "--microphone", "2"],
        "give one spoken caption: --speech or --microphone, not both",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_queries_cost_one_line(search, name):
    arguments, expected = BAD[name]
    assert search(*arguments) == (2, "", f"mmretrieval: {expected}\n")
