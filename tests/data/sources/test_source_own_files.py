"""A person's own clips: folders and tables."""

import pytest
from import_checks import error, rows, write
from releases import put

from mmretrieval.data.sources import import_source
from mmretrieval.errors import ManifestError

LAYOUT = "'mmretrieval import --list' shows the layout that '{}' expects."


class TestFolder:
    def test_several_captions_labels_and_pictures(self, root, out, media):
        put(media.clip, root / "a+b/c/x.mp4")
        put(media.still, root / "a+b/c/x.jpg", root / "photo.png")  # the first is the poster of the video
        put(media.speech, root / "a+b/c/x.mp3", root / "photo.ogg")
        write(root / "a+b/c/x.txt", "\ufeffa dog\r\n\r\n a cat \r\n")
        put(media.clip, root / ".hidden/y.mp4", root / "bare.mp4")
        report = import_source("folder", root, out / "all.jsonl")
        found = rows(out, "all")
        assert set(found) == {"a+b/c/x-0", "a+b/c/x-1", "photo", "bare"}
        assert [(found[f"a+b/c/x-{n}"].text, found[f"a+b/c/x-{n}"].video_id) for n in (0, 1)] == [
            ("a dog", "a+b/c/x"), ("a cat", "a+b/c/x")
        ]  # fmt: skip
        assert found["a+b/c/x-0"].speech == str(root / "a+b/c/x.mp3") and found["a+b/c/x-1"].speech is None
        assert found["a+b/c/x-0"].labels == ("a b", "c") and found["photo"].labels == ()
        assert found["photo"].video == str(root / "photo.png") and found["photo"].speech == str(root / "photo.ogg")
        assert report.notes == ["1 of 3 clips have no caption beside them."]

    def test_two_videos_of_one_name(self, root, out, media):
        put(media.clip, root / "a.mp4", root / "a.mkv")
        report = import_source("folder", root, out)
        assert [tuple(entry) for entry in report.set_aside] == [
            ("all", "a.mp4", None, "broken row", "a.mkv has the same name; give it another.")
        ]

    def test_folders_that_are_splits(self, root, out, media):
        put(media.clip, root / "train/run/a.mp4", root / "validation/b.mp4", root / "Test/c.mp4")
        import_source("folder", root, out)
        assert rows(out, "train")["train/run/a"].labels == ("run",)
        assert list(rows(out, "val")) == ["validation/b"] and list(rows(out, "test")) == ["Test/c"]
        assert error(ManifestError, "folder", root, out, val_share=0.1) == (
            f"{root}: is split into Test, train, validation already; leave out the shares."
        )

    def test_a_random_split_is_the_same_each_time(self, root, out, media):
        for number in range(20):
            put(media.clip, root / f"{number}.mp4")
            write(root / f"{number}.txt", "a dog\nan animal\n")
        shares = {"val_share": 0.1, "test_share": 0.2}
        for name, seed in (("first", 0), ("again", 0), ("other", 1)):
            import_source("folder", root, out / name, seed=seed, **shares)
        parts = {split: {s.video_id for s in rows(out / "first", split).values()} for split in ("train", "val", "test")}
        assert {split: len(part) for split, part in parts.items()} == {"train": 14, "val": 2, "test": 4}
        assert len(set.union(*parts.values())) == 20  # captions of one video stay together
        assert rows(out / "first", "test").keys() == rows(out / "again", "test").keys()
        assert rows(out / "first", "test").keys() != rows(out / "other", "test").keys()
        for bad in (-0.1, 1.0):
            assert error(ManifestError, "folder", root, out, val_share=bad) == (
                f"shares of {bad:g} for validation and 0 for test were asked for; "
                "each is at least 0, and together they stay below 1."
            )

    def test_names_that_are_no_text(self, root, out, media):
        put(media.clip, root / "a.mp4", root / "caf\udce9.mp4")
        report = import_source("folder", root, out)
        assert [entry.reason for entry in report.set_aside] == ["broken row"] and list(rows(out, "all")) == ["a"]
        assert "caf\\\\udce9.mp4" in (out / "set_aside.jsonl").read_text("utf-8")

    def test_nothing_there(self, root, out):
        write(root / "README.txt", "hello")
        assert error(ManifestError, "folder", root, out).startswith(
            f"{root}: found no video or picture: looked for .3gp, "
        )
        assert error(ManifestError, "folder", root / "README.txt", out) == f"{root}/README.txt: is not a folder."


