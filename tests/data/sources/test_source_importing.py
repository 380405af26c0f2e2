"""What all sources have in common: where manifests go, what is missing, what is opened."""

import pytest
import soundfile
from import_checks import error
from releases import put, smit

from mmretrieval.data.manifest import Sample, read_manifest
from mmretrieval.data.sources import import_source
from mmretrieval.data.sources.base import fault
from mmretrieval.errors import ManifestError, StorageError, UnknownNameError


@pytest.fixture
def release(tmp_path, media):
    (tmp_path / "release").mkdir()
    smit(tmp_path / "release", 20, media)
    return tmp_path / "release"


@pytest.fixture
def table(tmp_path, media):
    """A table in a folder of its own, with a clip of 3 s and a recording beside it."""

    def write(*lines):
        folder = tmp_path / "table"
        folder.mkdir()
        put(media.clip, folder / "a.mp4")
        put(media.speech, folder / "a.wav")
        (folder / "t.csv").write_text("".join(f"{line}\n" for line in lines))
        return folder / "t.csv"

    return write


def test_one_manifest_of_one_split(release, tmp_path):
    out = tmp_path / "mine.jsonl"
    report = import_source("smit", release, out, split="val")
    assert len(read_manifest(out)) == 2 and list(report.splits) == ["val"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.jsonl", "release"]
    report = import_source("smit", release, out, split="train")
    assert report.set_aside_file == str(tmp_path / "mine.set_aside.jsonl") and len(report.set_aside) == 4
    for name in ("train", "val"):  # the second import must not wipe the account of the first
        import_source("smit", release, tmp_path / "parts", split=name)
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == [
        "train.jsonl", "train.set_aside.jsonl", "val.jsonl"
    ]  # fmt: skip
    # nothing is set aside any more: an account of what was would be wrong
    import_source("smit", release, out, split="val")
    assert not (tmp_path / "mine.set_aside.jsonl").exists()


def test_one_manifest_cannot_hold_several_splits(release, tmp_path):
    assert error(ManifestError, "smit", release, tmp_path / "mine.jsonl") == (
        f"{tmp_path}/mine.jsonl: one manifest cannot hold the splits train, val, test. Choose one with --split, or let "
        "--out name a folder, which gets a manifest for each."
    )
    assert error(UnknownNameError, "smit", release, tmp_path / "mine.jsonl", split="vall") == (
        "smit has no split 'vall' here. Did you mean 'val'? Found: train, val, test."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["release"]


def test_paths_in_the_manifest_hold_wherever_it_lies(release, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    import_source("smit", "release", "inside")
    import_source("smit", "release", "release/manifests")
    assert read_manifest("inside/val.jsonl")[0].video == str(release / "videos/part2/clip0008.mp4")
    assert read_manifest("release/manifests/val.jsonl")[0].video == str(release / "videos/part2/clip0008.mp4")


def test_the_same_release_gives_the_same_bytes(release, tmp_path):
    for name in ("first", "second"):
        import_source("smit", release, tmp_path / name)
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()


def test_missing_media_are_kept_only_when_asked_and_never_silently(release, tmp_path):
    report = import_source("smit", release, tmp_path / "out", keep_missing=True)
    found = {sample.id: sample for sample in read_manifest(tmp_path / "out/train.jsonl")}
    assert found["no-video"].video == str(release / "videos/no-video.mp4")
    assert report.splits["train"].missing == 1 and report.splits["val"].missing == 0
    assert list(report.warnings()) == [
        f"1 of 17 rows of {tmp_path}/out/train.jsonl point to files that are missing or empty; "
        "they were kept because of --keep-missing and cannot be read until the files are there."
    ]


def test_nothing_usable_writes_nothing(release, tmp_path):
    for path in (release / "videos").rglob("*.mp4"):
        path.unlink()
    message = error(ManifestError, "smit", release, tmp_path / "out")
    assert message == (
        f"{release}: 'smit' found not one usable sample; nothing was written. Set aside 24: 22 × missing file, "
        "1 × no caption, 1 × empty caption; the first: train_set.txt, line 18: "
        f"{release}/transcriptions/no-text.txt: no such file."
    )
    assert not (tmp_path / "out").exists()


def test_an_empty_release_writes_nothing(tmp_path, media):
    put(media.clip, tmp_path / "r/videos/a.mp4")
    (tmp_path / "r/transcriptions").mkdir()
    (tmp_path / "r/train_set.txt").touch()
    expected = f"{tmp_path}/r: 'smit' found not one sample; nothing was written."
    assert error(ManifestError, "smit", tmp_path / "r", tmp_path / "out") == expected
    assert error(ManifestError, "smit", tmp_path / "q", tmp_path / "out") == f"{tmp_path}/q: no such file or folder."


def test_a_split_without_usable_rows_is_told(release, tmp_path):
    for path in (release / "videos").rglob("clip*9.mp4"):
        path.unlink()
    report = import_source("smit", release, tmp_path / "out")
    assert report.splits["test"].manifest is None and not (tmp_path / "out/test.jsonl").exists()
    assert any(line.startswith("test ") and "not written" in line for line in report.lines())


def test_needed_modalities(release, tmp_path):
    (release / "wavs/part0/clip0000.wav").unlink()
    report = import_source("smit", release, tmp_path / "out", need=["speech", "text"])
    assert [tuple(entry) for entry in report.set_aside if entry.id == "part0/clip0000"] == [
        ("train", f"train_set.txt, line {line}", "part0/clip0000", "no speech", "has no speech, which --need asks for.")
        for line in (1, 20)
    ]
    assert error(UnknownNameError, "smit", release, tmp_path / "out", need=["speach"]) == (
        "unknown modality 'speach'. Did you mean 'speech'? Known: video, speech, text."
    )


def test_unknown_sources_and_options(release, tmp_path):
    assert error(UnknownNameError, "smti", release, tmp_path / "out") == (
        "unknown source 'smti'. Did you mean 'smit'? 'mmretrieval import --list' explains all 15."
    )
    assert error(UnknownNameError, "smit", release, tmp_path / "out", val_share=0.1) == (
        "source 'smit' has no option '--val-share'. Its options: --media."
    )
    assert error(ManifestError, "smit", release, tmp_path / "out", media=["nowhere"]) == (
        "nowhere: no such folder of media."
    )


def test_videos_in_another_place(release, tmp_path):
    (release / "videos").rename(tmp_path / "elsewhere")
    import_source("smit", release, tmp_path / "out", media=[tmp_path / "elsewhere"])
    assert read_manifest(tmp_path / "out/val.jsonl")[0].video == str(tmp_path / "elsewhere/part2/clip0008.mp4")


def test_damaged_media_are_found_when_they_are_opened(table, tmp_path):
    path = table(
        "id,video,speech,text,start,end",
        "good,a.mp4,a.wav,x,,",
        "text,text.mp4,,x,,",
        "sound,a.mp4,text.wav,x,,",
        "none,a.mp4,empty.wav,x,,",
        "clip,a.mp4,,x,1,7.5",
        "rounded,a.mp4,,x,1,3.25",
        "late,a.mp4,,x,4,5",
    )
    for name in ("text.mp4", "text.wav"):
        (path.parent / name).write_text("neither a video nor a recording")
    soundfile.write(path.parent / "empty.wav", [], 16_000)
    assert len(read_manifest(import_source("csv", path, tmp_path / "out").splits["all"].manifest)) == 7
    report = import_source("csv", path, tmp_path / "out", check=True)
    folder = path.parent
    assert {(entry.where, entry.reason, entry.detail) for entry in report.set_aside} == {
        ("t.csv, line 3", "damaged file",
         f"{folder}/text.mp4: is not a video, or is damaged (invalid data found when processing input)."),
        ("t.csv, line 4", "damaged file",
         f"{folder}/text.wav: is not a recording, or is damaged (invalid data found when processing input)."),
        ("t.csv, line 5", "damaged file", f"{folder}/empty.wav: the audio track is empty."),
        ("t.csv, line 8", "no such span", f"{folder}/a.mp4: it starts at 4 s, the video ends at 3.0 s."),
    }  # fmt: skip
    found = {sample.id: sample for sample in read_manifest(tmp_path / "out/all.jsonl")}
    assert {name: sample.end for name, sample in found.items()} == {"good": None, "clip": 3.0, "rounded": 3.0}
    assert report.checked == 5 and report.notes == ["1 spans end after their video file and were cut at its end."]


def test_files_that_are_not_there_are_not_opened(table, tmp_path):
    path = table("id,video,text", "a,a.mp4,x", "b,gone.mp4,x")
    report = import_source("csv", path, tmp_path / "out", check=True, keep_missing=True)
    assert report.checked == 1 and report.set_aside == [] and report.splits["all"].missing == 1


def test_a_place_that_cannot_be_written(release, tmp_path):
    (tmp_path / "file").write_text("in the way")
    message = error(StorageError, "smit", release, tmp_path / "file" / "out")
    assert message.startswith(f"{tmp_path}/file/out/set_aside.jsonl: cannot be written: a file stands where a folder")


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (Sample("a", text="x"), None),
        (Sample("a", text=3), ("broken row", "its text is not a text but 3.")),
        (Sample("a", text=" "), ("empty caption", "the caption is empty.")),
        (Sample("", text="x"), ("broken row", "its id is empty.")),
        (Sample("a"), ("broken row", "it has neither video nor speech nor text.")),
        (Sample("a", text="x", labels=("",)), ("broken row", "one of its labels is empty.")),
        (Sample("a", text="x", words=(("dog", 2.0, 1.0),)), ("broken row", "the word 'dog' has the times 2–1.")),
        (Sample("a", text="x", start=-1.0), ("no such span", "it starts at -1 s; a span starts at 0 or later.")),
        (Sample("a", text="x", end=float("nan")), ("no such span", "0–nan s: a span ends after it starts.")),
    ],
)
def test_what_could_not_be_read_back(sample, expected):
    assert fault(sample) == expected
