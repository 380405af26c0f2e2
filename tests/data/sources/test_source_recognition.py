"""What is particular to the releases for action recognition."""

import json

import numpy as np
import pytest
from import_checks import error, rows, write
from releases import activitynet, fcvid, frames, jester, kinetics, put, put_frames, something, ucf101

from mmretrieval.data.sources import import_source
from mmretrieval.errors import ManifestError, UnknownNameError
from mmretrieval.media.sampling import span_indices
from mmretrieval.media.video import open_video

LAYOUT = "'mmretrieval import --list' shows the layout that '{}' expects."


def details(report):
    return [(entry.where, entry.detail) for entry in report.set_aside]


class TestFrames:
    def test_samples(self, root, out, media):
        frames(root, 20, media)
        import_source("frames", root, out)
        sample = rows(out, "val")["images/val/air drumming/clip18"]
        assert sample.video == str(root / "images/val/air drumming/clip18") and sample.labels == ("air drumming",)
        assert (sample.start, sample.end) == (None, 3 / 25)
        assert rows(out, "test")["images/test/air drumming/clip9"].labels == ()

    @pytest.mark.parametrize("separator", [" ", ";", ",", "\t"])
    @pytest.mark.parametrize("name", ["12345", "air drumming/-a_1,b"])
    def test_the_separator_is_found(self, root, out, media, separator, name):
        if separator in ", " and separator in name:
            name = name.replace(separator, ".")
        put_frames(media, root / name)
        lines = [separator.join((name, "1", "3", "0")), separator.join((name, "2", "3", "1", "0")), ""]
        write(root / "train.txt", "\r\n".join(lines))
        write(root / "classes.txt", "\nyoga\n\nair drumming\n")
        assert import_source("frames", root, out).set_aside == []
        assert {key: sample.labels for key, sample in rows(out, "train").items()} == {
            name: ("yoga",), f"{name}:2-3": ("air drumming", "yoga"),
        }  # fmt: skip

    def test_the_wrong_separator_is_one_clear_line(self, root, out, media):
        frames(root, 10, media)
        assert error(ManifestError, "frames", root, out, separator="space") == (
            f"{root}/train.txt: its lines are separated by semicolons, not by spaces. "
            "Leave out --separator, and what fits is found."
        )
        assert import_source("frames", root, out, separator=";").splits["train"].kept == 8
        assert error(UnknownNameError, "frames", root, out, separator="/") == (
            "unknown separator '/'. Known: ';' ',' tab and space."
        )
        write(root / "val.txt", "a/b 12\nc/d 3\n")
        assert error(ManifestError, "frames", root, out) == (
            f"{root}/val.txt: not one line is a path, its first and its last frame and a label; the first is a/b 12"
        )

    def test_labels_out_of_range_are_set_aside_and_counted(self, root, out, media):
        put_frames(media, root / "a")
        write(root / "train.txt", "a 1 3 1\na 2 3 2\na 3 3 -1\n")
        write(root / "labels.json", {"yoga": "0", "juggling": "1"})
        report = import_source("frames", root, out)
        assert report.reasons == {"unknown label": 2} and rows(out, "train")["a"].labels == ("juggling",)
        assert details(report) == [
            ("train.txt, line 2", "its label is 2; labels.json has 2 classes, numbered 0–1."),
            ("train.txt, line 3", "its label is -1; labels.json has 2 classes, numbered 0–1."),
        ]
        (root / "labels.json").unlink()
        report = import_source("frames", root, out)
        assert [sample.labels for sample in rows(out, "train").values()] == [("1",), ("2",)]
        assert details(report) == [("train.txt, line 3", "its label is -1; classes are numbered from 0.")]

    def test_short_videos_are_left_out_only_when_asked_and_named(self, root, out, media):
        # the published code drops them in silence, and with them the denominator of its accuracy
        frames(root, 20, media)
        put_frames(media, root / "long", 30)
        write(root / "val.txt", (root / "val.txt").read_text() + "long;1;30;1\n")
        assert import_source("frames", root, out).splits["val"].kept == 3
        report = import_source("frames", root, out, split="val", min_frames=30)
        assert list(rows(out, "val")) == ["long"]
        assert details(report) == [
            (f"val.txt, line {line}", "has 3 frames, --min-frames asks for 30.") for line in (1, 2)
        ]

    def test_a_range_that_starts_late_holds_its_own_frames(self, root, out, media):
        # the published code caps the numbers of files at the length of the range
        for folder, first in (("a", 1), ("b", 0)):
            put(media.still, *(root / folder / f"{number:05}.jpg" for number in range(first, first + 30)))
        write(root / "train.txt", "a 11 20 0\nb 0 9 0\n")
        import_source("frames", root, out)
        found = rows(out, "train")
        for name, expected in (("a:11-20", range(10, 20)), ("b", range(10))):
            with open_video(found[name].video) as video:
                np.testing.assert_array_equal(span_indices(video.times, found[name].start, found[name].end), expected)

    def test_other_lists_places_and_classes(self, root, out, media, tmp_path):
        put_frames(media, tmp_path / "elsewhere/a")
        put_frames(media, root / "images/b")
        write(root / "lists/mini_train.txt", f"a 1 3 1\nb 1 3 2\n{root}/images/b 1 3 2\n")
        write(tmp_path / "names.txt", "1 yoga\n2 juggling balls\n")
        options = {"media": [tmp_path / "elsewhere"], "classes": tmp_path / "names.txt"}
        import_source("frames", root, out, variant="mini", **options)
        found = rows(out, "train")
        assert {name: sample.labels for name, sample in found.items()} == {
            "a": ("yoga",), "b": ("juggling balls",), f"{root}/images/b": ("juggling balls",),
        }  # fmt: skip
        assert found["a"].video == str(tmp_path / "elsewhere/a")
        assert error(ManifestError, "frames", root, out) == (
            f"{root}: found no list of a split: looked for train.txt, val.txt, test.txt. " + LAYOUT.format("frames")
        )
        assert error(UnknownNameError, "frames", root, out, variant="min") == (
            "frames has no variant 'min'. Did you mean 'mini'? Known: full, mini."
        )

    def test_files_of_classes_that_cannot_be_read(self, root, out, media):
        put_frames(media, root / "a")
        write(root / "train.txt", "a 1 3 0\n")
        for name, content, expected in (
            ("c.txt", b"\n", ": names not one class."),
            ("c.txt", b"a\n\xff\n", ", line 2: not UTF-8."),
            ("c.json", b"[1]", ': an object {"name of a class": number, …} is needed.'),
            ("c.json", b'{"a": "b"}', ': an object {"name of a class": number, …} is needed.'),
        ):
            (root / name).write_bytes(content)
            assert error(ManifestError, "frames", root, out, classes=root / name) == f"{root}/{name}{expected}"
        assert error(ManifestError, "frames", root, out, classes=root / "gone.txt") == (
            f"{root}/gone.txt: cannot be read (No such file or directory)."
        )

    def test_lines_that_are_none(self, root, out, media):
        put_frames(media, root / "a")
        (root / "train.txt").write_bytes(b"a 1 3 0\n\xff\n\n a \nb x 0\n")
        assert details(import_source("frames", root, out)) == [
            ("train.txt, line 2", "not UTF-8."),
            ("train.txt, line 4", "a row is a path, its first and its last frame and a label; this one is a"),
            ("train.txt, line 5", "a row is a path, its first and its last frame and a label; this one is b x 0"),
        ]

    def test_folders_are_opened_when_asked(self, root, out, media):
        frames(root, 10, media)
        (root / "images/train/air drumming/clip0/00001.jpg").unlink()
        (root / "images/train/air drumming/clip0/00001.jpg").write_text("no picture")
        for number in (1, 2, 3):
            path = root / f"images/train/air drumming/clip1/{number:05}.jpg"
            path.unlink()
            path.write_text("no picture")
        report = import_source("frames", root, out, check=True)
        assert [entry.detail for entry in report.set_aside if entry.reason == "damaged file"] == [
            f"{root}/images/train/air drumming/clip1: not one of its pictures can be read: "
            "the file is damaged. Replace it or leave it out."
        ]
        assert report.splits["train"].kept == 7 and report.checked == 10
        report = import_source("frames", root, out, check=True, keep_missing=True)
        assert report.checked == 10 and report.splits["train"].missing == 1