class TestCsv:
    def import_table(self, root, out, content, **options):
        write(root / "table.csv", content)
        return import_source("csv", root / "table.csv", out, **options)

    @pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
    def test_the_delimiter_is_found(self, root, out, media, delimiter):
        put(media.clip, root / "a.mp4")
        lines = [["video", "text", "start"], ["a.mp4", '"one, two; three"', "0.5"]]
        self.import_table(root, out, "".join(delimiter.join(line) + "\n" for line in lines))
        (sample,) = rows(out, "all").values()
        assert (sample.id, sample.text, sample.start) == ("table-2", "one, two; three", 0.5)

    def test_splits_words_and_cells_of_several_lines(self, root, out, media):
        put(media.clip, root / "a.mp4")
        words = '"[[""dog"", 0, 0.5]]"'
        lines = ["\ufeffid,video,text,words,split", f'x,a.mp4,"a dog\r\nruns",{words},train', "y,a.mp4,b,,test"]
        report = self.import_table(root, out, "\r\n".join([*lines, "z,a.mp4,c,,../up", ""]))
        assert rows(out, "train")["x"].text == "a dog\nruns" and rows(out, "train")["x"].words == (("dog", 0.0, 0.5),)
        assert [tuple(e) for e in report.set_aside] == [
            (None, "table.csv, line 5", "z", "broken row", "the split '../up' cannot name a file.")
        ]
        assert report.notes == ["1 videos of test are in train as well: a model would know them."]
        assert error(ManifestError, "csv", root, out, val_share=0.1) == (
            f"{root}/table.csv: has a column 'split' already; leave out the shares."
        )

    def test_a_quote_that_is_never_closed_costs_one_line(self, root, out, media):
        put(media.clip, root / "a.mp4")
        lines = [f"a.mp4,row {number}" for number in range(50)]
        lines[3] = 'a.mp4,"row 3'
        report = self.import_table(root, out, "video,text\n" + "\n".join(lines) + "\n")
        assert len(rows(out, "all")) == 49
        (entry,) = report.set_aside
        assert (entry.where, entry.detail) == ("table.csv, line 5", 'its quotes do not pair up: a.mp4,"row 3')

    def test_one_file_is_one_video_however_it_is_written(self, root, out, media):
        put(media.clip, root / "a.mp4")
        report = self.import_table(root, out, f"video,text\na.mp4,x\n./b/../a.mp4,y\n{root}/a.mp4,z\n")
        assert report.splits["all"].videos == 1 and report.splits["all"].kept == 3

    def test_a_line_that_is_no_text(self, root, out, media):
        put(media.clip, root / "a.mp4")
        (root / "table.csv").write_bytes('video,text\na.mp4,"caf\xe9\n"\na.mp4,"x\ny"\n'.encode("latin-1"))
        report = import_source("csv", root, out)
        assert [(entry.where, entry.detail) for entry in report.set_aside] == [
            ("table.csv, line 2", "not UTF-8."),
            ("table.csv, line 3", 'has 1 cells, 2 are needed: "'),
        ]
        assert rows(out, "all")["table-4"].text == "x\ny"

    def test_unknown_columns_are_named(self, root, out, media):
        put(media.clip, root / "a.mp4")
        report = self.import_table(root, out, "video,labls,colour\na.mp4,x,y\n")
        assert report.notes == [
            "the column 'labls' is unknown and was not read. Did you mean 'labels'?",
            "the column 'colour' is unknown and was not read.",
        ]

    def test_tables_that_cannot_be_read(self, root, out):
        assert error(ManifestError, "csv", root, out) == (
            f"{root}: found no table: looked for a .csv or .tsv file. " + LAYOUT.format("csv")
        )
        known = "id, video, speech, text, video_id, start, end, labels, words, split"
        for content, expected in (
            ("", "its first line must name the columns, and is empty or not UTF-8."),
            (
                "clip,title\n",
                f"has none of the columns video, speech and text; its columns are clip, title. Known: {known}.",
            ),
            ("video,video\n", "two columns have the same name; its columns are video, video."),
        ):
            write(root / "table.csv", content)
            assert error(ManifestError, "csv", root, out) == f"{root}/table.csv: {expected}"
        write(root / "other.tsv", "")
        assert (
            error(ManifestError, "csv", root, out) == f"{root}: holds several tables, name one: other.tsv, table.csv."
        )

    def test_odd_cells(self, root, out, media):
        put(media.clip, root / "a.mp4")
        put(media.speech, root / "a.wav")
        report = self.import_table(
            root, out, "video,speech,text,words,end\na.mp4,a.wav,,,\na.mp4,,x,nonsense,\na.mp4,,x,,inf\na.mp4,,x,,-1\n"
        )
        assert rows(out, "all")["table-2"].text is None  # it is described by its recording
        assert [entry.detail for entry in report.set_aside] == [
            "'words' is nonsense; a list of [word, start, end] in JSON is needed.",
            "0–inf s: a span ends after it starts.",
            "0–-1 s: a span ends after it starts.",
        ]
