"""What the tests of sources do again and again."""

import json

import pytest

from mmretrieval.data.manifest import read_manifest
from mmretrieval.data.sources import import_source


def rows(out, split):
    return {sample.id: sample for sample in read_manifest(out / f"{split}.jsonl")}


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def error(kind, *arguments, **options):
    with pytest.raises(kind) as caught:
        import_source(*arguments, **options)
    return str(caught.value)
