from __future__ import annotations

import errno

import numpy as np
import pytest
from fakes import COLOURS, video
from PIL import Image

from mmretrieval import files
from mmretrieval.errors import StorageError
from mmretrieval.search.contact_sheet import BETWEEN, MARGIN, RIGHT, STRIP_WIDTH, contact_sheet
from mmretrieval.types import Hit


@pytest.fixture
def hits(tmp_path):
    """Six one-colour answers; the third runs through all three colours."""
    made = []
    for number, colour in enumerate(["red", "green", "all", "blue", "red", "green"], start=1):
        file = video(tmp_path / f"{number}.mp4", *(COLOURS if colour == "all" else [colour] * 3))
        made.append(Hit(number, 1 - number / 10, f"id-{number}", str(file), 0.0, 3.0))
    return made


def near(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Where the sheet has a colour, but for what compression did to it."""
    return (np.abs(picture.astype(int) - colour) < 30).all(axis=-1)


def drawn(rows, file) -> np.ndarray:
    contact_sheet(rows, file)
    return np.asarray(Image.open(file).convert("RGB"))


def columns(mask: np.ndarray) -> list[int]:
    """Strips, from 0, in which a mask is set."""
    return sorted({int(x - MARGIN + BETWEEN // 2) // (STRIP_WIDTH + BETWEEN) for x in np.flatnonzero(mask.any(axis=0))})


def test_first_middle_and_last_frame_of_five_answers(hits, tmp_path):
    picture = drawn([("a query", hits, None)], tmp_path / "sheet.png")
    assert columns(near(picture, COLOURS["red"])) == [0, 2, 4]
    assert columns(near(picture, COLOURS["green"])) == [1, 2]
    assert columns(near(picture, COLOURS["blue"])) == [2, 3]
    places = [np.flatnonzero(near(picture, COLOURS[name])[150, 788:1136]).mean() for name in COLOURS]
    assert places == sorted(places)


def test_only_the_span_of_the_moment_is_shown(hits, tmp_path):
    part = [hits[2]._replace(start=1.0, end=2.0)]
    picture = drawn([("a query", part, None)], tmp_path / "sheet.png")
    assert near(picture, COLOURS["green"]).sum() > 3 * 100 * 100
    assert not near(picture, COLOURS["red"]).any() and not near(picture, COLOURS["blue"]).any()


def test_the_right_answer_stands_in_a_green_frame(hits, tmp_path):
    def frames(right):
        picture = drawn([("a query", hits, right)], tmp_path / "sheet.png")
        return columns((picture == RIGHT).all(axis=-1)[65:240])

    assert frames("id-2") == [1]
    assert frames("id-6") == [] and frames(None) == [] and frames("nobody") == []


def test_every_query_has_its_row(hits, tmp_path):
    one = drawn([("a query", hits, None)], tmp_path / "sheet.png")
    three = drawn([("a query", hits, None)] * 3, tmp_path / "sheet.png")
    assert one.shape[1] == three.shape[1] and two_rows_more(one, three)


def two_rows_more(one: np.ndarray, three: np.ndarray) -> bool:
    row = (three.shape[0] - one.shape[0]) // 2
    strip = slice(60, 200)
    return (one[strip] == three[row:][strip]).all() and (one[strip] == three[2 * row :][strip]).all()


def test_missing_files_long_words_and_no_answers_do_no_harm(hits, tmp_path):
    gone = [hits[0]._replace(path=str(tmp_path / ("long" * 40 + ".mp4")))]
    odd = [hits[1]._replace(path=str(tmp_path / "new\nline \x1b[31m.mp4"))]
    rows = [
        ("words " * 300, gone, None),
        ("odd", odd, None),
        ("", [], "id-1"),
        ("line\nbreak — ü Ж 犬", hits[:2], "id-2"),
    ]
    picture = drawn(rows, tmp_path / "sheet.png")
    margin = picture[:, -36:]
    assert (margin == margin[0, 0]).all()


def test_a_full_disk(hits, tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StorageError) as caught:
        contact_sheet([("a query", hits, None)], tmp_path / "sheet.png")
    assert str(caught.value) == (
        f"{tmp_path}/sheet.png: cannot be written: the disk is full. Free some space and try again; "
        f"what was there before is untouched."
    )
    assert not list(tmp_path.glob("*sheet*")) and not list(tmp_path.glob(".*sheet*"))
