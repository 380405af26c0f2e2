"""Stored sets of 1,000: drawn once, the same for everybody, and refused when they belong to something else."""

import hashlib
import json

import numpy as np
import pytest

from mmretrieval.data.manifest import Sample
from mmretrieval.errors import ManifestError, UnknownNameError
from mmretrieval.evaluation import protocol
from mmretrieval.evaluation.protocol import (
    Rules,
    default_folder,
    measure,
    read_subsets,
    sameness_warnings,
    stored_subsets,
    subset_rows_of,
)
from mmretrieval.evaluation.retrieval import format_report, retrieval_report, subset_rows


def samples(count, **changes):
    return [Sample(f"s{i}", video=f"{i}.mp4", text=f"caption {i}", **changes) for i in range(count)]


def embeddings(count, seed=0):
    rng = np.random.default_rng(seed)
    meaning = rng.normal(size=(count, 4))
    return {name: (meaning + rng.normal(size=(count, 4))).astype(np.float32) for name in ("video", "text")}


@pytest.fixture
def manifest(tmp_path):
    return tmp_path / "test.jsonl"


def test_sets_are_drawn_once_and_read_ever_after(manifest):
    rows = samples(1200)
    subsets = stored_subsets(manifest, rows)
    folder = default_folder(manifest)
    assert folder.name == "test.subsets"
    assert sorted(p.name for p in folder.iterdir()) == [*(f"subset-{i}.txt" for i in range(5)), "subsets.json"]
    assert subsets.ids == [[f"s{row}" for row in part] for part in subset_rows(1200)]
    assert (folder / "subset-3.txt").read_text().splitlines() == subsets.ids[3]
    record = json.loads((folder / "subsets.json").read_text())
    assert record["manifest"] == "test.jsonl" and record["ids"] == record["drawn_from"] == 1200
    assert record["files"]["subset-0.txt"] == hashlib.sha256((folder / "subset-0.txt").read_bytes()).hexdigest()
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert stored_subsets(manifest, rows) == subsets
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.parametrize("written", range(6))
def test_a_drawing_that_was_interrupted_is_finished(manifest, tmp_path, monkeypatch, written):
    """Also seen by another process meanwhile: a part of the sets is never taken for all of them."""
    rows = samples(1200)
    left, write = [written], protocol.atomic_write

    def interrupted(path, content):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        write(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(protocol, "atomic_write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stored_subsets(manifest, rows)
    whole = stored_subsets(tmp_path / "whole.jsonl", rows)
    assert stored_subsets(manifest, rows).ids == whole.ids
    assert read_subsets(default_folder(manifest), manifest, rows).ids == whole.ids


def test_a_set_that_is_missing_is_not_drawn_from_other_samples(manifest):
    stored_subsets(manifest, samples(1200))
    (default_folder(manifest) / "subset-1.txt").unlink()
    with pytest.raises(ManifestError, match="restore the missing ones or empty the folder to draw new sets$"):
        stored_subsets(manifest, samples(1201))


def test_the_same_files_serve_the_same_ids_with_other_paths(manifest, tmp_path):
    subsets = stored_subsets(manifest, samples(1100))
    elsewhere = [Sample(f"s{i}", video=f"/elsewhere/{i}.mp4", text="other") for i in range(1100)]
    assert stored_subsets(tmp_path / "copy.jsonl", elsewhere, default_folder(manifest)) == subsets


def test_sets_are_drawn_among_complete_samples(manifest):
    rows = samples(2000)
    rows[::3] = [Sample(sample.id, video=sample.video) for sample in rows[::3]]  # no caption
    names = {name for part in stored_subsets(manifest, rows).ids for name in part}
    assert not names & {sample.id for sample in rows[::3]}


def test_no_more_than_a_thousand_need_none(manifest, tmp_path):
    assert stored_subsets(manifest, samples(1000)) is None
    assert list(tmp_path.iterdir()) == []


def test_lists_of_others_are_read_without_checksums(manifest, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/1k-A.txt").write_text("\ufeffs3\r\ns1\r\n\r\n")
    subsets = stored_subsets(manifest, samples(5), tmp_path / "theirs")
    assert subsets.ids == [["s3", "s1"]]


def test_measuring_on_stored_sets_is_measuring_their_rows(manifest):
    rows, vectors = samples(1200), embeddings(1200)
    subsets = stored_subsets(manifest, rows)
    ids = [sample.id for sample in rows]
    report, warnings = measure(ids, ids, vectors, Rules(), subsets)
    assert warnings == []
    assert report["subsets"].pop("files") == [str(file) for file in subsets.files]
    assert report == retrieval_report(vectors)
    # another order of the samples, as another manifest of the same ids may have it
    order = np.random.default_rng(1).permutation(1200)
    moved = {name: array[order] for name, array in vectors.items()}
    again, _ = measure([ids[i] for i in order], ids, moved, Rules(), subsets)
    assert again["subsets"]["mean"]["map"] == pytest.approx(report["subsets"]["mean"]["map"])


def test_samples_that_could_not_be_read_are_left_out_and_said(manifest, tmp_path):
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets/a.txt").write_text("s0\ns1\ns2\n")
    (tmp_path / "sets/b.txt").write_text("s1\ns3\n")
    subsets = stored_subsets(manifest, samples(5), tmp_path / "sets")
    rows, warnings = subset_rows_of(subsets, ["s4", "s3", "s2", "s1"])
    assert rows == [[3, 2], [3, 1]]
    assert warnings == [
        f"{tmp_path}/sets/a.txt: 1 of 3 samples are left out, unreadable or lacking a modality: compare with others "
        "only if theirs are, too"
    ]
    with pytest.raises(ManifestError) as caught:
        subset_rows_of(subsets, ["s4"])
    assert str(caught.value) == (
        f"{tmp_path}/sets/a.txt: none of its 3 samples could be read or has all modalities needed"
    )


# --- both rules of relevance, and ties


def slow_measures(scores, right):
    """R@1 and MAP by sorting, one query after the other."""
    hits, precisions = [], []
    for row, relevant in zip(scores, right, strict=True):
        order = sorted(range(len(row)), key=lambda item: -row[item])
        places = [place for place, item in enumerate(order, start=1) if relevant[item]]
        hits.append(places[0] == 1)
        precisions.append(np.mean([(number + 1) / place for number, place in enumerate(places)]))
    return np.mean(hits), np.mean(precisions)


def test_both_rules_on_sets_with_repeated_videos():
    vectors = embeddings(12)
    videos = [f"v{i // 2}" for i in range(12)]
    vectors["video"] = np.repeat(vectors["video"][::2], 2, axis=0)
    rows = [0, 1, 2, 5, 8, 9]
    report = retrieval_report(vectors, videos, subsets=[rows])["subsets"]
    own = vectors["text"][rows].astype(float) @ vectors["video"][rows].astype(float).T
    first = [0, 2, 3, 4]  # of each video in the set the first row
    for part, scores, right in (
        (report["strict"], own, np.eye(6, dtype=bool)),
        (report, own[:, first], np.array([[videos[q] == videos[rows[i]] for i in first] for q in rows])),
    ):
        recall, precision = slow_measures(scores.astype(np.float32), right)
        assert part["text_to_video"]["recall@1"]["mean"] == pytest.approx(recall)
        assert part["text_to_video"]["map"]["mean"] == pytest.approx(precision)
    assert report["strict"]["text_to_video"] != report["text_to_video"]
    page = format_report(retrieval_report(vectors, videos, subsets=[rows]))
    titles = [part.split("  ")[0] for part in page.split("\n\n")]
    assert titles == ["direction", "own row only", "1 sets of 6", "1 sets of 6, own row only"]


def test_one_rule_alone():
    vectors = embeddings(10)
    videos = [f"v{i // 2}" for i in range(10)]
    both = retrieval_report(vectors, videos)
    pair = retrieval_report(vectors, videos, relevance="pair")
    video = retrieval_report(vectors, videos, relevance="video")
    assert pair == both["strict"] and "strict" not in video
    assert video == {name: part for name, part in both.items() if name != "strict"}


def test_ties():
    vectors = {"video": np.ones((4, 2)), "text": np.ones((4, 2))}
    rows = {ties: retrieval_report(vectors, ties=ties)["mean"] for ties in ("position", "expected", "pessimistic")}
    assert rows["position"]["recall@1"] == rows["expected"]["recall@1"] == pytest.approx(1 / 4)
    assert rows["position"]["median_rank"] == rows["expected"]["median_rank"] == 2.5
    assert rows["pessimistic"] == {"recall@1": 0, "recall@5": 1, "recall@10": 1, "map": 0.25, "median_rank": 4}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"relevance": "pairs"}, "unknown relevance 'pairs'. Did you mean 'pair'? Known: both, video, pair."),
        ({"ties": "optimistic"}, "unknown ties 'optimistic'. Did you mean 'pessimistic'? Known: expected, position, "
         "pessimistic."),
    ],
)  # fmt: skip
def test_unknown_rules(options, message):
    with pytest.raises(UnknownNameError) as caught:
        retrieval_report(embeddings(4), [str(i) for i in range(4)], **options)
    assert str(caught.value) == message


