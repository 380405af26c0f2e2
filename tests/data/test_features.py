import json

import numpy as np
import pytest
import torch

from mmretrieval.data.features import FeatureStore, FeatureTable, FeatureWriter, Row, row_key, source_of, stack_rows
from mmretrieval.data.manifest import Sample
from mmretrieval.errors import ModelError, StorageError

PRINT = "ab" * 32


def table(folder, number="float32", fingerprint=PRINT, dim=6):
    return FeatureTable(folder / "speech", "speech", fingerprint, dim, number)


def key(name):
    return row_key(name, ("file", None, None))


def row(length, seed=0, dim=6, grid=None):
    values = torch.randn(length, dim, generator=torch.Generator().manual_seed(seed))
    mask = torch.ones(length, dtype=torch.bool)
    mask[length // 2] = length < 3
    return Row(values, mask, grid or (length,))


def fill(opened, rows):
    with FeatureWriter(opened) as writer:
        for name, one in rows.items():
            writer.add(key(name), one)
    opened.refresh()


def bins(opened):
    return sorted(opened.folder.glob("rows-*.bin"))


@pytest.mark.parametrize(("number", "exact"), [("float32", True), ("float16", False), ("bfloat16", False)])
def test_rows_come_back_as_they_were_written(tmp_path, number, exact):
    rows = {"a": row(5, 1), "b": row(1, 2), "c": row(12, 3, grid=(3, 2, 2))}
    fill(table(tmp_path, number), rows)
    opened = table(tmp_path, number)
    for name, wanted in rows.items():
        got = opened.read(opened.find(key(name)))
        assert torch.equal(got.mask, wanted.mask) and got.grid == wanted.grid
        if exact:
            assert torch.equal(got.values, wanted.values)
        else:
            assert got.values.element_size() == 2
            assert torch.equal(got.values, wanted.values.to(got.values.dtype))
    assert opened.find(key("d")) is None


def test_a_second_writer_adds_and_touches_nothing(tmp_path):
    opened = table(tmp_path)
    fill(opened, {"a": row(5)})
    before = bins(opened)[0].read_bytes()
    fill(opened, {"b": row(4, 1)})
    assert len(bins(opened)) == 2 and any(path.read_bytes() == before for path in bins(opened))
    assert all(
        torch.equal(opened.read(opened.find(key(n))).values, row(*r).values) for n, r in (("a", (5,)), ("b", (4, 1)))
    )


def test_a_writer_without_rows_leaves_nothing(tmp_path):
    opened = table(tmp_path)
    fill(opened, {})
    assert [path.name for path in opened.folder.iterdir()] == ["features.json"]


def test_an_interrupted_writer_keeps_what_it_recorded(tmp_path):
    opened = table(tmp_path)
    writer = FeatureWriter(opened).__enter__()
    writer.add(key("a"), row(5))
    writer.flush()
    writer.add(key("b"), row(5, 1))  # killed here: never recorded
    again = table(tmp_path)
    assert again.find(key("a")) is not None and again.find(key("b")) is None
    index = next(opened.folder.glob("*.index"))
    index.write_bytes(index.read_bytes() + b"\x07" * 40)  # half a record
    assert table(tmp_path).find(key("a")) is not None
    index.write_bytes(index.read_bytes() + b"\0" * 1000)  # blocks that the crash left empty
    assert list(table(tmp_path).places) == [key("a")]


def test_every_changed_byte_is_noticed(tmp_path):
    opened = table(tmp_path)
    fill(opened, {"a": row(5)})
    whole = bins(opened)[0].read_bytes()
    for place in range(0, len(whole), 7):
        bins(opened)[0].write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert table(tmp_path).find(key("a")) is None
    for shorter in (b"", whole[:-1]):
        bins(opened)[0].write_bytes(shorter)
        assert table(tmp_path).find(key("a")) is None
    bins(opened)[0].unlink()
    assert table(tmp_path).find(key("a")) is None


def test_a_row_written_anew_takes_the_place_of_a_damaged_one(tmp_path):
    opened = table(tmp_path)
    fill(opened, {"a": row(5)})
    path = bins(opened)[0]
    path.write_bytes(b"\xff" + path.read_bytes()[1:])
    fill(opened, {"a": row(5)})
    assert torch.equal(table(tmp_path).read(table(tmp_path).find(key("a"))).values, row(5).values)


def test_another_models_folder_is_refused(tmp_path):
    table(tmp_path)
    with pytest.raises(ModelError) as caught:
        table(tmp_path, fingerprint="cd" * 32)
    assert str(caught.value) == (
        f"{tmp_path}/speech holds features of another model: delete it, or choose another folder with data.features"
    )


def test_a_damaged_description_is_one_clear_line(tmp_path):
    table(tmp_path)
    (tmp_path / "speech/features.json").write_text("{")
    with pytest.raises(ModelError) as caught:
        table(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/speech/features.json is damaged: delete {tmp_path}/speech, its features are then computed again"
    )


def test_the_description_says_what_lies_there(tmp_path):
    table(tmp_path, "float16")
    assert json.loads((tmp_path / "speech/features.json").read_text()) == {
        "format": 1,
        "modality": "speech",
        "fingerprint": PRINT,
        "dim": 6,
        "number": "float16",
    }


@pytest.mark.parametrize(("value", "shown"), [(1e6, "1e+06"), (float("nan"), "nan")])
def test_values_that_do_not_fit_are_refused(tmp_path, value, shown):
    opened = table(tmp_path, "float16")
    large = row(3)
    large.values[1, 2] = value
    with pytest.raises(ModelError) as caught, FeatureWriter(opened) as writer:
        writer.add(key("a"), row(2))
        writer.add(key("b"), large)
    assert str(caught.value) == f"features of up to {shown} do not fit float16: use data.feature_type=float32"
    opened.refresh()
    assert opened.find(key("a")) is not None  # what was written before is kept


def test_a_full_disk_is_one_clear_line(tmp_path, monkeypatch):
    opened = table(tmp_path)
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StorageError, match="the disk is full. Free some space and try again") as caught:
        fill(opened, {"a": row(5)})
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert table(tmp_path).find(key("a")) is None


