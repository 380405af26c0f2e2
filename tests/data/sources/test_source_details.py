"""What is particular to each release."""

import pytest
from import_checks import error, rows, write
from releases import activitynet_captions, msrvtt, places_audio, put, smit, vatex

from mmretrieval.data.sources import import_source
from mmretrieval.errors import ManifestError, UnknownNameError

LAYOUT = "'mmretrieval import --list' shows the layout that '{}' expects."


class TestSmit:
    def test_a_sample_has_all_that_belongs_to_its_name(self, root, out, media):
        smit(root, 10, media)
        import_source("smit", root, out)
        sample = rows(out, "val")["part2/clip0008"]
        assert sample.video == str(root / "videos/part2/clip0008.mp4") and sample.video_id == sample.id
        assert sample.speech == str(root / "wavs/part2/clip0008.wav")
        assert sample.text == "a red dog number 8 jumps over the ball"

    @pytest.mark.parametrize("place", ["audio/a.m4a", "spoken_captions/a.webm", "recordings/a.FLAC"])
    def test_recordings_are_found_in_likely_folders_in_any_format(self, root, out, media, place):
        write(root / "train_set.txt", "a\n")
        put(media.clip, root / "videos/a.mp4")
        put(media.speech, root / place)
        report = import_source("smit", root, out)
        assert rows(out, "train")["a"].speech == str(root / place) and rows(out, "train")["a"].text is None
        assert report.notes == [
            f"there is no {name}: that split is left out." for name in ("val_set.txt", "test_set.txt")
        ]

    def test_captions_of_one_video_share_it(self, root, out, media):
        for name in ("yt-a", "yt-b", "yt-b_27", "c"):
            put(media.clip, root / f"videos/{name}.avi", root / f"videos/{name}.mp4")
        names = ["yt-a_1", "yt-a_2", "yt-b_27", "elsewhere"]
        for name in names:
            write(root / f"transcriptions/{name}.txt", name)
        write(root / "test_set.txt", "\r\n".join(names) + "\r\n")
        write(root / "caption_to_video.csv", "elsewhere.wav,c.mp4\n")
        report = import_source("smit", root, out)
        found = {name: (sample.video_id, sample.video) for name, sample in rows(out, "test").items()}
        expected = {"yt-a_1": "yt-a", "yt-a_2": "yt-a", "yt-b_27": "yt-b_27", "elsewhere": "c"}
        assert found == {name: (video, str(root / f"videos/{video}.mp4")) for name, video in expected.items()}
        assert "2 captions belong to the video of their name without the number at its end." in report.notes

    def test_without_recordings_it_says_where_it_looked(self, root, out, media):
        write(root / "train_set.txt", "a\n")
        write(root / "transcriptions/a.txt", "a dog")
        put(media.clip, root / "videos/a.mp4")
        report = import_source("smit", root, out)
        assert report.notes[-1].startswith("there are no recordings (looked for audio/, audios/, wavs/, ")

    def test_what_stands_in_test_and_train_stays_in_test(self, root, out, media):
        for name in "ab":
            put(media.clip, root / f"videos/{name}.mp4")
            write(root / f"transcriptions/{name}.txt", "a dog")
        write(root / "train_set.txt", "a\nb\n")
        write(root / "test_set.txt", "a\n")
        report = import_source("smit", root, out)
        assert set(rows(out, "train")) == {"b"} and set(rows(out, "test")) == {"a"}
        (entry,) = report.set_aside
        assert entry == ("train", "train_set.txt, line 1", "a", "id used twice",
                         "the id 'a' is that of test_set.txt, line 1 already.")  # fmt: skip

    def test_missing_parts_are_named(self, root, out):
        expected = f"{root}: found no list of a split: looked for train_set.txt, val_set.txt, test_set.txt. "
        assert error(ManifestError, "smit", root, out) == expected + LAYOUT.format("smit")
        write(root / "train_set.txt", "a\n")
        expected = f"{root}: found no folder of videos: looked for videos/. "
        assert error(ManifestError, "smit", root, out) == expected + LAYOUT.format("smit")
        (root / "videos").mkdir()
        expected = f"{root}: found no captions: looked for transcriptions/, audio/, audios/, "
        assert error(ManifestError, "smit", root, out).startswith(expected)
        assert not out.exists()

    def test_a_transcript_that_is_no_text(self, root, out, media):
        put(media.clip, root / "videos/a.mp4", root / "videos/b.mp4")
        (root / "transcriptions").mkdir()
        (root / "transcriptions/a.txt").write_bytes(b"caf\xe9\n")
        write(root / "transcriptions/b.txt", "\ufeffa café")
        (root / "train_set.txt").write_bytes(b"a\n\nb\n\xff\n")
        report = import_source("smit", root, out)
        assert [(entry.where, entry.reason) for entry in report.set_aside] == [
            ("train_set.txt, line 1", "broken row"),
            ("train_set.txt, line 4", "broken row"),
        ]
        assert rows(out, "train")["b"].text == "a café"


