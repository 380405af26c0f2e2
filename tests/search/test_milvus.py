"""A collection searched in Milvus gives the answers that it gives by itself."""

from __future__ import annotations

import sys
from contextlib import closing

import numpy as np
import pytest
from fakes import ColourModel

from mmretrieval.collection import Collection, Moment
from mmretrieval.errors import CollectionError, DependencyError
from mmretrieval.search import milvus as module
from mmretrieval.search import outside, pushing
from mmretrieval.search.filters import Filter
from mmretrieval.search.gallery import Gallery
from mmretrieval.search.milvus import Copy, Milvus, keys_of
from mmretrieval.search.pushing import push
from mmretrieval.search.searcher import Searcher

DIM = 4


@pytest.fixture
def server(tmp_path):
    """A file of Milvus Lite."""
    with closing(Milvus(str(tmp_path / "milvus.db"))) as opened:
        yield opened


def moments(first: int, count: int) -> tuple[list[Moment], np.ndarray]:
    """Moments of videos of six, in two folders, one with an id that needs quotes."""
    made = []
    for number in range(first, first + count):
        video, place = divmod(number, 6)
        path = f"/videos/{'odd' if video % 2 else 'even'}/{video}.mp4"
        made.append(
            Moment(f'it\'s "{number}"\\', path, place * 2.0, place * 2.0 + 3.0, f"{video:064}", {"video": video})
        )
    rows = np.random.default_rng(first).standard_normal((count, DIM)).astype(np.float32)
    return made, rows / np.linalg.norm(rows, axis=1, keepdims=True)


def make(folder, count: int = 60, model=None) -> Collection:
    return Collection.create(folder, *moments(0, count), model or ColourModel(), "model")


def assert_same(collection: Collection, server: Milvus, **options) -> None:
    """Compare nearest moments, and the answers of a searcher, of both."""
    own, theirs = Searcher(ColourModel(), collection), Searcher(ColourModel(), collection, Gallery(collection, server))
    rows = np.arange(0, len(collection), 3)
    queries = np.random.default_rng(9).standard_normal((3, DIM)).astype(np.float32)
    for asked in ({"k": 7}, {"k": 7, "rows": rows}, {"k": 10_000}, {"k": 1, "rows": rows[:0]}):
        scores, found = own.gallery.nearest(queries, **asked)
        there, named = theirs.gallery.nearest(queries, **asked)
        assert found.tolist() == named.tolist() and scores.shape == there.shape
        assert np.abs(scores - there).max(initial=0) < 1e-5
    for asked in ({}, {"filters": Filter(folder="/videos/odd")}, {"offset": 3, "merge": False, "fold": False}):
        expected, answer = own.search("a red thing", k=5, **asked), theirs.search("a red thing", k=5, **asked)
        assert [hit.id for hit in expected] == [hit.id for hit in answer] and len(answer) == 5
        assert max(abs(one.score - other.score) for one, other in zip(expected, answer)) < 1e-5
        assert [hit.copies for hit in expected] == [hit.copies for hit in answer]


@pytest.mark.parametrize("few", [outside.FEW, 0])
def test_the_same_answers_with_and_without_filters_after_additions_and_removals(tmp_path, server, monkeypatch, few):
    monkeypatch.setattr(outside, "FEW", few)
    collection = make(tmp_path / "made")
    assert push(collection, server, progress=False)[1:] == (60, 0, 60)
    assert_same(collection, server)
    collection.append(*moments(60, 12))
    collection.remove(["/videos/even/2.mp4", moments(5, 1)[0][0].id])
    assert push(collection, server, progress=False)[1:] == (12, 7, 65)
    assert_same(collection, server)
    collection.compact()
    assert push(collection, server, progress=False)[1:] == (0, 0, 65)
    assert_same(collection, server)


def test_what_milvus_cannot_give_is_compared_here(tmp_path, server, monkeypatch):
    monkeypatch.setattr(outside, "FEW", 0)
    collection = make(tmp_path / "made")
    push(collection, server, progress=False)
    asked = []
    search = Milvus.search
    monkeypatch.setattr(
        Milvus, "search", lambda self, copy, queries, k: asked.append(k) or search(self, copy, queries, k)
    )
    gallery = Gallery(collection, server)
    query = collection.embeddings()[:1]
    # the farthest ones are allowed alone: what Milvus names first is not
    far = np.argsort(collection.embeddings() @ query[0])[:6]
    for rows in (None, far):
        for k in (2, 6):
            _, found = gallery.nearest(query, k, rows)
            assert found.tolist() == collection.nearest(query, k, rows)[1].tolist()
    assert asked == [2, 6, 40, 60]
    monkeypatch.setattr(outside, "MOST", 5)
    assert gallery.nearest(query, 6)[1].tolist() == collection.nearest(query, 6)[1].tolist() and len(asked) == 4


