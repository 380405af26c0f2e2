"""A folder of good and bad files: every good one is embedded, every bad one is listed with its reason."""

from __future__ import annotations

import os

import damaged
import numpy as np
import pytest
from fakes import ColourModel, video

from mmretrieval.collection import Collection, decoding
from mmretrieval.data.processor import Processor
from mmretrieval.errors import CollectionError
from mmretrieval.types import ClipSpec

UNREADABLE = "is not a video, or is damaged (invalid data found when processing input)."
REASONS = {
    "truncated": UNREADABLE,
    "breaks off": "the file breaks off: it should last 6.0 s",
    "bytes flipped": "damaged: 4 of the 4 frames that were looked at",
    "header cut off": UNREADABLE,
    "header zeroed": UNREADABLE,
    "empty": "the file is empty.",
    "text": UNREADABLE,
    "audio only": "has no video track.",
    "zero frames": "is not a video, or is damaged (end of file).",
    "wrong extension": UNREADABLE,
    "sleeps": "took too long to decode (more than 10 s beyond its own length): raise --time-limit or leave it out",
    "killed": "the decoder crashed on it (SIGKILL): replace it or leave it out",
    "segfault": "the decoder crashed on it (SIGSEGV): replace it or leave it out",
    "memory": "needs more than 0.5 GB of memory to be decoded: make a smaller copy or leave it out",
}


def quarantined(collection: Collection) -> list[tuple]:
    """Name, reason, start and end of everything that was set aside."""
    keys = ("reason", "start", "end")
    records = collection.manifest.quarantined
    return [(os.path.basename(record["path"]), *(record.get(key) for key in keys)) for record in records]


def test_every_good_file_is_embedded_and_every_bad_one_listed(tmp_path):
    bad = damaged.write_folder(tmp_path / "clips", damaged=len(damaged.KINDS) + 6, good=5)
    assert set(bad.values()) == set(damaged.KINDS) == set(REASONS)
    limits = {"workers": 2, "time_limit": 10.0, "memory_limit": 1 << 29}
    model = damaged.MeanColour()
    collection = Collection.build(tmp_path / "made", [tmp_path / "clips"], model, "model", **limits)
    report = damaged.judge(collection, tmp_path / "clips", bad)
    assert report["good embedded"] == 5 and report["good but listed"] == 0
    reasons = {record["path"]: record["reason"] for record in collection.manifest.quarantined}
    assert {path: REASONS[kind] for path, kind in bad.items()} == reasons
    assert collection.verify() == [] and model.embedded == len(collection)


def test_the_good_part_of_a_file_that_breaks_off_is_saved(tmp_path):
    file = tmp_path / "half.mp4"
    damaged.KINDS["breaks off"](file, 3)
    collection = Collection.build(tmp_path / "made", [file], damaged.MeanColour(), "model", window=1.0)
    ends = [moment.end for moment in collection.moments]
    ((name, reason, start, end),) = quarantined(collection)
    assert (name, reason, end) == ("half.mp4", "the file breaks off: it should last 6.0 s", 6.0)
    assert len(ends) >= 2 and start - 1 <= ends[-1] <= start < 5
    assert collection.summary.quarantined == 1


def test_moments_on_damaged_frames_are_left_out_and_the_others_kept(tmp_path):
    """Bytes in the middle of the stream are overwritten; key frames every two seconds mend the rest."""
    import av

    file = tmp_path / "scratched.mp4"
    random = np.random.default_rng(0)
    noise = random.integers(40, 180, (64, 64, 3)).astype(np.uint8)
    with av.open(str(file), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.options = {"g": "20", "sc_threshold": "0", "bf": "0", "threads": "1"}
        for number in range(120):
            frame = av.VideoFrame.from_ndarray(np.roll(noise, number, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(str(file)) as container:
        places = [(packet.pos, packet.size, float(packet.pts * packet.time_base)) for packet in container.demux(video=0)
                  if packet.size]  # fmt: skip
    data = bytearray(file.read_bytes())
    for place, size, time in places:
        if 4.0 <= time < 6.0:
            data[place + 8 : place + size] = random.bytes(size - 8)
    file.write_bytes(data)
    collection = Collection.build(tmp_path / "made", [file], damaged.MeanColour(), "model", window=2.0)
    assert [moment.start for moment in collection.moments] == [0, 2, 6, 8, 10]
    assert quarantined(collection) == [
        ("scratched.mp4", "damaged: 4 of the 4 frames that were looked at", 4.0, 6.0),
    ]


class Touching(Processor):
    """Somebody appends to the file while it is read."""

    target = ""

    def fit(self, frames, rng=None):
        with open(self.target, "ab") as file:
            file.write(b"\0")
        return super().fit(frames, rng)


def test_a_file_that_changes_while_it_is_read_is_not_trusted(tmp_path, clips):
    model = ColourModel()
    model.processor = Touching(clip=ClipSpec(frames=4, size=32))
    model.processor.target = str(clips / "green.mp4")
    collection = Collection.build(tmp_path / "made", [clips / "green.mp4", clips / "red.mp4"], model, "model")
    reason = "changed while it was read: add it again when nothing writes to it any more"
    assert quarantined(collection) == [("green.mp4", reason, None, None)]
    assert [os.path.basename(moment.path) for moment in collection.moments] == ["red.mp4"]
    collection.add([clips], ColourModel())
    assert quarantined(collection) == [] and len(collection) == 3


def test_a_file_that_failed_as_a_whole_is_tried_again(tmp_path):
    file = video(tmp_path / "clips" / "white.mp4", "red", "red")
    damaged.write_video(tmp_path / "clips" / "trap.mp4", 1, damaged.TRAPS["killed"])
    collection = Collection.build(tmp_path / "made", [tmp_path / "clips"], damaged.MeanColour(), "model")
    assert [record[0] for record in quarantined(collection)] == ["trap.mp4"]
    harmless = damaged.MeanColour()
    harmless.processor = Processor(clip=ClipSpec(frames=4, size=32))
    collection.add([tmp_path / "clips"], harmless)
    assert quarantined(collection) == [] and len(collection) == 2 and harmless.embedded == 1
    assert file.exists()


def test_a_pipe_is_no_file(tmp_path, clips, model):
    os.mkfifo(clips / "pipe.mp4")
    collection = Collection.build(tmp_path / "made", [clips], model, "model")
    assert quarantined(collection) == [("pipe.mp4", "is a pipe or a device, not a file.", None, None)]


def test_a_video_whose_first_frame_is_damaged_is_still_described():
    class Reader:
        fps, duration = 25.0, 4.0

        @property
        def info(self):
            from mmretrieval.errors import MediaError

            raise MediaError("none of frames 0–0 can be decoded")

    assert set(decoding._metadata(__file__, Reader())) == {"fps", "duration", "modified"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"time_limit": 0}, "a video may take more than 0 s to decode, got 0 s"),
        ({"workers": 0}, "at least 1 process decodes, got 0"),
        ({"precision": "fp16"}, "unknown precision 'fp16': use one of auto, fp32, bf16, int8"),
        ({"precision": "int8"}, "this model's video encoder runs in fp32 alone: int8 is for backbones"),
    ],
)
def test_options_that_are_not_allowed(tmp_path, clips, model, options, message):
    with pytest.raises(CollectionError) as caught:
        Collection.build(tmp_path / "made", [clips], model, "model", **options)
    assert str(caught.value) == message
    assert not (tmp_path / "made").exists()