class TestMoments:
    def test_labels_and_files(self, root, out, media):
        put(media.clip, root / "videos/playing+music/x.mkv", root / "training/falling/y.mp4")
        put(media.clip, root / "training/falling/z.avi", root / "training/falling/z.mp4", root / "videos/falling/z.mp4")
        lines = ["file,label,yes,no", "playing+music/x.mp4,playing+music,3,0", "falling/y.mp4,falling,3,1"]
        write(root / "trainingSet.csv", "\n".join([*lines, "falling/z.mp4,falling"]))
        import_source("moments", root, out)
        found = rows(out, "train")
        assert found["playing+music/x"].video == str(root / "videos/playing+music/x.mkv")  # re-encoded
        assert found["falling/z"].video == str(root / "training/falling/z.mp4")  # the usual suffix and place first
        assert found["playing+music/x"].labels == ("playing music",) and found["falling/y"].labels == ("falling",)

    def test_missing_lists(self, root, out):
        expected = f"{root}: found no list of a split: looked for trainingSet.csv, validationSet.csv, testingSet.csv. "
        assert error(ManifestError, "moments", root, out) == expected + LAYOUT.format("moments")


class TestMsrvtt:
    def test_train_has_all_captions_and_test_the_given_one(self, root, out, media):
        msrvtt(root, 50, media)
        import_source("msrvtt", root, out)
        train, test = rows(out, "train"), rows(out, "test")
        assert [name for name, sample in train.items() if sample.video_id == "video3"] == [
            f"video3-{number}" for number in range(15, 20)
        ]
        sample = test["video9-ret9"]
        assert (sample.text, sample.video_id) == ("a red dog number 9 jumps over the ball, slowly", "video9")
        assert not {s.video_id for s in train.values()} & {s.video_id for s in test.values()}

    def test_variants(self, root, out, media):
        msrvtt(root, 50, media)
        import_source("msrvtt", root, out / "7k", variant="7k")
        import_source("msrvtt", root, out / "full", variant="full")
        assert {s.video_id for s in rows(out / "7k", "train").values()} == {f"video{n}" for n in range(6)}
        assert {s.video_id for s in rows(out / "full", "val").values()} == {"video1"}
        assert {s.video_id for s in rows(out / "full", "test").values()} == {"video2"}
        assert len(rows(out / "full", "train")) == 5 * 8
        report = import_source("msrvtt", root, out / "7k", variant="7k")
        assert report.notes == ["4 of 11 videos with captions are in neither list: left out."]
        assert error(UnknownNameError, "msrvtt", root, out, variant="1ka") == (
            "msrvtt has no variant '1ka'. Did you mean '1k-a'? Known: 1k-a, 7k, full."
        )

    def test_the_two_files_of_the_challenge(self, root, out, media):
        for number, (name, split) in enumerate((("train_val", "validate"), ("test", "test"))):
            put(media.clip, root / f"{('TrainValVideo', 'TestVideo')[number]}/video{number}.mp4")
            write(root / f"annotation/{name}_videodatainfo.json", {
                "videos": [{"video_id": f"video{number}", "split": split}],
                "sentences": [{"sen_id": number, "video_id": f"video{number}", "caption": "a dog"}],
            })  # fmt: skip
        import_source("msrvtt", root, out, variant="full")
        assert rows(out, "val")["video0-0"].video == str(root / "TrainValVideo/video0.mp4")
        assert rows(out, "test")["video1-1"].video == str(root / "TestVideo/video1.mp4")

    def test_videos_without_split_or_captions(self, root, out, media):
        put(media.clip, root / "videos/a.mp4")
        write(root / "MSRVTT_data.json", {
            "videos": [{"video_id": "a", "split": "test"}, {"video_id": "b"}, {"video_id": "c", "split": "train"}],
            "sentences": [{"video_id": video, "caption": "x", "sen_id": n} for n, video in enumerate("abd")],
        })  # fmt: skip
        report = import_source("msrvtt", root, out, variant="full")
        problem = "'videos' names no split (train, validate, test) for its video '{}'."
        assert [tuple(entry) for entry in report.set_aside] == [
            ("train", "videos, c", "c", "no caption", "no sentence describes it."),
            (None, "MSRVTT_data.json, sentence 2", "b-1", "broken row", problem.format("b")),
            (None, "MSRVTT_data.json, sentence 3", "d-2", "broken row", problem.format("d")),
        ]

    def test_broken_files(self, root, out):
        write(root / "MSRVTT_data.json", '{"videos": [],\n "sentences": [}')
        assert error(ManifestError, "msrvtt", root, out) == (
            f"{root}/MSRVTT_data.json, line 2, column 16: not valid JSON (expecting value). Is the download whole?"
        )
        write(root / "MSRVTT_data.json", {"videos": []})
        assert error(ManifestError, "msrvtt", root, out) == (
            f"{root}/MSRVTT_data.json: an object with the lists 'videos' and 'sentences' is needed."
        )
        write(root / "MSRVTT_data.json", {"sentences": []})
        assert error(ManifestError, "msrvtt", root, out) == (
            f"{root}: found no list of a split: looked for MSRVTT_train.9k.csv, MSRVTT_JSFUSION_test.csv. "
            + LAYOUT.format("msrvtt")
        )
        write(root / "MSRVTT_JSFUSION_test.csv", "key,video,sentence\n")
        assert error(ManifestError, "msrvtt", root, out) == (
            f"{root}/MSRVTT_JSFUSION_test.csv: has no column 'video_id'; its columns are key, video, sentence."
        )
        assert not out.exists()


