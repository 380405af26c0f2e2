import hashlib
import os

import pytest

from mmretrieval.data import contents
from mmretrieval.data.contents import ContentHashes


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"moving pictures")
    return path


def test_a_file_is_hashed_once(tmp_path, file, monkeypatch):
    hashes = ContentHashes(tmp_path / "cache")
    assert hashes.find(str(file)) is None
    hashes.add([str(file), str(file)])
    expected = hashlib.sha256(b"moving pictures").hexdigest()
    assert hashes.find(str(file)) == expected
    monkeypatch.setattr(contents, "sha256_file", lambda path: pytest.fail("read again"))
    again = ContentHashes(tmp_path / "cache")
    again.add([str(file)])
    assert again.find(str(file)) == expected
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_changed_file_is_hashed_again(tmp_path, file):
    hashes = ContentHashes(tmp_path / "cache")
    hashes.add([str(file)])
    before = hashes.find(str(file))
    file.write_bytes(b"moving Pictures")
    os.utime(file, ns=(1, 1))
    assert hashes.find(str(file)) is None
    hashes.add([str(file)])
    assert hashes.find(str(file)) not in (None, before)
    assert ContentHashes(tmp_path / "cache").find(str(file)) == hashes.find(str(file))
    older, newer = sorted((tmp_path / "cache").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    older.rename(older.with_name("contents-zz.jsonl"))  # in whatever order the ledgers are read
    assert ContentHashes(tmp_path / "cache").find(str(file)) == hashes.find(str(file))


def test_files_that_are_not_there_are_passed_over(tmp_path, file):
    hashes = ContentHashes(tmp_path / "cache")
    hashes.add([str(tmp_path / "none.mp4"), str(file)])
    assert hashes.find(str(tmp_path / "none.mp4")) is None and hashes.find(str(file)) is not None
    file.unlink()
    assert hashes.find(str(file)) is None


def test_a_damaged_ledger_costs_only_its_damaged_lines(tmp_path, file):
    hashes = ContentHashes(tmp_path / "cache")
    hashes.add([str(file)])
    ledger = next((tmp_path / "cache").iterdir())
    ledger.write_bytes(b'["half a li\n\xff\xfe\n7\n' + ledger.read_bytes() + b'["torn", 1')
    assert ContentHashes(tmp_path / "cache").find(str(file)) == hashes.find(str(file))