class TestKinetics:
    def test_samples(self, root, out, media):
        kinetics(root, 20, media)
        import_source("kinetics", root, out)
        sample = rows(out, "val")["-yt00000019_000007_000017"]
        assert sample.labels == ("passing American football (in game)",) and sample.start is None
        assert sample.video == str(root / f"val/{sample.labels[0]}/{sample.id}.mp4")

    @pytest.mark.parametrize(
        "place",
        ["train/air_drumming/ab_000001_000011.mkv", "videos/ab_000001_000011.mp4", "train/air drumming/ab.mp4",
         "images/train/air drumming/ab_000001_000011/00001.jpg"],
    )  # fmt: skip
    def test_likely_places(self, root, out, media, place):
        put(media.still if place.endswith("jpg") else media.clip, root / place)
        write(
            root / "annotations/train.csv", "label,youtube_id,time_start,time_end,split\nair drumming,ab,1,11,train\n"
        )
        report = import_source("kinetics", root, out)
        expected = place.removesuffix("/00001.jpg")
        assert rows(out, "train")["ab_000001_000011"].video == str(root / expected)
        assert report.notes == [f"there is no {split}.csv: that split is left out." for split in ("val", "test")]

    def test_a_test_list_may_have_no_labels(self, root, out, media):
        put(media.clip, root / "test/ab_000001_000011.mp4")
        write(root / "test.csv", "youtube_id,time_start,time_end,split\nab,1,11,test\n")
        import_source("kinetics", root, out)
        assert rows(out, "test")["ab_000001_000011"].labels == ()

    def test_the_mini_classes(self, root, out, media):
        kinetics(root, 20, media)
        assert error(ManifestError, "kinetics", root, out, variant="mini") == (
            f"{root}: found no list of the classes of Mini-Kinetics: looked for mini_kinetics400.txt, "
            "mini_classes.txt. " + LAYOUT.format("kinetics")
        )
        write(root / "mini_kinetics400.txt", "air drumming\nyoga\n")
        report = import_source("kinetics", root, out, variant="mini")
        assert {sample.labels[0] for sample in rows(out, "train").values()} == {"air drumming", "yoga"}
        assert report.splits["train"].kept == 12
        assert report.notes[-1] == "7 clips are of classes that Mini-Kinetics does not have: left out."

    def test_lists_of_frames(self, root, out, media):
        for path in ("images/train/air drumming/ab_000001_000011", "images/test/cd_000001_000011"):
            put_frames(media, root / path)
        write(root / "train.txt", "images/train/air drumming/ab_000001_000011;1;3;3\n")
        write(root / "test.txt", "images/test/cd_000001_000011 1 3\n")  # its authors' tool writes spaces here
        import_source("kinetics", root, out)
        (sample,) = rows(out, "train").values()
        assert sample.labels == ("air drumming",) and (sample.start, sample.end) == (None, 0.12)
        assert list(rows(out, "test")) == ["images/test/cd_000001_000011"]
        write(root / "kinetics-400_label.txt", "abseiling\nair drumming\n")
        assert "its label is 3; kinetics-400_label.txt has 2 classes, numbered 0–1." in [
            entry.detail for entry in import_source("kinetics", root, out).set_aside
        ]

    def test_missing_and_broken(self, root, out):
        assert error(ManifestError, "kinetics", root, out) == (
            f"{root}: found no list of a split: looked for train.csv, val.csv, train.txt, val.txt. "
            + LAYOUT.format("kinetics")
        )
        write(root / "train.csv", "label,id\nyoga,x\n")
        assert error(ManifestError, "kinetics", root, out) == (
            f"{root}/train.csv: has no column 'youtube_id'; its columns are label, id."
        )


