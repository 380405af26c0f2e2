import numpy as np
import pytest
import torch
from makers import pictures
from PIL import Image

from mmretrieval.data.cache import ClipCache
from mmretrieval.data.manifest import Sample
from mmretrieval.data.processor import Processor
from mmretrieval.errors import MediaError
from mmretrieval.media.stills import STILL_SECONDS
from mmretrieval.media.video import BACKENDS, open_video
from mmretrieval.types import ClipSpec

PICTURE = pictures(1, 48, 64)[0]


def shown(path, backend="decord"):
    with open_video(path, backend) as video:
        assert len(video.times) == 1 and not video.corrupt
        return video.read([0])[0]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "TIFF"])
def test_a_picture_is_a_clip_of_one_frame(tmp_path, suffix, backend):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(PICTURE).save(path)
    with open_video(path, backend) as video:
        assert video.info == (64, 48, 1, STILL_SECONDS, 1 / STILL_SECONDS)
        np.testing.assert_array_equal(video.read([0, 0, 0]), [PICTURE] * 3)
        assert video.read([0], at_most=24).shape == (1, 24, 32, 3)
        with pytest.raises(IndexError):
            video.read([1])
    with open_video(path, backend, size=(10, 12)) as video:
        assert video.read([0]).shape == (1, 10, 12, 3)


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "webp"])
def test_lossy_pictures(tmp_path, suffix):
    Image.fromarray(PICTURE).save(tmp_path / f"a.{suffix}", quality=95)
    assert np.abs(shown(tmp_path / f"a.{suffix}").astype(int) - PICTURE).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_upright_side_is_up(tmp_path, orientation):
    # what a camera stores when it is held so that the picture must be turned, or mirrored, to be seen upright
    stored = {
        1: PICTURE, 2: PICTURE[:, ::-1], 3: PICTURE[::-1, ::-1], 4: PICTURE[::-1],
        5: PICTURE.swapaxes(0, 1), 6: np.rot90(PICTURE), 7: np.rot90(PICTURE[:, ::-1], -1), 8: np.rot90(PICTURE, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(shown(tmp_path / "a.png"), PICTURE)


def test_grey_and_its_depths(tmp_path):
    grey = PICTURE[..., 0]
    Image.fromarray(grey).save(tmp_path / "eight.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    Image.fromarray(grey > 127).save(tmp_path / "one.png")
    for name in ("eight", "sixteen"):
        np.testing.assert_array_equal(shown(tmp_path / f"{name}.png"), np.stack([grey] * 3, axis=-1))
    np.testing.assert_array_equal(shown(tmp_path / "one.png")[..., 1], np.where(grey > 127, 255, 0))


def test_transparency_shows_white(tmp_path):
    alpha = np.full(PICTURE.shape[:2], 255, np.uint8)
    alpha[:, :32] = 0
    Image.fromarray(np.dstack([PICTURE, alpha])).save(tmp_path / "a.png")
    frame = shown(tmp_path / "a.png")
    assert (frame[:, :32] == 255).all()
    np.testing.assert_array_equal(frame[:, 32:], PICTURE[:, 32:])


def test_other_colour_spaces_and_animations(tmp_path):
    Image.fromarray(PICTURE).convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    assert np.abs(shown(tmp_path / "print.jpg").astype(int) - PICTURE).mean() < 4
    Image.fromarray(PICTURE).save(tmp_path / "a.png", save_all=True, append_images=[Image.fromarray(255 - PICTURE)])
    np.testing.assert_array_equal(shown(tmp_path / "a.png"), PICTURE)


def test_a_name_is_no_pattern(tmp_path):
    # FFmpeg would read the numbered files
    for name, value in (("a000.png", 10), ("a001.png", 20), ("a%03d.png", 200)):
        Image.fromarray(np.full((16, 16, 3), value, np.uint8)).save(tmp_path / name)
    assert (shown(tmp_path / "a%03d.png") == 200).all()


def test_broken_pictures(tmp_path, monkeypatch):
    def message(path):
        with pytest.raises(MediaError) as caught:
            open_video(path)
        return str(caught.value)

    rng = np.random.default_rng(0)
    whole = tmp_path / "whole.jpg"
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(whole)
    (tmp_path / "half.jpg").write_bytes(whole.read_bytes()[:1500])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").touch()
    for name in ("half.jpg", "text.png"):
        assert message(tmp_path / name) == f"{tmp_path}/{name}: is not a picture, or is damaged."
    assert message(tmp_path / "empty.png") == f"{tmp_path}/empty.png: the file is empty."
    assert message(tmp_path / "gone.png") == f"{tmp_path}/gone.png: no such file."
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert message(whole) == f"{tmp_path}/whole.jpg: has more than 2,000 pixels; make it smaller."


@pytest.mark.parametrize("fps", [None, 16.0])
def test_the_way_to_the_model(tmp_path, fps):
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    processor = Processor(ClipSpec(frames=4, size=32, fps=fps))
    clip = processor.video(tmp_path / "a.png")
    assert clip.shape == (4, 3, 32, 32) and clip.dtype == torch.uint8
    assert all(torch.equal(clip[0], frame) for frame in clip) and clip.float().std() > 10
    assert torch.equal(processor.video(tmp_path / "a.png", 0.0, 1.0), clip)
    sample = Sample("a", video=str(tmp_path / "a.png"))
    cache = ClipCache.build(tmp_path / "cache", [sample], processor, workers=0, progress=False, size=32)
    assert torch.equal(cache.read(sample, processor, ["video"])["video"], clip)
    with pytest.raises(MediaError) as caught:
        processor.video(tmp_path / "a.png", 2.0, 3.0)
    assert str(caught.value) == f"{tmp_path}/a.png: asked for 2.0–3.0 s, the video ends at 1.0 s."
