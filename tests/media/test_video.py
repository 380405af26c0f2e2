import av
import numpy as np
import pytest
import torch
from makers import pictures, tone, write_sound, write_video

from mmretrieval.errors import MediaError, UnknownNameError
from mmretrieval.media.video import BACKENDS, open_video

VARIABLE = np.cumsum([0, *np.random.default_rng(0).uniform(0.02, 0.15, 39)])

KINDS = {
    "constant rate": {"name": "a.mp4"},
    "variable rate": {"name": "a.mp4", "times": VARIABLE},
    "odd size": {"name": "a.mp4", "shape": (93, 127), "pixels": "yuv444p"},
    "odd size, halved chroma": {"name": "a.webm", "shape": (93, 127), "codec": "libvpx-vp9", "options": {"g": "12"}},
    "rotated left": {"name": "a.mp4", "rotation": 90},
    "upside down": {"name": "a.mp4", "rotation": 180},
    "rotated right": {"name": "a.mp4", "rotation": -90},
    "many key frames": {"name": "a.mp4", "options": {"g": "6"}},
    "open groups": {"name": "a.mp4", "options": {"x264-params": "keyint=12:open-gop=1:bframes=3:scenecut=0"}},
    "MPEG-4 part 2": {"name": "a.mp4", "codec": "mpeg4", "options": {"g": "12", "bf": "2"}},
    "starts late": {"name": "a.mp4", "first": 8},
    "starts before zero": {"name": "a.mp4", "first": -20, "options": {"g": "12"}},
    "matroska": {"name": "a.mkv", "options": {"g": "12"}},
    "avi without times": {"name": "a.avi", "options": {"g": "12"}},
    "mpeg program": {"name": "a.mpg", "codec": "mpeg2video"},
    "flash": {"name": "a.flv", "options": {"g": "12"}},
    "motion jpeg": {"name": "a.mov", "codec": "mjpeg", "pixels": "yuvj420p"},
    "AV1": {"name": "a.mp4", "codec": "libsvtav1", "options": {"g": "12", "preset": "12"}},
}


@pytest.fixture(scope="module", params=KINDS)
def clip(request, tmp_path_factory):
    kind = dict(KINDS[request.param])
    path = tmp_path_factory.mktemp("clip") / kind.pop("name")
    return write_video(path, pictures(40, *kind.pop("shape", (96, 128))), **kind)