class TestSomething:
    def test_version_2(self, root, out, media):
        something(root, 20, media)
        import_source("something", root, out)
        sample = rows(out, "train")["1"]
        assert sample.labels == ("Pushing something from left to right",)
        assert sample.text == "a red dog number 1 jumps over the ball"
        assert sample.video == str(root / "20bn-something-something-v2/1.webm")
        assert rows(out, "test")["9"].labels == ()

    def test_the_mini_classes(self, root, out, media):
        something(root, 20, media)
        assert error(ManifestError, "something", root, out, variant="mini").startswith(
            f"{root}: found no list of the classes of the small one: looked for mini_ssv2.txt, mini_classes.txt. "
        )
        write(root / "mini_ssv2.txt", "\nHolding something\n")
        report = import_source("something", root, out, variant="mini")
        assert {sample.labels for sample in rows(out, "train").values()} == {("Holding something",)}
        assert report.notes == ["8 clips are of classes that the small one does not have: left out."]

    def test_version_1(self, root, out, media):
        put_frames(media, root / "20bn-something-something-v1/7")
        write(root / "something-something-v1-train.csv", "7;Pretending to put something, but missing\n")
        report = import_source("something", root, out)
        (sample,) = rows(out, "train").values()
        assert sample.labels == ("Pretending to put something, but missing",)
        assert sample.video == str(root / "20bn-something-something-v1/7") and sample.text is None
        assert report.notes == [
            f"there is no something-something-v1-{name}: that split is left out." for name in ("validation", "test")
        ]

    def test_both_versions_in_one_folder(self, root, out, media):
        something(root, 10, media)
        put_frames(media, root / "20bn-something-something-v1/77")
        write(root / "something-something-v1-train.csv", "77;Holding something\n")
        import_source("something", root, out / "2")
        import_source("something", root, out / "1", variant="v1")
        assert "77" not in rows(out / "2", "train") and list(rows(out / "1", "train")) == ["77"]
        assert error(UnknownNameError, "something", root, out, variant="v3") == (
            "something has no variant 'v3'. Known: v1, v2, mini."
        )

    def test_missing_and_broken(self, root, out):
        assert error(ManifestError, "something", root, out) == (
            f"{root}: found no list of a split: looked for something-something-v1-train.csv, "
            "something-something-v2-train.json. " + LAYOUT.format("something")
        )
        write(root / "train.json", {})
        assert error(ManifestError, "something", root, out) == (
            f'{root}/train.json: a list of {{"id": …, "label": …, "template": …}} is needed.'
        )