def test_keys_tell_contents_spans_and_views_apart():
    source = ("a.mp4", 1.0, 2.0)
    keys = {
        row_key("x", source),
        row_key("y", source),
        row_key("x", ("a.mp4", 1.0, 3.0)),
        row_key("x", source, 0),
        row_key("x", source, 1),
        row_key("x", source, 1, seed=5),
    }
    assert len(keys) == 6
    assert row_key("x", ("another name.mp4", 1.0, 2.0)) == row_key("x", source)


def test_what_features_are_of():
    sample = Sample("s", "v.mp4", "v.mp4", "a dog", start=1.0, end=2.0)
    assert source_of(sample, "video") == source_of(sample, "speech") == ("v.mp4", 1.0, 2.0)
    assert source_of(sample, "text") == ("a dog", None, None)
    assert source_of(Sample("s", "v.mp4", "w.wav", start=1.0, end=2.0), "speech") == ("w.wav", None, None)
    assert source_of(Sample("s", "v.mp4"), "speech") is None


def test_training_draws_among_the_views_and_evaluation_has_its_own(tmp_path):
    opened = table(tmp_path)
    sample, other = Sample("s", speech="a.wav"), Sample("t", speech="b.wav")
    fill(opened, {"0": row(2, 0), "1": row(2, 1), "eval": row(2, 9)})
    places = {
        (("a.wav", None, None), 0): opened.find(key("0")),
        (("a.wav", None, None), 1): opened.find(key("1")),
        (("b.wav", None, None), None): opened.find(key("eval")),
    }
    store = FeatureStore({"speech": opened}, {"speech": places}, views=2)
    rng = np.random.default_rng(0)
    drawn = [store.read(sample, "speech", rng).values for _ in range(20)]
    assert {int(torch.equal(values, row(2, 1).values)) for values in drawn} == {0, 1}
    assert torch.equal(store.read(other, "speech").values, row(2, 9).values)
    assert torch.equal(store.read(other, "speech", rng).values, row(2, 9).values)
    assert store.read(Sample("u", speech="c.wav"), "speech") is None


def test_rows_of_different_length_become_one_batch():
    rows = [row(5, 1), row(2, 2)]
    values, mask, grid, costs = stack_rows(rows)
    assert values.shape == (2, 5, 6) and grid == (5,) and not costs
    assert torch.equal(values[1, :2], rows[1].values) and not values[1, 2:].any()
    assert mask.tolist() == [rows[0].mask.tolist(), [True, True, False, False, False]]
    assert stack_rows([row(12, 1, grid=(3, 2, 2))] * 2).grid == (3, 2, 2)
