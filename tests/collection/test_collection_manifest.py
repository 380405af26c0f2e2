from __future__ import annotations

import hashlib
import json

import pytest

from mmretrieval.collection.generations import first_generation
from mmretrieval.collection.manifest import NAME, DamagedManifest, read_manifest
from mmretrieval.errors import CollectionError

MODEL = {"fingerprint": "ab" * 32, "path": "../model", "absolute": "/somewhere/model"}


@pytest.fixture
def folder(tmp_path):
    first_generation("cosine", 4, MODEL).write(tmp_path)
    return tmp_path


def message(folder) -> str:
    with pytest.raises(CollectionError) as caught:
        read_manifest(folder)
    return str(caught.value)


def test_what_is_written_is_read(folder):
    manifest = read_manifest(folder)
    assert manifest.model == MODEL and manifest.generation == 0 and manifest.dim == 4
    assert manifest.to_json() == (folder / NAME).read_text("utf-8")


def test_no_folder(tmp_path):
    gone = tmp_path / "gone"
    assert message(gone) == f"no collection at '{gone}': 'mmretrieval index build {gone} --model MODEL VIDEOS'"


def test_a_folder_that_is_no_collection(tmp_path):
    assert message(tmp_path) == f"'{tmp_path}' is not a collection: it has no manifest.json"


@pytest.mark.parametrize("content", ['{"version": 3}', "[1, 2]"])
def test_a_manifest_of_something_else(tmp_path, content):
    (tmp_path / NAME).write_text(content)
    assert message(tmp_path) == f"'{tmp_path}' is not a collection: its manifest.json was written by another program"


def test_a_newer_format_says_upgrade(folder):
    content = {"format": "mmretrieval collection", "version": 7, "shape": "unheard of"}
    text = json.dumps(content, indent=1) + "\n"
    content["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (folder / NAME).write_text(json.dumps(content, indent=1) + "\n")
    assert message(folder) == f"'{folder}' has collection format 7, this version reads up to 2: upgrade mmretrieval"


def test_every_flipped_byte_of_the_manifest_is_noticed(folder):
    whole = (folder / NAME).read_bytes()
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        (folder / NAME).write_bytes(flipped)
        with pytest.raises(DamagedManifest):
            read_manifest(folder)


def test_a_shortened_manifest_is_damaged(folder):
    (folder / NAME).write_bytes((folder / NAME).read_bytes()[:-20])
    with pytest.raises(DamagedManifest):
        read_manifest(folder)
    assert message(folder) == f"{folder}/manifest.json is damaged: restore it or build the collection again"