# --- what makes a whole modality chance


def test_one_caption_for_all_is_chance_and_said():
    rows = [Sample(f"s{i}", video="v.mp4", text="a dog runs") for i in range(20)]
    vectors = embeddings(20) | {"text": np.tile(np.float32([1, 2, 3, 4]), (20, 1))}
    assert sameness_warnings(rows, vectors) == [
        "all 20 captions are 'a dog runs': whatever is measured with text is chance"
    ]
    report, _ = measure([s.id for s in rows], [s.id for s in rows], vectors, Rules(ties="expected"))
    for direction in ("text_to_video", "video_to_text"):
        assert report[direction]["recall@1"] == pytest.approx(1 / 20)
        assert report[direction]["recall@10"] == pytest.approx(10 / 20)
        assert report[direction]["median_rank"] == 10.5


def test_a_collapsed_model_is_said():
    vectors = embeddings(3) | {"video": np.ones((3, 4), np.float32)}
    assert sameness_warnings(samples(3), vectors) == [
        "all 3 video embeddings are equal: whatever is measured with video is chance; the model has collapsed, or "
        "every input is the same"
    ]
    assert sameness_warnings(samples(3), embeddings(3)) == []
    assert sameness_warnings(samples(1), {"text": np.ones((1, 4))}) == []


