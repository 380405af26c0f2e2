"""``mmretrieval index export`` and ``import`` as a person or a script sees them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny

from mmretrieval.collection import Collection, Moment


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A saved model, and a collection of five moments that it is said to have made."""
    folder = tmp_path_factory.mktemp("exchange")
    model = tiny.model()
    model.save_pretrained(folder / "model")
    rows = np.random.default_rng(0).normal(size=(5, model.dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    moments = [Moment(f"clip-{n}", f"/videos/{n}.mp4", 0.0, 1.5, f"{n:064x}", {"duration": 1.5}) for n in range(5)]
    return Collection.create(folder / "collection", moments, rows, model, folder / "model")


@pytest.fixture
def model(made):
    return made.folder.parent / "model"


def test_out_and_in_again(run, made, model, tmp_path):
    out, new = tmp_path / "out", tmp_path / "new"
    assert run("index", "export", made.folder, out, "--shard", 2) == (0, f"{out}: 5 moments\n", "")
    assert run("index", "import", new, out, "--model", model) == (
        0,
        f"{new}: 5 moments of 5 videos, generation 1\n",
        "",
    )
    assert Collection.open(new).moments == made.moments
    np.testing.assert_array_equal(Collection.open(new).embeddings(), made.embeddings())


def test_a_table(run, made, tmp_path):
    head = "id,video,start,end,labels,duration,hash,modified\r\n"
    rows = [f"clip-{n},/videos/{n}.mp4,0.0,1.5,,1.5,{n:064x},\r\n" for n in range(5)]
    assert run("index", "export", made.folder, "-") == (0, head + "".join(rows), "")
    out = tmp_path / "moments.csv"
    assert run("index", "export", made.folder, out) == (0, f"{out}: 5 moments\n", "")
    assert run("index", "export", made.folder, tmp_path / "moments", "--format", "csv")[0] == 0
    assert (tmp_path / "moments").read_bytes() == out.read_bytes()
    assert out.read_bytes().decode() == head + "".join(rows)


def test_what_the_model_has_to_be(run, made, model, tmp_path):
    folder, new = tmp_path / "foreign", tmp_path / "new"
    for part in ("img_emb", "metadata"):
        (folder / part).mkdir(parents=True)
    np.save(folder / "img_emb/img_emb_0.npy", made.embeddings().astype(np.float16))
    pq.write_table(
        pa.table({"image_path": [f"/pictures/{n}.jpg" for n in range(5)]}), folder / "metadata/metadata_0.parquet"
    )
    assert run("index", "import", new, folder, "--model", model) == (
        2,
        "",
        f"mmretrieval: '{folder}' does not say which model made its embeddings: if it was this one, import it with "
        f"--any-model; with another every answer is chance\n",
    )
    assert not new.exists()
    done = run("index", "import", new, folder, "--model", model, "--any-model")
    assert done == (0, f"{new}: 5 moments of 5 videos, generation 1\n", "")
    done = run("index", "import", made.folder, folder, "--model", tmp_path / "gone", "--any-model")
    assert done[0] == 2 and done[2].count("\n") == 1


def test_places(run, made, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    refused = f"mmretrieval: '{tmp_path}/full' is not empty: give a new folder\n"
    assert run("index", "export", made.folder, tmp_path / "full") == (2, "", refused)
    refused = f"mmretrieval: '{tmp_path}/full' is there already: give another name\n"
    assert run("index", "export", made.folder, tmp_path / "full", "--format", "csv") == (2, "", refused)
    assert run("index", "export", made.folder, "-", "--format", "npy") == (
        2,
        "",
        "mmretrieval: embeddings are written to a folder: name one, or leave --format out for a table on -\n",
    )
