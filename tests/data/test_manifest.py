import errno
import os

import pytest

from mmretrieval.data.manifest import Sample, check_files, read_manifest, write_manifest
from mmretrieval.errors import ManifestError, StorageError

KEYS = "id, video, speech, text, video_id, start, end, labels, words"


@pytest.fixture
def manifest(tmp_path):
    def write(*lines):
        path = tmp_path / "train.jsonl"
        path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
        return path

    return write


def test_round_trip(tmp_path):
    samples = [
        Sample("a", video=str(tmp_path / "clips" / "a.mp4"), speech="/elsewhere/a.wav", text="ein Bär", video_id="v",
               start=1.0, end=4.5, labels=("falls", "grün"), words=(("ein", 0.1, 0.3), ("Bär", 0.3, 0.8))),
        Sample("b", text="a dog"),
    ]  # fmt: skip
    path = tmp_path / "train.jsonl"
    write_manifest(path, samples)
    assert '"video": "clips/a.mp4"' in path.read_text("utf-8") and "Bär" in path.read_text("utf-8")
    manifest = read_manifest(path)
    assert manifest.samples == samples and list(manifest) == samples and len(manifest) == 2
    assert manifest[1].id == "b" and manifest.set_aside == [] and manifest.path == path


def test_relative_paths_start_at_the_manifest(manifest, tmp_path, monkeypatch):
    path = manifest('{"id": "a", "video": "clips/a.mp4", "speech": "../s/a.wav"}')
    monkeypatch.chdir(tmp_path.parent)
    sample = read_manifest(path.relative_to(tmp_path.parent))[0]
    assert sample.video == str(tmp_path / "clips" / "a.mp4")
    assert sample.speech == str(tmp_path.parent / "s" / "a.wav")


def test_written_relative_paths_stay(tmp_path):
    write_manifest(tmp_path / "a.jsonl", [Sample("a", video="clips/a.mp4")])
    assert read_manifest(tmp_path / "a.jsonl")[0].video == str(tmp_path / "clips" / "a.mp4")


def test_moved_folder_still_reads(tmp_path):
    (tmp_path / "old").mkdir()
    write_manifest(tmp_path / "old" / "a.jsonl", [Sample("a", video=str(tmp_path / "old" / "a.mp4"))])
    (tmp_path / "old").rename(tmp_path / "new")
    assert read_manifest(tmp_path / "new" / "a.jsonl")[0].video == str(tmp_path / "new" / "a.mp4")


def test_empty_lines_windows_line_ends_and_byte_order_mark(manifest):
    path = manifest(b'\xef\xbb\xbf{"id": "a", "text": "x"}\r', "", '{"id": "b", "text": "y", "start": null}', "")
    assert [sample.id for sample in read_manifest(path)] == ["a", "b"]


BAD = {
    '{"id": "a", "text": "x"': "not valid JSON (Expecting ',' delimiter, column 24)",
    b'{"id": "a", "text": "\xff"}': "not UTF-8 (byte 22 of the line)",
    "[1, 2]": 'is a list ([1, 2]); a sample is an object like {"id": …, "video": …}',
    '{"id": "a", "txt": "x"}': f"unknown key 'txt'. Did you mean 'text'? Known: {KEYS}",
    '{"text": "x"}': "has no 'id'; every sample needs a name of its own",
    '{"id": 7, "text": "x"}': "'id' is a number (7), it must be a text",
    '{"id": "a"}': "has none of 'video', 'speech' and 'text'; a sample needs at least one",
    '{"id": "a", "text": " "}': "'text' is empty; leave it out where there is none",
    '{"id": "a", "video": ["x"]}': "'video' is a list ([\"x\"]), it must be a text",
    '{"id": "a", "text": "x", "start": "4.0"}': "'start' is a text (\"4.0\"), it must be a number of seconds",
    '{"id": "a", "text": "x", "end": true}': "'end' is true or false (true), it must be a number of seconds",
    '{"id": "a", "text": "x", "start": -1}': "'start' is -1, it must be 0 or more seconds",
    '{"id": "a", "text": "x", "end": NaN}': "'end' is nan, it must be 0 or more seconds",
    '{"id": "a", "text": "x", "start": 5, "end": 4}': "'end' is 4, it must lie after 'start', 5",
    '{"id": "a", "text": "x", "labels": "run"}': "'labels' is a text (\"run\"), it must be a list",
    '{"id": "a", "text": "x", "labels": [3]}': "'labels' is a number (3), it must be a text",
    '{"id": "a", "text": "x", "words": ["dog"]}': "'words' holds a text (\"dog\"); each entry is [word, start, end]",
    '{"id": "a", "text": "x", "words": [["dog", 0, "1"]]}': (
        "the end of the word 'dog' is a text (\"1\"), it must be a number of seconds"
    ),
    '{"id": "good", "text": "x"}': "the id 'good' was already used on line 1",
}


@pytest.mark.parametrize("line", BAD, ids=str)
def test_bad_row_is_named_or_set_aside(manifest, line):
    path = manifest('{"id": "good", "text": "x"}', "", line, '{"id": "last", "text": "x"}')
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    assert str(caught.value) == f"{path}, line 3: {BAD[line]}"
    manifest = read_manifest(path, on_bad="skip")
    assert [sample.id for sample in manifest] == ["good", "last"]
    assert manifest.set_aside == [(3, BAD[line])]


def test_nothing_usable(manifest, tmp_path):
    for lines, why in [
        (["", " "], "it is empty"),
        (["{", "["], "all 2 rows are bad, the first on line 1: not valid JSON (Expecting property name enclosed in "
                     "double quotes, column 2)"),
    ]:  # fmt: skip
        path = manifest(*lines)
        with pytest.raises(ManifestError) as caught:
            read_manifest(path, on_bad="skip")
        assert str(caught.value) == f"{path} has no usable sample: {why}"


def test_missing_manifest(tmp_path):
    with pytest.raises(ManifestError) as caught:
        read_manifest(tmp_path / "no.jsonl")
    assert str(caught.value) == f"{tmp_path}/no.jsonl: no such manifest. It is a file of JSON lines, one sample each."
    with pytest.raises(ManifestError) as caught:
        read_manifest(tmp_path)
    assert str(caught.value) == f"{tmp_path}: cannot be read (Is a directory)."


def test_unknown_choice(tmp_path):
    with pytest.raises(ValueError) as caught:
        read_manifest(tmp_path, on_bad="ignore")
    assert str(caught.value) == "on_bad is 'ignore'; 'raise' and 'skip' are allowed"


def test_missing_and_empty_files_are_found(tmp_path):
    (tmp_path / "good.mp4").write_text("x")
    (tmp_path / "empty.wav").touch()
    samples = [
        Sample("a", video=str(tmp_path / "good.mp4"), speech=str(tmp_path / "empty.wav")),
        Sample("b", video=str(tmp_path / "no.mp4"), text="x"),
        Sample("c", video=str(tmp_path / "good.mp4")),
    ]
    assert check_files(samples) == [
        ("a", f"{tmp_path}/empty.wav: the file is empty."),
        ("b", f"{tmp_path}/no.mp4: no such file."),
    ]


def test_full_disk_keeps_the_old_manifest(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    write_manifest(path, [Sample("a", text="x")])

    def fail(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError) as caught:
        write_manifest(path, [Sample("b", text="x")])
    assert str(caught.value) == (
        f"{path}: cannot be written: the disk is full. Free some space and try again; "
        "what was there before is untouched."
    )
    assert read_manifest(path)[0].id == "a" and os.listdir(tmp_path) == ["a.jsonl"]
