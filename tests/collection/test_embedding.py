"""What becomes of clips: the decoded frames are the model's own, the deployed backbone stays close, still ones go."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import tiny
import torch
from fakes import COLOURS, ColourModel, video
from makers import pictures, write_video

from mmretrieval.backbones.deploy import fast_precisions
from mmretrieval.collection import Collection
from mmretrieval.collection.cutting import Cutting
from mmretrieval.collection.decoding import WHOLE, Changed, Clip, Decoder, Dropped, Job, Opened
from mmretrieval.collection.embed import Embedder
from mmretrieval.collection.sources import SetAside
from mmretrieval.collection.summary import Summary, describe
from mmretrieval.data.processor import Processor
from mmretrieval.errors import CollectionError
from mmretrieval.files import sha256_file
from mmretrieval.types import ClipSpec

PLAIN = Cutting()


def decode(path, cutting: Cutting = PLAIN, spans=(WHOLE,), known=(), most=None, **spec) -> list:
    processor = Processor(clip=ClipSpec(**{"frames": 4, "size": 32, **spec}))
    job = Job(str(path), sha256_file(path), tuple(spans), frozenset(known), most)
    return list(Decoder(processor, "pyav", cutting)(job))


@pytest.mark.parametrize("spec", [{}, {"fps": 5.0}, {"resize": "squash"}, {"size": 20, "frames": 7}])
def test_clips_are_what_the_processor_makes_of_the_same_spans(tmp_path, spec):
    path = write_video(tmp_path / "a.mp4", pictures(90, 90, 160), fps=15)
    opened, *clips = decode(path, Cutting(window=2.0, stride=1.3), **spec)
    assert isinstance(opened, Opened) and opened.duration == 6.0 and len(clips) == 4
    processor = Processor(clip=ClipSpec(**{"frames": 4, "size": 32, **spec}))
    for clip in clips:
        assert isinstance(clip, Clip) and not clip.alone
        expected = processor.video(path, clip.start, clip.end)
        assert torch.equal(torch.from_numpy(clip.frames), expected)


def test_a_long_video_is_decoded_in_parts(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", pictures(90, 48, 48), fps=15)
    whole = decode(path, Cutting(window=1.0, stride=0.5))
    monkeypatch.setattr("mmretrieval.collection.decoding.MOMENTS_AT_ONCE", 3)
    parts = decode(path, Cutting(window=1.0, stride=0.5))
    assert len(whole) == len(parts) == 12
    for one, other in zip(whole[1:], parts[1:]):
        assert one[:4] == other[:4] and (one.frames == other.frames).all()


@pytest.mark.parametrize("count", [1, 2, 3, 7, 12, 40])
def test_a_sample_is_from_all_over_the_video(tmp_path, count):
    path = write_video(tmp_path / "a.mp4", pictures(90, 48, 48), fps=15)
    cutting = Cutting(window=1.0, stride=0.5, keep_still=True)
    whole = decode(path, cutting)[1:]
    assert len(whole) == 11
    sample = decode(path, cutting, most=count)[1:]
    parts = np.array_split(np.arange(1100), count)  # a hundredth of a moment each
    expected = [parts[place][len(parts[place]) // 2] // 100 for place in range(count)] if count < 11 else range(11)
    assert [piece.start for piece in sample] == [whole[place].start for place in expected]
    named = decode(path, spans=[(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)], most=1)[1:]
    assert [piece.start for piece in named] == [1.0]


def test_a_sample_says_nothing_of_the_video(tmp_path):
    path = write_video(tmp_path / "a.mp4", pictures(90, 48, 48), fps=15)
    job = Job(str(path), "another file by now", (WHOLE,), frozenset())
    decoder = Decoder(Processor(clip=ClipSpec(frames=4, size=32)), "pyav", PLAIN)
    assert [type(piece) for piece in decoder(job)] == [Opened, Clip, Clip, Changed]
    assert [type(piece) for piece in decoder(job._replace(most=1))] == [Opened, Clip]


def with_a_pause(path):
    """Two seconds of motion, four that stand still, two black, one of motion."""
    moving = pictures(27, 48, 48)
    black = [np.zeros((48, 48, 3), np.uint8)] * 18
    return write_video(path, [*moving[:18], *[moving[17]] * 36, *black, *moving[18:]], fps=9)


def test_black_and_still_moments_are_dropped_unless_asked_to_keep_them(tmp_path):
    path = with_a_pause(tmp_path / "a.mp4")
    said = decode(path, Cutting(window=1.0))[1:]
    dropped = [(piece.kind, piece.start) for piece in said if isinstance(piece, Dropped)]
    assert dropped == [("still", 3), ("still", 4), ("still", 5), ("black", 6), ("black", 7)]
    assert [piece.start for piece in said if isinstance(piece, Clip)] == [0, 1, 2, 8]
    kept = decode(path, Cutting(window=1.0, keep_still=True))[1:]
    assert [type(piece) for piece in kept] == [Clip] * 9


def test_what_is_still_does_not_depend_on_what_is_known(tmp_path):
    path = with_a_pause(tmp_path / "a.mp4")
    said = decode(path, Cutting(window=1.0), known=[(1.0, 2.0), (8.0, 9.0)])[1:]
    kinds = [(0, Clip), (2, Clip), *((second, Dropped) for second in range(3, 8))]
    assert [(piece.start, type(piece)) for piece in said] == kinds


def test_a_span_somebody_names_is_never_dropped(tmp_path):
    path = with_a_pause(tmp_path / "a.mp4")
    said = decode(path, spans=[(6.0, 8.0), (3.0, 4.0)])[1:]
    assert [(piece.asked, type(piece)) for piece in said] == [((6.0, 8.0), Clip), ((3.0, 4.0), Clip)]


def test_a_video_that_stands_still_keeps_its_first_moment(tmp_path, model):
    write_video(tmp_path / "slide.mp4", [pictures(1, 48, 48)[0]] * 81, fps=9)
    collection = Collection.build(tmp_path / "made", [tmp_path / "slide.mp4"], model, "model")
    assert [moment.start for moment in collection.moments] == [0]
    assert (collection.summary.still, collection.summary.black) == (2, 0)
    assert collection.summary.lines() == [
        "1 new video, 1 moment added",
        "dropped: 0 near-black and 2 still moments; --keep-still keeps them",
    ]
    counting = ColourModel()
    assert collection.add([tmp_path / "slide.mp4"], counting)[:2] == (0, 1) and counting.embedded == 0
    collection.add([tmp_path / "slide.mp4"], counting, keep_still=True)
    assert counting.embedded == 2 and len(collection) == 3


def test_nothing_but_black(tmp_path, model):
    write_video(tmp_path / "night.mp4", [np.zeros((48, 48, 3), np.uint8)] * 30, fps=10)
    with pytest.raises(CollectionError) as caught:
        Collection.build(tmp_path / "made", [tmp_path / "night.mp4"], model, "model")
    assert str(caught.value) == (
        "nothing is left to index: 1 near-black and 0 still moments were dropped; keep them with --keep-still"
    )
    assert not (tmp_path / "made").exists()


def test_stride_and_shots_in_a_collection(tmp_path, model):
    long = video(tmp_path / "long.mp4", "red", "red", "green", "green", "green", "blue", "blue")
    strided = Collection.build(tmp_path / "strided", [long], model, "model", window=2.0, stride=1.0)
    assert [(moment.start, moment.end) for moment in strided.moments] == [(n, n + 2) for n in range(6)]
    shots = Collection.build(tmp_path / "shots", [long], model, "model", shots=True)
    assert [(moment.start, moment.end) for moment in shots.moments] == [(0, 2), (2, 5), (5, 7)]
    palette = np.array(list(COLOURS.values()), float)
    assert (shots.embeddings()[:, :3] @ palette.T).argmax(axis=1).tolist() == [0, 1, 2]
    before = shots.embeddings().tolist()
    assert shots.add([long], ColourModel(), shots=True) == (0, 3, 0) and shots.embeddings().tolist() == before
    # another way of cutting adds what it alone has
    assert shots.add([long], model, window=2.0, stride=1.0).added == 4


# --- precision


def clips(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 4, 3, 16, 16)).astype(np.uint8))


@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16", "int8"])
def test_every_precision_stays_close_and_leaves_the_model_alone(precision):
    model = tiny.model().eval()
    backbone, fingerprint = model.branches["video"].encoder.backbone, model.fingerprint()
    embedder = Embedder(model, precision)
    items = clips(9)
    made = np.concatenate([embedder(items[:5]), embedder(items[5:], threads=1)])
    exact = model.embed("video", [torch.from_numpy(item) for item in items])
    assert made.dtype == np.float32 and made.shape == exact.shape
    assert (made * exact).sum(axis=1).min() > {"fp32": 0.9999}.get(precision, 0.98)
    assert model.branches["video"].encoder.backbone is backbone and model.fingerprint() == fingerprint
    expected = ("bf16" if "bf16" in fast_precisions() else "fp32") if precision == "auto" else precision
    assert embedder.precision == expected


def test_int8_is_calibrated_once():
    model = tiny.model().eval()
    items = clips(9)
    assert not Embedder(model, "bf16").uncalibrated
    embedder = Embedder(model, "int8")
    assert embedder.uncalibrated
    embedder.calibrate(items)
    assert not embedder.uncalibrated
    alone = Embedder(model, "int8")
    assert (alone(items) * embedder(items)).sum(axis=1).min() > 0.9999
    assert not alone.uncalibrated


def grey_then_bright(folder):
    """Write a long grey video, whose moments come first, and some full of contrast after it."""
    folder.mkdir()
    grey = [np.full((48, 48, 3), 120, np.uint8) + np.uint8(number % 7) for number in range(40 * 9)]
    write_video(folder / "a-grey.mp4", grey, fps=9)
    for number in range(3):
        write_video(folder / f"b-{number}.mp4", pictures(27, 48, 48), fps=9)
    return folder


def test_int8_is_calibrated_with_moments_of_all_videos(tmp_path, monkeypatch):
    """The first ones alone would give ranges that the others do not fit into."""
    folder = grey_then_bright(tmp_path / "films")
    model = tiny.model().eval()
    how = {"window": 1.0, "keep_still": True, "workers": 1}
    exact = Collection.build(tmp_path / "exact", [folder], model, "model", precision="fp32", **how)
    bright = [row for row, moment in enumerate(exact.moments) if "grey" not in moment.path]
    assert min(bright) >= 40

    def worst(name: str) -> float:
        made = Collection.build(tmp_path / name, [folder], model, "model", precision="int8", **how)
        assert [moment.id for moment in made.moments] == [moment.id for moment in exact.moments]
        return (made.embeddings() * exact.embeddings()).sum(1)[bright].min()

    assert worst("sampled") > 0.99
    monkeypatch.setattr(Embedder, "uncalibrated", False)  # the first clips that come
    assert worst("first") < 0.97


def test_nothing_to_calibrate_with(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(CollectionError, match="the only video is unusable"):
        Collection.build(tmp_path / "made", [tmp_path / "broken.mp4"], tiny.model().eval(), "model", precision="int8")


def test_large_clips_are_embedded_few_at_a_time():
    model = ColourModel()
    sizes = []
    for size in (32, 112, 224, 2048):
        model.processor = Processor(clip=ClipSpec(frames=8, size=size))
        sizes.append(Embedder(model).batch_size)
    assert sizes == [32, 32, 9, 1]


def test_a_collection_has_one_precision(tmp_path):
    model = tiny.model().eval()
    first, second = video(tmp_path / "a.mp4", "red", "blue"), video(tmp_path / "b.mp4", "green", "blue")
    collection = Collection.build(tmp_path / "made", [first], model, "model", precision="bf16")
    assert json.loads((tmp_path / "made/manifest.json").read_text())["model"]["precision"] == "bf16"
    with pytest.raises(CollectionError) as caught:
        collection.add([second], model, precision="int8")
    assert str(caught.value) == (
        f"the embeddings of {tmp_path}/made were computed in bf16, int8 was asked for: leave --precision out, "
        f"or build another collection"
    )
    assert collection.add([second], model).added == 1
    query = model.embed_video([second])
    scores, rows = collection.nearest(query, 1)
    assert os.path.basename(collection.moment(rows[0][0]).path) == "b.mp4" and scores[0][0] > 0.98


# --- the summary


def test_the_summary_for_people():
    asides = [SetAside("/a.mp4", "the file is empty.")] + [SetAside("/b.mp4", "damaged", n, n + 1.5) for n in range(5)]
    summary = Summary(3, 12, 4, 2, 1, 5, 6, 1, (*asides, SetAside("/c.mp4", "asked for too much", 9.0)))
    assert summary.lines(shown=2) == [
        "3 new videos, 12 moments added, 4 of them embedded by an interrupted run, 2 there already",
        "1 file with the content of another, noted as such",
        "dropped: 5 near-black and 6 still moments; --keep-still keeps them",
        "1 shard of an interrupted run discarded: damaged, or of another model or other options",
        "7 problems, set aside:",
        "  /a.mp4: the file is empty.",
        "  /b.mp4 at 0.0–1.5 s: damaged",
        "  and 5 more",
    ]
    assert describe(summary.set_aside[-1]) == "/c.mp4 from 9.0 s: asked for too much"
    plain = json.loads(json.dumps(summary.to_json()))
    assert plain["quarantined"] == 7 and plain["set_aside"][1] == {
        "path": "/b.mp4",
        "reason": "damaged",
        "start": 0,
        "end": 1.5,
    }