class TestVatex:
    def test_captions_of_a_clip(self, root, out, media):
        vatex(root, 50, media)
        report = import_source("vatex", root, out)
        sample = rows(out, "val")["yt_-000003_000010_000020-4"]
        assert sample.text == "a red dog number 34 jumps over the ball" and sample.start is None
        assert sample.video == str(root / "videos/yt_-000003_000010_000020.mp4")
        assert report.notes == []

    def test_whole_videos_are_cut(self, root, out, media):
        put(media.clip, root / "clips/ab_c.mp4")
        write(root / "annotations/vatex_validation_v1.0.json", [{"videoID": "ab_c_000001_000002", "enCap": ["a", "b"]}])
        report = import_source("vatex", root, out)
        assert [(s.video, s.start, s.end) for s in rows(out, "val").values()] == 2 * [
            (str(root / "clips/ab_c.mp4"), 1, 2)
        ]
        assert report.notes[-2:] == [
            "there is no vatex_public_test_english_v*.json: the split 'test' is left out.",
            "2 captions are of whole videos, which are cut by the times in their names.",
        ]

    def test_missing_and_broken(self, root, out):
        write(root / "vatex_private_test_without_annotations.json", [])
        assert error(ManifestError, "vatex", root, out) == (
            f"{root}: found no annotations: looked for vatex_training_v*.json, vatex_validation_v*.json, "
            "vatex_public_test_english_v*.json. " + LAYOUT.format("vatex")
        )
        write(root / "vatex_training_v1.0.json", {})
        assert error(ManifestError, "vatex", root, out) == (
            f'{root}/vatex_training_v1.0.json: a list of {{"videoID": …, "enCap": […]}} is needed.'
        )


