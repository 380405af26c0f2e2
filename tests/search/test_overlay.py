"""Overlays are real pictures of the promised size, light where the heat is."""

import numpy as np
import pytest
from colour_places import colour_model, film
from PIL import Image, ImageSequence

from mmretrieval.errors import StorageError
from mmretrieval.search.heat import HeatMap
from mmretrieval.search.localize import Localizer
from mmretrieval.search.overlay import blend, draw, overlay_gif, overlay_png, strip_size
from mmretrieval.search.query import text_query


def some_heat(frames=3, frame=(48, 64)):
    values = np.zeros((frames, 3, 3), np.float32)
    values[np.arange(frames), np.arange(frames) % 3, 1] = 1
    seen = ((frame[1] - frame[0]) // 2, 0, (frame[1] + frame[0]) // 2, frame[0])
    return HeatMap(values, np.arange(frames) / 2, frame, seen, 0.5, "a red ball")


def pictures(frames=3, height=48, width=64):
    return np.random.default_rng(0).integers(0, 256, (frames, height, width, 3), np.uint8)


def test_what_is_hot_keeps_its_colours_and_what_is_cold_turns_dark_and_grey():
    frames = np.zeros((1, 2, 2, 3), np.uint8)
    frames[..., 0] = 200
    lit = blend(frames, np.array([[[0.0, 1.0], [0.0, 0.9]]]))
    np.testing.assert_array_equal(lit[0, :, 1], [[200, 0, 0]] * 2)
    assert (lit[0, :, 0] == lit[0, 0, 0, 0]).all() and lit[0, 0, 0, 0] < 40


def test_the_same_heat_everywhere_changes_nothing():
    np.testing.assert_array_equal(blend(pictures(), np.full((3, 48, 64), 2.5)), pictures())


@pytest.mark.parametrize("frames", [1, 3, 9])
def test_a_strip_has_the_promised_size(tmp_path, frames):
    boxes = [(10, 10, 30, 30), None] * frames
    overlay_png(some_heat(frames), pictures(frames), tmp_path / "heat.png", boxes[:frames])
    with Image.open(tmp_path / "heat.png") as picture:
        assert picture.format == "PNG" and picture.size == strip_size(frames, 48, 64)
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 500


def test_a_gif_has_every_frame(tmp_path):
    overlay_gif(some_heat(), pictures(9), np.arange(9) / 6, tmp_path / "heat.gif", fps=10)
    with Image.open(tmp_path / "heat.gif") as picture:
        assert picture.format == "GIF" and picture.size == (64, 48) and picture.n_frames == 9
        assert picture.info["duration"] == 100
        frames = [np.asarray(frame.convert("RGB"), float) for frame in ImageSequence.Iterator(picture)]
    cold, hot = frames[0][40:, 50:].mean(), frames[0][4:12, 28:36].mean()
    assert hot > 1.5 * cold


def test_frames_and_times_belong_together(tmp_path):
    with pytest.raises(ValueError) as caught:
        overlay_gif(some_heat(), pictures(9), np.arange(8), tmp_path / "heat.gif", fps=10)
    assert str(caught.value) == "9 frames need as many times, got 8"
    assert not list(tmp_path.iterdir())


def test_from_video_to_picture(tmp_path):
    path = film(tmp_path / "red.mkv", [{"red": (1, column)} for column in range(3)], height=64, width=96)
    localizer = Localizer(colour_model())
    clip = localizer.clip(path)
    heat = localizer.heat(clip, text_query(localizer.model, "red"))
    for name in ("heat.png", "heat.gif", "HEAT.GIF"):
        draw(heat, clip, path, tmp_path / name)
    with Image.open(tmp_path / "heat.png") as picture:
        assert picture.size == strip_size(3, 64, 96)
    with Image.open(tmp_path / "HEAT.GIF") as picture:
        assert picture.format == "GIF" and picture.n_frames == 3 and picture.size == (96, 64)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        draw(heat, clip, path, tmp_path / "file" / "heat.png")
