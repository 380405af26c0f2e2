"""A table of moments, for people and to be read again."""

from __future__ import annotations

import csv
import io
import json

import pytest
from shards import embeddings

from mmretrieval.collection import Collection, Moment
from mmretrieval.collection.exchange import list_moments
from mmretrieval.data.sources.files import FORMULA, guarded, unguarded
from mmretrieval.errors import CollectionError, ManifestError


def test_a_table_of_moments(tmp_path, model):
    facts = {"duration": 3, "modified": "2026-01-31T18:00:00+00:00", "labels": ["sea", 'a "dog"']}
    rows = [
        Moment("=1+1", '/videos/a "b", c.mp4', 0.0, 1.5, "ab", facts),
        Moment("@x", "/videos/ξ\n.mp4", 1.0, 2.0, "-cd", {"labels": ["+1"]}),
        Moment("c-d", "/videos/d.mp4", 2.0, 3.0, "ef", {}),
    ]
    collection = Collection.create(tmp_path / "made", rows, embeddings(3), model, tmp_path / "model")
    assert list_moments(collection, tmp_path / "out.csv") == 3
    content = (tmp_path / "out.csv").read_bytes().decode("utf-8")
    assert content == (
        "id,video,start,end,labels,duration,hash,modified\r\n"
        '\'=1+1,"/videos/a ""b"", c.mp4",0.0,1.5,"sea|a ""dog""",3.0,ab,2026-01-31T18:00:00+00:00\r\n'
        "'@x,\"/videos/ξ\n.mp4\",1.0,2.0,'+1,,'-cd,\r\n"
        "c-d,/videos/d.mp4,2.0,3.0,,,ef,\r\n"
    )
    stream = io.StringIO(newline="")
    list_moments(collection, stream)
    assert stream.getvalue() == content
    assert [row[1] for row in csv.reader(io.StringIO(content, newline=""))][1:] == [row.path for row in rows]
    with pytest.raises(CollectionError) as caught:
        list_moments(collection, tmp_path / "out.csv")
    assert str(caught.value) == f"'{tmp_path}/out.csv' is there already: give another name"


def test_a_table_leaves_out_what_was_removed(made):
    stream = io.StringIO()
    assert list_moments(made, stream) == 10
    ids = [row["id"] for row in csv.DictReader(io.StringIO(stream.getvalue()))]
    assert ids == [moment.id for moment in made.moments]


def test_a_collection_is_built_from_its_table_again(tmp_path, clips, model):
    rows = [{"id": "=1+1", "start": 0.25, "end": 1.5, "labels": ["+red", "it's"]}, {"id": "'b", "end": 1.0}]
    manifest = tmp_path / "rows.jsonl"
    manifest.write_text("".join(json.dumps({"video": str(clips / "red.mp4"), **row}) + "\n" for row in rows))
    first = Collection.build(tmp_path / "first", [manifest, clips], model, tmp_path / "model", window=1.0)
    list_moments(first, tmp_path / "moments.csv")
    again = Collection.build(tmp_path / "again", [tmp_path / "moments.csv"], model, tmp_path / "model")
    facts = [(moment[:5], moment.metadata.get("labels")) for moment in first.moments]
    assert sorted(facts) == sorted((moment[:5], moment.metadata.get("labels")) for moment in again.moments)
    assert len(facts) > 3 and not again.manifest.quarantined


def test_rows_of_a_table_that_are_no_moments_are_set_aside(tmp_path, clips, model):
    table = tmp_path / "moments.csv"
    table.write_text(f"id,video,start\na,{clips}/red.mp4,0.5\nb,{clips}/blue.mp4,soon\nc\n")
    built = Collection.build(tmp_path / "made", [table], model, tmp_path / "model")
    assert [moment.id for moment in built.moments] == ["a"]
    assert [(record["path"], record["reason"]) for record in built.manifest.quarantined] == [
        (f"{table}, line 3", "'start' is 'soon', it must be a number of seconds."),
        (f"{table}, line 4", "has 1 cells, 3 are needed: c"),
    ]
    table.write_text("path,start\n")
    with pytest.raises(ManifestError, match="has none of the columns video, speech and text"):
        Collection.build(tmp_path / "other", [table], model, tmp_path / "model")


@pytest.mark.parametrize("text", ["=1", "'=1", "''", "'", "it's", "'s", "", "a=1", "\n", "＝1", "'＝1", "''=1"])
def test_what_was_guarded_is_given_back(text):
    assert unguarded(guarded(text)) == text
    assert guarded(text)[:1] not in set(FORMULA)