# --- messages


def test_damaged_or_foreign_sets_are_refused(manifest):
    folder = default_folder(manifest)
    rows = samples(1100)

    def refused(rows=rows):
        with pytest.raises(ManifestError) as caught:
            read_subsets(folder, manifest, rows)
        return str(caught.value)

    stored_subsets(manifest, rows)
    assert refused([*rows, Sample("new", video="n.mp4", text="n")]) == (
        f"{folder}: was drawn from 1,100 ids, {manifest} now has 1,101 or other ones: empty the folder to draw new "
        "sets, or name another one with --subsets"
    )
    first = (folder / "subset-0.txt").read_text()
    absent = first.splitlines()[2]
    assert refused([sample for sample in rows if sample.id != absent]) == (
        f"{folder}/subset-0.txt, line 3: {manifest} has no sample '{absent}': the sets belong to another manifest. "
        "Name their own folder with --subsets, or an empty one to draw new sets."
    )
    (folder / "subset-0.txt").write_text("".join(first.splitlines(keepends=True)[1:]))
    assert refused() == (
        f"{folder}/subset-0.txt: is not as it was written (its SHA-256 differs from subsets.json): restore it, or "
        "empty the folder to draw new sets"
    )
    (folder / "subset-0.txt").write_text("s1\ns2\ns1\n")
    assert refused() == f"{folder}/subset-0.txt, line 3: 's1' was already on line 1"
    (folder / "subset-0.txt").write_text("\n")
    assert refused() == f"{folder}/subset-0.txt: has no sample id: one per line is expected"
    (folder / "subset-0.txt").unlink()
    assert refused() == (
        f"{folder}: holds subset-1.txt, subset-2.txt, subset-3.txt, subset-4.txt, subsets.json speaks of subset-0.txt, "
        "subset-1.txt, subset-2.txt, subset-3.txt, subset-4.txt: restore the missing ones or empty the folder to draw "
        "new sets"
    )
    (folder / "subsets.json").write_text("{")
    assert refused() == f"{folder}/subsets.json: cannot be read (JSONDecodeError): restore it, or delete it"


def test_an_empty_folder_and_too_few_samples(manifest, tmp_path):
    with pytest.raises(ManifestError) as caught:
        stored_subsets(manifest, samples(30), tmp_path / "sets")
    assert str(caught.value) == (
        f"{tmp_path}/sets holds no index files, and {manifest} has only 30 complete samples: sets of 1,000 are drawn "
        "from more than that. Leave --subsets out, or name a folder that has them."
    )


def test_ids_that_do_not_fit_on_a_line(manifest):
    rows = [Sample(f"a\nb{i}", video="v.mp4", text="t") for i in range(1001)]
    with pytest.raises(
        ManifestError, match="begins or ends with a space or has several lines: index files hold one id"
    ):
        stored_subsets(manifest, rows)