class TestJester:
    def test_samples(self, root, out, media):
        jester(root, 20, media)
        report = import_source("jester", root, out)
        sample = rows(out, "train")["1"]
        assert sample.labels == ("Swiping Right",) and sample.video == str(root / "20bn-jester-v1/1")
        assert rows(out, "test")["9"].labels == ()
        assert details(report)[-2:] == [
            ("jester-v1-train.csv, line 18", f"{root}/20bn-jester-v1/bare: the folder holds no numbered pictures."),
            ("jester-v1-train.csv, line 21", "the id '0' is that of jester-v1-train.csv, line 1 already."),
        ]

    def test_missing(self, root, out):
        assert error(ManifestError, "jester", root, out) == (
            f"{root}: found no list of a split: looked for jester-v1-train.csv, jester-v1-validation.csv, "
            "jester-v1-test.csv. " + LAYOUT.format("jester")
        )

    def test_lists_that_are_no_text(self, root, out, media):
        put_frames(media, root / "20bn-jester-v1/1")
        (root / "jester-v1-train.csv").write_bytes(b"1;Swiping Left\n\xff;x\n\n;;\n")
        assert details(import_source("jester", root, out)) == [
            ("jester-v1-train.csv, line 2", "not UTF-8."),
            ("jester-v1-train.csv, line 4", "a row is ID;label; this one is ;;"),
        ]


class TestUcf101:
    def test_samples_and_splits(self, root, out, media):
        ucf101(root, 20, media)
        report = import_source("ucf101", root, out)
        sample = rows(out, "test")["YoYo/v_YoYo_g0009_c01"]
        assert sample.labels == ("YoYo",) and sample.video == str(root / "UCF-101/YoYo/v_YoYo_g0009_c01.avi")
        assert ("trainlist01.txt, line 20", "its label is 3; classInd.txt has 2 classes, numbered 1–2.") in details(
            report
        )
        problem = "its class 'YoYo' does not stand under this number in classInd.txt."
        assert ("trainlist01.txt, line 21", problem) in details(report)
        assert error(ManifestError, "ucf101", root, out, variant="2") == (
            f"{root}: found no list: looked for trainlist02.txt, ucfTrainTestlist/trainlist02.txt. "
            + LAYOUT.format("ucf101")
        )
        (root / "ucfTrainTestlist/classInd.txt").unlink()
        assert error(ManifestError, "ucf101", root, out).startswith(
            f"{root}: found no list: looked for classInd.txt, ucfTrainTestlist/classInd.txt. "
        )
        assert error(UnknownNameError, "ucf101", root, out, variant="4") == (
            "ucf101 has no variant '4'. Known: 1, 2, 3."
        )

    def test_folders_of_frames(self, root, out, media):
        put_frames(media, root / "frames/YoYo/v_YoYo_g01_c01")
        write(root / "classInd.txt", "1 YoYo\n")
        write(root / "trainlist01.txt", "YoYo/v_YoYo_g01_c01.avi 1\n")
        write(root / "testlist01.txt", "")
        import_source("ucf101", root, out)
        assert rows(out, "train")["YoYo/v_YoYo_g01_c01"].video == str(root / "frames/YoYo/v_YoYo_g01_c01")