def test_many_moments_get_a_graph(tmp_path, server, monkeypatch):
    collection = make(tmp_path / "made")
    name = push(collection, server, progress=False).name
    assert server.call("describe_index", name, "embedding")["index_type"] == "FLAT"
    monkeypatch.setattr(module, "EXACT_UP_TO", 10)
    push(collection, server, progress=False)
    assert server.call("describe_index", name, "embedding")["index_type"] == "HNSW"
    assert_same(collection, server)


def test_an_interrupted_push_goes_on_and_is_not_searched(tmp_path, server, monkeypatch):
    collection = make(tmp_path / "made")
    with monkeypatch.context() as patch:
        patch.setattr(pushing, "BATCH", 20)
        call, written = Milvus.call, []

        def failing(self, verb, name, *arguments, **options):
            if verb == "upsert" and name != module.RECORDS:
                if len(written) == 2:
                    raise KeyboardInterrupt
                written.append(name)
            return call(self, verb, name, *arguments, **options)

        patch.setattr(Milvus, "call", failing)
        with pytest.raises(KeyboardInterrupt):
            push(collection, server, progress=False)
    push_line = f"mmretrieval index push {collection.folder} --milvus {server.place}"
    assert refusal(lambda: Gallery(collection, server)) == (
        f"{collection.folder} is only partly in Milvus at {server.place}: {push_line}"
    )
    assert push(collection, server, progress=False)[1:] == (20, 0, 60)
    assert_same(collection, server)


def test_a_moment_whose_embedding_is_another_is_written_again(tmp_path, server):
    made, rows = moments(0, 12)
    collection = Collection.create(tmp_path / "made", made, rows, ColourModel(), "model")
    push(collection, server, progress=False)
    collection.remove([made[3].id])
    collection.append(made[3:4], rows[:1])
    assert push(collection, server, progress=False)[1:] == (1, 0, 12)
    assert_same(collection, server)


def refusal(work) -> str:
    with pytest.raises((CollectionError, DependencyError)) as caught:
        work()
    return str(caught.value)


def test_a_copy_that_is_not_what_the_collection_is_is_not_searched(tmp_path, server):
    collection = make(tmp_path / "made")
    folder, place = collection.folder, server.place
    line = f"mmretrieval index push {folder} --milvus {place}"
    assert (
        refusal(lambda: Searcher(ColourModel(), collection, Gallery(collection, server)))
        == f"{folder} is not in Milvus at {place}: {line}"
    )
    push(collection, server, progress=False)
    opened = Gallery(collection, server)
    newer = Collection.open(folder)
    newer.append(*moments(60, 2))
    assert refusal(lambda: Gallery(newer, server)) == (
        f"Milvus at {place} has generation 1 of {folder}, this is 2: {line}"
    )
    push(newer, server, progress=False)
    # whoever has the old generation open goes on with it
    query = moments(60, 1)[1]
    assert opened.nearest(query, 3)[1].tolist() == collection.nearest(query, 3)[1].tolist()


@pytest.mark.parametrize("released", [False, True])
def test_a_push_in_the_middle_of_a_search_changes_no_answer(tmp_path, server, monkeypatch, released):
    collection = make(tmp_path / "made")
    push(collection, server, progress=False)
    opened, search = Gallery(collection, server), Milvus.search

    def pushing(self, copy, queries, k):
        answer = search(self, copy, queries, k) if not released else None
        newer = Collection.open(collection.folder)
        newer.append(*moments(60, 12))
        push(newer, server, progress=False)
        if released:
            self.call("release_collection", copy.name)
        return answer or search(self, copy, queries, k)

    monkeypatch.setattr(Milvus, "search", pushing)
    query = moments(60, 1)[1]
    assert opened.nearest(query, 5)[1].tolist() == collection.nearest(query, 5)[1].tolist()
    monkeypatch.undo()
    newest = Gallery(Collection.open(collection.folder), server)
    server.call("release_collection", Copy.of(collection.folder, collection.manifest).name)
    assert refusal(lambda: newest.nearest(query, 5)).startswith(f"Milvus at {server.place} failed (search: ")


def test_a_copy_that_milvus_let_go_of_is_made_ready_again(tmp_path, server):
    collection = make(tmp_path / "made")
    name = push(collection, server, progress=False).name
    for each in (module.RECORDS, name):  # as a file of Milvus Lite is found by the next process
        server.call("release_collection", each)
    assert_same(collection, server)
    server.call("release_collection", name)
    assert push(collection, server, progress=False)[1:] == (0, 0, 60)


def test_two_collections_of_one_name_do_not_mix(tmp_path, server):
    one, other = make(tmp_path / "a/made", 12), make(tmp_path / "b/made", 18, ColourModel("two"))
    names = {push(collection, server, progress=False).name for collection in (one, other)}
    assert len(names) == 2 and all(name.startswith("mmretrieval_made_") for name in names)
    assert_same(one, server)