class TestActivityNetCaptions:
    def test_moments(self, root, out, media):
        activitynet_captions(root, 24, media)
        report = import_source("activitynet-captions", root, out)
        spans = [(s.text, s.start, s.end) for s in rows(out, "val_1").values()]
        text = "a red dog number 5 jumps over the ball"
        assert spans == [(f"{text} 0", 0, 1), (f"{text} 1", 0.5, 2.25), (f"{text} 2", 1, 3), (f"{text} 3", 2, 3)]
        # other moments of the same video are no right answers
        assert {sample.video_id for sample in rows(out, "val_1").values()} == {None}
        assert report.notes == ["7 captions end after their video and were cut at its end."]
        assert {entry.detail for entry in report.set_aside if entry.reason == "no such span"} == {
            "2–1 s: a span ends after it starts.",
            "it starts at 3.5 s, the video ends at 3 s.",
            "its time stamps are [0.0]; two numbers are needed.",
        }
        assert not rows(out, "val_1").keys() & rows(out, "val_2").keys()

    def test_paragraphs(self, root, out, media):
        activitynet_captions(root, 24, media)
        import_source("activitynet-captions", root, out, variant="paragraphs")
        (sample,) = rows(out, "val_2").values()
        assert sample.text.count("jumps") == 4 and sample.start is None and sample.video_id == "v_-000005_x"

    def test_videos_without_prefix_and_unknown_variant(self, root, out, media):
        put(media.clip, root / "videos/abc.mkv")
        write(root / "captions/train.json", {"v_abc": {"duration": 3, "timestamps": [[0, 1]], "sentences": ["x"]}})
        import_source("activitynet-captions", root, out)
        assert rows(out, "train")["v_abc-0"].video == str(root / "videos/abc.mkv")
        assert error(UnknownNameError, "activitynet-captions", root, out, variant="paragraph") == (
            "activitynet-captions has no variant 'paragraph'. Did you mean 'paragraphs'? Known: moments, paragraphs."
        )


class TestPlacesAudio:
    def test_words_text_and_picture(self, root, out, media):
        places_audio(root, 10, media)
        import_source("places-audio", root, out)
        sample = rows(out, "val")["spk2_GSUN_9"]
        assert sample.video == str(root / "images/a/abbey/gsun_9.jpg") and sample.video_id == "a/abbey/gsun_9.jpg"
        assert sample.words == (("a", 0.1, 0.2), ("red", 0.2, 0.5), ("dog", 0.5, 0.9))
        assert sample.text == "a red dog number 9 jumps over the ball"

    def test_the_revision_of_2020_and_pictures_elsewhere(self, root, out, media, tmp_path):
        put(media.still, tmp_path / "places205/z/zoo.jpg")
        put(media.speech, root / "wavs/1.wav")
        entry = {"wav": "wavs/1.wav", "image": "z/zoo.jpg", "text_alignment": "0.0__snake__case__0.5"}
        write(root / "metadata/dev_seen_2020.json", {"data": [entry]})
        looked_for = "metadata/train.json, metadata/val.json, metadata/dev.json, metadata/test.json. "
        assert error(ManifestError, "places-audio", root, out) == (
            f"{root}: found no list of a split: looked for {looked_for}" + LAYOUT.format("places-audio")
        )
        report = import_source("places-audio", root, out, variant="2020", media=[tmp_path / "places205"])
        (sample,) = rows(out, "dev_seen").values()
        assert (sample.id, sample.words) == ("1", (("snake__case", 0.0, 0.5),))
        assert sample.video == str(tmp_path / "places205/z/zoo.jpg") and sample.text is None
        assert report.notes == ["1 of 1 recordings have no transcript; --need text leaves them out."]

    def test_base_paths_that_exist_are_used(self, root, out, media, tmp_path):
        put(media.still, tmp_path / "there/1.jpg")
        put(media.speech, root / "sounds/1.wav")
        write(root / "train.json", {
            "image_base_path": str(tmp_path / "there"),
            "audio_base_path": "sounds",
            "data": [{"wav": "1.wav", "image": "1.jpg"}],
        })  # fmt: skip
        put(media.still, tmp_path / "named/1.jpg")
        for options, place in (({}, "there"), ({"media": [tmp_path / "named"]}, "named")):
            import_source("places-audio", root, out, **options)
            sample = rows(out, "train")["1"]
            assert (sample.video, sample.speech) == (str(tmp_path / place / "1.jpg"), str(root / "sounds/1.wav"))