class TestActivityNet:
    def test_moments(self, root, out, media):
        activitynet(root, 20, media)
        import_source("activitynet", root, out)
        found = [(s.id, s.labels, s.start, s.end, s.video_id) for s in rows(out, "val").values()]
        assert found == [
            ("yt-000008-0", ("Archery",), 0, 1.5, "yt-000008"), ("yt-000008-1", ("Long jump",), 1.25, 3, "yt-000008"),
        ]  # fmt: skip
        (sample,) = rows(out, "test").values()
        assert (sample.id, sample.labels, sample.start) == ("yt-000009", (), None)

    def test_videos(self, root, out, media):
        activitynet(root, 20, media)
        report = import_source("activitynet", root, out, variant="videos")
        (sample,) = rows(out, "val").values()
        assert sample.labels == ("Archery", "Long jump") and sample.start is None
        assert sample.video == str(root / "videos/v_yt-000008.mp4")
        assert ("activity_net.v1-3.min.json, odd", "one of its labels is empty.") in details(report)
        assert error(UnknownNameError, "activitynet", root, out, variant="video") == (
            "activitynet has no variant 'video'. Did you mean 'videos'? Known: moments, videos."
        )

    def test_videos_twice_missing_and_broken(self, root, out, media):
        assert error(ManifestError, "activitynet", root, out) == (
            f"{root}: found no annotations: looked for activity_net.v1-3.min.json, activity_net.v1-3.json, "
            "activity_net.v1-2.min.json, activity_net.json. " + LAYOUT.format("activitynet")
        )
        write(root / "activity_net.json", {"videos": {}})
        assert error(ManifestError, "activitynet", root, out) == (
            f"{root}/activity_net.json: an object "
            '{"database": {ID: {"subset": …, "annotations": […]}}} is needed.'
        )
        put(media.clip, root / "a.mp4")
        entry = json.dumps({"subset": "training", "annotations": [{"label": "x", "segment": [0, 1]}]})
        odd = '{"subset": [], "annotations": []}'
        write(root / "activity_net.json", f'{{"database": {{"a": {entry}, "a": {entry}, "b": {odd}, "c": 3}}}}')
        report = import_source("activitynet", root, out)
        needed = "has no 'subset' of training, validation, testing, or no list of 'annotations': "
        assert details(report) == [
            ("activity_net.json, a", "stands there more than once; the last one counts."),
            ("activity_net.json, b", f"{needed}{{'subset': [], 'annotations': []}}"),
            ("activity_net.json, c", f"{needed}3"),
        ]


class TestFcvid:
    def test_samples(self, root, out, media):
        fcvid(root, 20, media)
        import_source("fcvid", root, out)
        assert rows(out, "test")["-v9"].labels == ("airplane", "albatross")
        assert rows(out, "train")["-v0"].video == str(root / "videos/-v0.mp4")

    def test_without_names(self, root, out, media):
        fcvid(root, 20, media)
        (root / "materials/classes.txt").unlink()
        report = import_source("fcvid", root, out)
        assert rows(out, "test")["-v9"].labels == ("1", "2")
        assert report.notes == ["there are no names of categories: they are called by their numbers."]

    def test_missing_and_broken(self, root, out, media):
        assert error(ManifestError, "fcvid", root, out) == (
            f"{root}: found no list: looked for FCVID_VideoName_TrainTestSplit.txt, "
            "materials/FCVID_VideoName_TrainTestSplit.txt. " + LAYOUT.format("fcvid")
        )
        put(media.clip, root / "videos/a b.mp4")
        (root / "FCVID_VideoName_TrainTestSplit.txt").write_bytes(b"a b.mp4 train\n\xff train\nc.mp4 test\n")
        write(root / "FCVID_Label.txt", "1,0\n1 0\n")
        assert error(ManifestError, "fcvid", root, out) == (
            f"{root}/FCVID_Label.txt: has 2 lines, FCVID_VideoName_TrainTestSplit.txt has 3; they belong together."
        )
        write(root / "FCVID_Label.txt", "1,0\n1 0\nx\n")
        report = import_source("fcvid", root, out)
        assert rows(out, "train")["a b"].labels == ("0",)
        assert details(report) == [
            (
                "FCVID_VideoName_TrainTestSplit.txt, line 2",
                "a row is a file and 'train' or 'test'; this one is not UTF-8",
            ),
            ("FCVID_VideoName_TrainTestSplit.txt, line 3", "its labels are no numbers: x"),
        ]