def test_something_else_under_the_name_is_left_alone(tmp_path, server):
    collection = make(tmp_path / "made")
    copy = Copy.of(collection.folder, collection.manifest)
    server.prepare(copy._replace(dim=3))
    assert refusal(lambda: push(collection, server)) == (
        f"{copy.name} in Milvus at {server.place} has width 3, {collection.folder} has 4: drop it there"
    )


def test_another_process_that_writes_the_same_copy_is_noticed(tmp_path, server, monkeypatch):
    collection = make(tmp_path / "made")
    rows = Milvus.rows
    monkeypatch.setattr(Milvus, "rows", lambda self, copy: tuple(part[1:] for part in rows(self, copy)))
    assert refusal(lambda: push(collection, server, progress=False)) == (
        f"the copy of {collection.folder} in Milvus at {server.place} goes on changing: another process writes it, "
        f"too; wait until it is done, then push again"
    )


def test_ids_of_one_number_are_refused(tmp_path, server, monkeypatch):
    collection = make(tmp_path / "made", 3)
    monkeypatch.setattr(pushing, "keys_of", lambda ids: np.zeros(len(ids), np.int64))
    one, other = (moments(number, 1)[0][0].id for number in (0, 1))
    assert refusal(lambda: push(collection, server)) == (
        f"moments '{one}' and '{other}' have the same number in Milvus: give one another id"
    )
    assert len(set(keys_of(map(str, range(1000))).tolist())) == 1000


def test_milvus_is_not_there(tmp_path, monkeypatch):
    mend = "check the address and the token, and that the server runs"
    assert refusal(lambda: Milvus("http://me:secret@127.0.0.1:1", "me:secret")) == (
        "no Milvus at http://127.0.0.1:1 (Fail connecting to server on 127.0.0.1:1, illegal connection params or "
        f"server unavailable): {mend}"
    )
    mend = "give http://host:19530, or a .db file of Milvus Lite 3 that no other process has open"
    assert refusal(lambda: Milvus("nothing")) == (
        "no Milvus at nothing (uri: nothing is illegal, needs start with [unix, http, https, tcp] or a local file "
        f"endswith [.db]): {mend}"
    )
    (tmp_path / "old.db").write_bytes(b"SQLite format 3\0")
    assert refusal(lambda: Milvus(str(tmp_path / "old.db"))) == (
        f"no Milvus at {tmp_path}/old.db (Open local milvus failed): {mend}"
    )
    monkeypatch.setitem(sys.modules, "milvus_lite", None)
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    assert refusal(lambda: Milvus("a.db")) == "Milvus takes pymilvus: pip install 'mmretrieval[scale]'"


def test_a_file_without_milvus_lite(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert refusal(lambda: Milvus("a.db")) == "a.db: a file takes Milvus Lite: pip install 'mmretrieval[scale]'"


def test_a_token_is_never_said(server):
    server._secrets = ["hush"]
    assert refusal(lambda: server.call("load_collection", "hush")) == (
        f"Milvus at {server.place} failed (load_collection: collection '…' does not exist)"
    )


def test_the_command_line(tmp_path, run, monkeypatch):
    import json

    import tiny

    model = tiny.model().eval()
    model.save_pretrained(tmp_path / "model")
    made, _ = moments(0, 24)
    rows = np.random.default_rng(0).standard_normal((24, model.dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    Collection.create(tmp_path / "made", made, rows, model, tmp_path / "model")
    folder, place = tmp_path / "made", str(tmp_path / "lite.db")
    search = ["search", folder, "a red dog runs across the meadow", "--json"]
    assert run(*search, "--backend", "milvus")[::2] == (
        2, "mmretrieval: say where Milvus is: --milvus http://host:19530 or MMRETRIEVAL_MILVUS\n"
    )  # fmt: skip
    assert run(*search, "--backend", "solr")[::2] == (
        2, "mmretrieval: unknown backend 'solr': use one of faiss, milvus\n"
    )  # fmt: skip
    monkeypatch.setenv("MMRETRIEVAL_MILVUS", place)
    code, said, _ = run("index", "push", folder)
    name = Copy.of(folder, Collection.open(folder).manifest).name
    assert (code, said) == (0, f"24 moments written, 0 removed; {name} in {place} has 24 moments, generation 1\n")
    code, said, _ = run("index", "push", folder, "--json")
    assert json.loads(said) == {"name": name, "written": 0, "removed": 0, "rows": 24, "generation": 1}
    answers = [json.loads(run(*search, "--backend", backend)[1]) for backend in ("faiss", "milvus")]
    assert [hit["id"] for hit in answers[0]] == [hit["id"] for hit in answers[1]]
    assert np.allclose(*([hit["score"] for hit in answer] for answer in answers), atol=1e-5)