def decode_all(path):
    """The obvious version: decode everything in order, convert, turn."""
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
    turned = [np.rot90(f.to_ndarray(format="rgb24", interpolation="BICUBIC"), f.rotation // 90) for f in frames]
    return np.stack(turned), [frame.time for frame in frames]


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_frame_of_every_kind_of_file_is_exact(clip, backend):
    expected, times = decode_all(clip)
    rng = np.random.default_rng(1)
    with open_video(clip, backend) as video:
        assert len(video.times) == len(expected)
        np.testing.assert_array_equal(video.read(range(len(expected))), expected)
        for _ in range(6):  # forwards, backwards, repeated
            indices = rng.integers(0, len(expected), 5)
            np.testing.assert_array_equal(video.read(indices), expected[indices])
        assert video.info[:3] == (expected.shape[2], expected.shape[1], len(expected))
        assert video.times[0] == 0 and video.info.duration > video.times[-1]
        assert not video.corrupt
        if clip.suffix not in (".mpg", ".avi"):  # these do not store when a frame is shown
            np.testing.assert_allclose(video.times, np.array(times) - times[0], atol=1e-4)


def test_upright_is_what_was_drawn(tmp_path):
    # filmed with the camera turned: the file holds the picture on its side and says so
    frames = pictures(8, 96, 128)
    path = write_video(tmp_path / "a.mp4", [np.rot90(frame, -1) for frame in frames], rotation=90)
    for backend in BACKENDS:
        with open_video(path, backend) as video:
            shown = video.read([3])[0].astype(int)
        assert shown.shape == (96, 128, 3)
        assert np.abs(shown - frames[3]).mean() < 12


def test_constant_and_variable_rate_times(tmp_path):
    path = write_video(tmp_path / "a.mp4", pictures(40, 64, 64), times=VARIABLE)
    with open_video(path, "pyav") as video:
        np.testing.assert_allclose(video.times, VARIABLE, atol=1e-3)
    path = write_video(tmp_path / "b.mp4", pictures(48, 64, 64))
    for backend in BACKENDS:
        with open_video(path, backend) as video:
            np.testing.assert_allclose(video.times, np.arange(48) / 16, atol=1e-6)
            assert video.info == (64, 64, 48, pytest.approx(3.0), pytest.approx(16.0))


@pytest.mark.parametrize("backend", BACKENDS)
def test_size_is_an_antialiased_resize_of_the_upright_frame(tmp_path, backend):
    path = write_video(tmp_path / "a.mp4", pictures(20, 96, 128), rotation=90)
    with open_video(path, backend) as video:
        full = torch.from_numpy(video.read([2, 11])).permute(0, 3, 1, 2)
        shrunk = video.read([2, 11], at_most=48)
        untouched = video.read([2, 11], at_most=96)
    with open_video(path, backend, size=(40, 30)) as video:
        small = video.read([2, 11])
    expected = torch.nn.functional.interpolate(full, (40, 30), mode="bilinear", antialias=True)
    np.testing.assert_array_equal(small, expected.permute(0, 2, 3, 1))
    assert shrunk.shape == (2, 64, 48, 3) and untouched.shape == (2, 128, 96, 3)


@pytest.mark.parametrize("backend", BACKENDS)
class TestBadFiles:
    def message(self, path, backend, indices=None):
        with pytest.raises(MediaError) as caught, open_video(path, backend) as video:
            video.read(range(len(video.times)) if indices is None else indices)
        return str(caught.value)

    def test_missing(self, tmp_path, backend):
        assert self.message(tmp_path / "a.mp4", backend) == f"{tmp_path}/a.mp4: no such file."

    def test_folder(self, tmp_path, backend):
        assert self.message(tmp_path, backend) == (
            f"{tmp_path}: holds no numbered pictures; as a video, it holds 00001.jpg, 00002.jpg and so on."
        )

    def test_empty(self, tmp_path, backend):
        (tmp_path / "a.mp4").touch()
        assert self.message(tmp_path / "a.mp4", backend) == f"{tmp_path}/a.mp4: the file is empty."

    def test_text(self, tmp_path, backend):
        path = tmp_path / "a.mp4"
        path.write_text("not a video\n" * 50)
        assert self.message(path, backend) == (
            f"{path}: is not a video, or is damaged (invalid data found when processing input)."
        )

    def test_text_that_ffmpeg_would_play(self, tmp_path, backend):
        path = tmp_path / "notes.txt"
        path.write_text("not a video\n" * 50)
        assert self.message(path, backend) == f"{path}: is not a video."

    def test_cut_off_before_its_index(self, tmp_path, backend):
        path = write_video(tmp_path / "a.mp4", pictures(20, 64, 64))
        path.write_bytes(path.read_bytes()[:2000])
        assert self.message(path, backend) == (
            f"{path}: is not a video, or is damaged (invalid data found when processing input)."
        )

    def test_sound_only(self, tmp_path, backend):
        path = write_sound(tmp_path / "a.mp4", tone(1), 16_000, "aac")
        assert self.message(path, backend) == f"{path}: has no video track."

    def test_frames_it_does_not_have(self, tmp_path, backend):
        path = write_video(tmp_path / "a.mp4", pictures(20, 64, 64))
        with open_video(path, backend) as video, pytest.raises(IndexError) as caught:
            video.read([3, 20])
        assert str(caught.value) == f"{path}: asked for frames 3–20 of 20, counted from 0"


def noisy(count):
    rng = np.random.default_rng(0)
    drawn = pictures(count, 96, 128)
    return [np.clip(frame + rng.integers(-20, 20, frame.shape), 0, 255).astype(np.uint8) for frame in drawn]


def test_the_good_part_of_a_cut_off_file_is_read_by_pyav(tmp_path):
    options = {"g": "12"}
    path = write_video(tmp_path / "a.mp4", noisy(32), options=options, container={"movflags": "faststart"})
    with open_video(path, "pyav") as video:
        whole = video.read(range(12))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with open_video(path, "pyav") as video:
        assert 12 < len(video.times) < 32
        assert video.info.duration == pytest.approx(len(video.times) / 16, abs=0.2)
        np.testing.assert_array_equal(video.read(range(12)), whole)
        video.read(range(len(video.times)))
        assert video.corrupt
    with pytest.raises(MediaError) as caught, open_video(path, "decord") as video:
        video.read(range(len(video.times)))
    last = len(video.times) - 1
    assert str(caught.value) == (
        f"{path}: frames 0–{last} cannot all be decoded: the file is damaged. Replace it or leave it out."
    )


def test_damaged_frames_are_flagged_and_good_ones_are_not(tmp_path):
    path = write_video(tmp_path / "a.mp4", noisy(32), options={"g": "8"}, container={"movflags": "faststart"})
    with open_video(path, "pyav") as video:
        whole = video.read(range(32))
    data = bytearray(path.read_bytes())
    for place in np.random.default_rng(1).integers(len(data) // 2, len(data) - 200, 200):
        data[place] ^= 0x5A
    path.write_bytes(data)
    with open_video(path, "pyav") as video:
        frames = video.read(range(32))
    assert len(frames) == 32 and video.corrupt and min(video.corrupt) >= 8
    good = [index for index in range(8) if index not in video.corrupt]
    np.testing.assert_array_equal(frames[good], whole[good])


def test_unknown_reader():
    with pytest.raises(UnknownNameError) as caught:
        open_video("a.mp4", "pyva")
    assert str(caught.value) == "unknown video reader 'pyva'. Did you mean 'pyav'? Known: decord, pyav."
