"""A file of queries: each costs one line, and the answers are those of one search at a time."""

import json

import pytest
from fakes import recording

from mmretrieval.errors import QueryError
from mmretrieval.search import batch
from mmretrieval.search.batch import read_queries, search_batch
from mmretrieval.search.searcher import Searcher


@pytest.fixture
def searcher(model, collection):
    return Searcher(model, collection)


@pytest.fixture
def file(tmp_path, searcher):
    recording(tmp_path / "q.wav", "blue")
    recording(tmp_path / "silent.wav", None)
    lines = [
        "a red thing",
        "",
        '{"speech": "q.wav", "k": 1}',
        '{"speech": "silent.wav"}',
        "xyzzy",
        '{"txt": "a red thing"}',
        '{"text": 3}',
        '{"text": "a',
        '{"k": 3}',
        json.dumps({"like": searcher.collection.moments[0].id, "text": "a blue thing", "weights": {"text": 2}}),
        '{"text": "a green thing", "k": 1, "offset": 1}',
    ]
    (tmp_path / "queries.txt").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path / "queries.txt"


@pytest.mark.parametrize("size", [1, 3, 64])
def test_the_answers_of_one_search_at_a_time(searcher, file, monkeypatch, size):
    monkeypatch.setattr(batch, "BATCH", size)
    answers = {answer["line"]: answer for answer in search_batch(searcher, read_queries(file, k=2))}
    first = searcher.collection.moments[0].id
    alone = {
        1: {"text": "a red thing", "k": 2},
        3: {"speech": file.parent / "q.wav", "k": 1},
        10: {"like": first, "text": "a blue thing", "weights": {"text": 2}, "k": 2},
        11: {"text": "a green thing", "k": 1, "offset": 1},
    }
    assert list(answers) == [1, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    for line, query in alone.items():
        expected = searcher.search(**query).to_json()
        assert [hit["id"] for hit in answers[line]["hits"]] == [hit["id"] for hit in expected["hits"]]
        assert answers[line]["more"] == expected["more"] and answers[line]["matched"] == expected["matched"]
    errors = {line: answer["error"] for line, answer in answers.items() if "error" in answer}
    allowed = "text, speech, video, like, without, weights, k, offset"
    assert errors == {
        4: f"{file.parent}/silent.wav: the audio is silent: its loudest sample is 0.000000 of full scale. "
        "Check the microphone or the file.",
        5: "the caption 'xyzzy' has no word this model knows. Use words like those of its training captions.",
        6: f"there is no key 'txt'. Did you mean 'text'? Known are {allowed}",
        7: "'text' is text, got 3",
        8: "is no JSON object: Unterminated string starting at: line 1 column 10 (char 9)",
        9: "give something to look for: text, speech, video or like, got nothing",
    }


def test_queries_are_encoded_together(searcher, tmp_path):
    (tmp_path / "q.txt").write_text("a red thing\n" * 10)
    searcher.search(text="a red thing")
    calls = []
    embed = searcher.model.embed
    searcher.model.embed = lambda modality, items: calls.append(len(items)) or embed(modality, items)
    try:
        assert len(list(search_batch(searcher, read_queries(tmp_path / "q.txt")))) == 10
    finally:
        del searcher.model.embed
    assert calls == [10]


def test_bad_files(tmp_path):
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "sound.wav").write_bytes(b"RIFF\xff\xfe\x80")
    hint = "give a file with a caption or a JSON object a line"
    for name, expected in {
        "empty.txt": "there is no query in it; write a caption or a JSON object a line",
        "sound.wav": f"is not UTF-8 text; {hint}",
        "missing.txt": f"no such file or directory; {hint}",
    }.items():
        with pytest.raises(QueryError) as caught:
            read_queries(tmp_path / name)
        assert str(caught.value) == f"{tmp_path}/{name}: {expected}"
