import numpy as np
import pytest
import torch
from makers import pictures
from PIL import Image

from mmretrieval.data.processor import Processor
from mmretrieval.errors import MediaError
from mmretrieval.media.frame_names import FRAME_RATE, is_frame_folder
from mmretrieval.media.video import BACKENDS, open_video
from mmretrieval.types import ClipSpec

FRAMES = pictures(12, 24, 32)


def save(folder, names, frames=FRAMES):
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in zip(names, frames):
        Image.fromarray(frame).save(folder / name)
    return folder


def message(path):
    with pytest.raises(MediaError) as caught, open_video(path) as video:
        video.read([0])
    return str(caught.value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_folder_reads_like_a_file(tmp_path, backend):
    folder = save(tmp_path, [f"{number:05}.png" for number in range(1, 13)])
    with open_video(folder, backend, fps=12) as video:
        assert video.info == (32, 24, 12, 1.0, 12.0) and video.path == folder
        np.testing.assert_allclose(video.times, np.arange(12) / 12)
        np.testing.assert_array_equal(video.read([3, 0, 3, 11]), [FRAMES[n] for n in (3, 0, 3, 11)])
        assert video.read([5], at_most=12).shape == (1, 12, 16, 3) and not video.corrupt
        with pytest.raises(IndexError, match="asked for frames 0–12 of 12, counted from 0"):
            video.read([0, 12])
    with open_video(str(folder), backend, size=(10, 12)) as video:
        assert video.fps == pytest.approx(FRAME_RATE) and video.read([0]).shape == (1, 10, 12, 3)


@pytest.mark.parametrize(
    "names",
    [
        [f"{number:05}.png" for number in range(12)],
        [f"{number}.png" for number in range(1, 13)],  # 10 comes after 9
        [f"img_{number:05}.PNG" for number in range(1, 13)],
        [f"clip2_frame{number}.png" for number in range(996, 1008)],
        [f"{number:05}.png" for number in range(0, 60, 5)],
        [f"{number}.png" for number in (0, 41, 80, 121, 160, 199, 240, 281, 320, 361, 400, 440)],  # milliseconds
    ],
)
def test_numbers_of_every_kind_give_the_order(tmp_path, names):
    save(tmp_path, names)
    for name in ("cover.jpg", ".00001.png", "._00002.png", "notes1.txt"):
        (tmp_path / name).write_text("no frame")
    with open_video(tmp_path) as video:
        np.testing.assert_array_equal(video.read(range(12)), FRAMES)
        assert len(video.times) == 12 and not video.corrupt


def test_damaged_and_missing_frames_are_told_and_replaced_by_the_one_before(tmp_path):
    save(tmp_path, [f"{number:05}.png" for number in range(1, 13)])
    (tmp_path / "00004.png").unlink()
    (tmp_path / "00005.png").write_bytes((tmp_path / "00006.png").read_bytes()[:60])
    (tmp_path / "00009.png").write_bytes(b"")
    Image.fromarray(FRAMES[0][:, :20]).save(tmp_path / "00011.png")
    shown = [0, 1, 2, 2, 2, 5, 6, 7, 7, 9, 9, 11]
    with open_video(tmp_path) as video:
        np.testing.assert_array_equal(video.read(range(12)), [FRAMES[n] for n in shown])
        assert video.corrupt == {3, 4, 8, 10}
    with open_video(tmp_path) as video:  # whatever else is asked for
        np.testing.assert_array_equal(video.read([4])[0], FRAMES[2])
        assert video.corrupt == {4}


def test_a_damaged_beginning_is_replaced_by_the_first_good_frame(tmp_path):
    save(tmp_path, [f"{number:05}.png" for number in range(1, 13)])
    for number in (1, 2):
        (tmp_path / f"{number:05}.png").write_text("no picture")
    with open_video(tmp_path) as video:
        np.testing.assert_array_equal(video.read([0, 1, 2]), [FRAMES[2]] * 3)
        assert video.corrupt == {0, 1}


def test_folders_that_are_no_videos(tmp_path):
    expected = "holds no numbered pictures; as a video, it holds 00001.jpg, 00002.jpg and so on."
    (tmp_path / "empty").mkdir()
    assert message(tmp_path / "empty") == f"{tmp_path}/empty: {expected}"
    save(tmp_path / "other", ["cover.jpg"])
    assert message(tmp_path / "other") == f"{tmp_path}/other: {expected}"
    save(tmp_path / "flow", ["flow_x_1.jpg", "img_1.jpg", "img_2.jpg"])
    assert message(tmp_path / "flow") == (
        f"{tmp_path}/flow: holds several series of pictures: flow_x_N.jpg, img_N.jpg. Leave one of them in it."
    )
    (tmp_path / "bad").mkdir()
    for number in (1, 2):
        (tmp_path / f"bad/{number}.jpg").write_text("no picture")
    assert message(tmp_path / "bad") == (
        f"{tmp_path}/bad: not one of its pictures can be read: the file is damaged. Replace it or leave it out."
    )
    with pytest.raises(ValueError, match=r"^a frame rate of 0 was asked for; it must be above 0$"):
        open_video(tmp_path / "flow", fps=0)


def test_what_counts_as_one(tmp_path):
    save(tmp_path / "clip", ["00001.jpg"])
    save(tmp_path / "other", ["cover.jpg"])
    (tmp_path / "file.mp4").touch()
    found = {name: is_frame_folder(tmp_path / name) for name in ("clip", "other", "file.mp4", "gone")}
    assert found == {"clip": True, "other": False, "file.mp4": False, "gone": False}


def test_the_way_to_the_model(tmp_path):
    save(tmp_path, [f"{number:05}.png" for number in range(1, 13)])
    processor = Processor(ClipSpec(frames=4, size=16))
    whole = processor.video(tmp_path)
    assert whole.shape == (4, 3, 16, 16)
    # a span of a list, in seconds at the usual rate: frames 4 to 7 of the files
    part = processor.video(tmp_path, 3 / FRAME_RATE, 7 / FRAME_RATE)
    assert torch.equal(part, processor.fit(np.stack(FRAMES[3:7])))
