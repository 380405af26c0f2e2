"""Miniature releases of data sets in exactly their layouts, with real media, and with faults planted in them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from makers import pictures, tone, write_video


class Media(NamedTuple):
    """Real files that releases are made of: hard links to them cost nothing."""

    clip: Path
    speech: Path
    still: Path


class Fault(NamedTuple):
    """Something wrong that was planted: why it must be set aside, and the place under which."""

    reason: str
    where: str


def make_media(folder: Path) -> Media:
    """A clip of 3 s, its description recorded in stereo at 48 kHz, and a photograph."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    left, right = tone(1.0, 48_000), tone(1.0, 48_000, 330.0)
    soundfile.write(folder / "speech.wav", np.stack([left, right], axis=1), 48_000)
    Image.fromarray(pictures(1, 48, 64)[0]).save(folder / "still.jpg")
    return Media(
        write_video(folder / "clip.mp4", pictures(36, 48, 64), fps=12), folder / "speech.wav", folder / "still.jpg"
    )


def put(original: Path, *copies: Path) -> None:
    for copy in copies:
        copy.parent.mkdir(parents=True, exist_ok=True)
        os.link(original, copy)


def caption(number: int) -> str:
    return f"a red dog number {number} jumps over the ball"


def smit(root: Path, rows: int, media: Media) -> list[Fault]:
    """Names with sub-folders; of every ten rows one is val and one is test; recordings lie in wavs/."""
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for number in range(rows):
        name = f"part{number % 3}/clip{number:04}"
        lists["val" if number % 10 == 8 else "test" if number % 10 == 9 else "train"].append(name)
        put(media.clip, root / f"videos/{name}.mp4")
        put(media.speech, root / f"wavs/{name}.wav")
        _text(root / f"transcriptions/{name}.txt", f"{caption(number)}  \nconfidence 0.9\n")
    train = lists["train"]
    faults = []
    for fault, name in (("missing file", "no-video"), ("no caption", "no-text"), ("empty caption", "nothing-said")):
        train.append(name)
        faults.append(Fault(fault, f"train_set.txt, line {len(train)}"))
        if name != "no-video":
            put(media.clip, root / f"videos/{name}.mp4")
        if name != "no-text":
            _text(root / f"transcriptions/{name}.txt", "\nsecond line\n" if name == "nothing-said" else "a cat")
    train.append(train[0])
    faults.append(Fault("id used twice", f"train_set.txt, line {len(train)}"))
    for split, names in lists.items():
        _text(root / f"{split}_set.txt", "".join(f"{name}\n" for name in names))
    return faults


def moments(root: Path, rows: int, media: Media) -> list[Fault]:
    lines = {"training": [], "validation": []}
    for number in range(rows):
        folder = "validation" if number % 10 == 9 else "training"
        label = ("adult+male+singing", "falling", "playing+music")[number % 3]
        put(media.clip, root / f"{folder}/{label}/clip_{number}.mp4")
        lines[folder].append(f"{label}/clip_{number}.mp4,{label},{3 + number % 2},{number % 2}")
    train = lines["training"]
    train += ["falling/gone.mp4,falling,3,0", "falling/clip_1.mp4", train[0]]
    places = [f"trainingSet.csv, line {len(train) - 2 + place}" for place in range(3)]
    for folder, part in lines.items():
        _text(root / f"{folder}Set.csv", "".join(f"{line}\n" for line in part))
    return [Fault(*pair) for pair in zip(("missing file", "broken row", "id used twice"), places)]


def msrvtt(root: Path, rows: int, media: Media) -> list[Fault]:
    """Five captions a video; every tenth video is JSFusion's."""
    videos = max(rows // 5, 10)
    sentences, train, test = [], ["video_id"], ["key,vid_key,video_id,sentence"]
    for number in range(videos):
        put(media.clip, root / f"videos/all/video{number}.mp4")
        sentences += [
            {"caption": caption(5 * number + part), "video_id": f"video{number}", "sen_id": 5 * number + part}
            for part in range(5)
        ]
        if number % 10 == 9:
            test.append(f'ret{number},msr{number},video{number},"{caption(number)}, slowly"')
        else:
            train.append(f"video{number}")
    sentences += [{"caption": "a cat", "video_id": "video9998", "sen_id": 9_998}]
    sentences += [{"caption": " ", "video_id": "video0", "sen_id": 9_999}, {"caption": "no video is named"}]
    train += ["video9998", "video9999", "video0"]
    test.append('ret77,msr7,video9,"never closed')
    count = len(sentences)
    _json(
        root / "MSRVTT_data.json",
        {
            "info": {"year": "2016"},
            "videos": [{"video_id": f"video{n}", "category": 3, "split": _official(n)} for n in range(videos)],
            "sentences": sentences,
        },
    )
    _text(root / "MSRVTT_train.9k.csv", "".join(f"{line}\n" for line in train))
    _text(root / "MSRVTT_train.7k.csv", "".join(f"{line}\n" for line in train[: 1 + len(train) // 2]))
    _text(root / "MSRVTT_JSFUSION_test.csv", "".join(f"{line}\n" for line in test))
    return [
        Fault("missing file", f"MSRVTT_data.json, sentence {count - 2}"),
        Fault("empty caption", f"MSRVTT_data.json, sentence {count - 1}"),
        Fault("broken row", f"MSRVTT_data.json, sentence {count}"),
        Fault("no caption", f"MSRVTT_train.9k.csv, line {len(train) - 1}"),
        Fault("broken row", f"MSRVTT_train.9k.csv, line {len(train)}"),
        Fault("broken row", f"MSRVTT_JSFUSION_test.csv, line {len(test)}"),
    ]


def _official(number: int) -> str:
    return ("train", "validate", "test")[min(number % 10, 2) if number % 10 < 3 else 0]


def vatex(root: Path, rows: int, media: Media) -> list[Fault]:
    """Ten captions a video; every fifth video is val, every fifth test."""
    entries: dict[str, list] = {"training_v1.0": [], "validation_v1.0": [], "public_test_english_v1.1": []}
    kinds = list(entries)
    for number in range(max(rows // 10, 5)):
        name = f"yt_-{number:06}_000010_000020"
        put(media.clip, root / f"videos/{name}.mp4")
        captions = [caption(10 * number + part) for part in range(10)]
        entry = {"videoID": name, "enCap": captions, "chCap": ["一只狗"]}
        entries[kinds[max(0, number % 5 - 2)]].append(entry)
    train = entries["training_v1.0"]
    train += [{"videoID": "gone_000001_000011", "enCap": ["a cat"]}, {"videoID": "mute_000001_000011"}, {"enCap": []}]
    train.append(train[0])
    file, count = "vatex_training_v1.0.json", len(train)
    for kind, part in entries.items():
        _json(root / f"vatex_{kind}.json", part)
    _json(root / "vatex_private_test_without_annotations.json", [{"videoID": "x_000001_000011"}])
    reasons = ("missing file", "no caption", "broken row", "id used twice")
    return [Fault(reason, f"{file}, entry {count - 3 + place}") for place, reason in enumerate(reasons)]


def activitynet_captions(root: Path, rows: int, media: Media) -> list[Fault]:
    """Four captions a video; the validation videos are described twice."""
    videos = max(rows // 4, 6)
    lists: dict[str, dict] = {"train": {}, "val_1": {}, "val_2": {}}
    for number in range(videos):
        name = f"v_-{number:06}_x"
        put(media.clip, root / f"videos/{name}.mp4")
        spans = [[0, 1.0], [0.5, 2.25], [1, 3.0], [2.0, 3.4]]  # the last ends after the video
        entry = {"duration": 3.0, "timestamps": spans, "sentences": [f" {caption(number)} {n}" for n in range(4)]}
        for split in ("train",) if number % 6 < 5 else ("val_1", "val_2"):
            lists[split][name] = entry
    first = next(iter(lists["train"]))
    put(media.clip, root / "videos/v_odd.mp4")
    lists["train"]["v_odd"] = {
        "duration": 3.0,
        "timestamps": [[2.0, 1.0], [3.5, 4.0], [0.0], [0, 1]],
        "sentences": ["backwards", "too late", "half a span", "fine"],
    }
    lists["train"]["v_gone"] = {"duration": 3.0, "timestamps": [[0, 1]], "sentences": ["a cat"]}
    lists["train"]["v_uneven"] = {"duration": 3.0, "timestamps": [[0, 1]], "sentences": ["a cat", "a dog"]}
    for split, part in lists.items():
        _json(root / f"{split}.json", part)
    text = (root / "train.json").read_text("utf-8")
    _text(root / "train.json", f'{{"{first}": {{"sentences": []}}, {text[1:]}')
    odd = [Fault("no such span", f"train.json, v_odd, sentence {number}") for number in (1, 2, 3)]
    return [
        *odd,
        Fault("missing file", "train.json, v_gone, sentence 1"),
        Fault("broken row", "train.json, v_uneven"),
        Fault("id used twice", f"train.json, {first}"),
    ]


def places_audio(root: Path, rows: int, media: Media) -> list[Fault]:
    lists: dict[str, list] = {"train": [], "val": []}
    for number in range(rows):
        entry = {"uttid": f"spk{number % 7}_GSUN_{number}", "speaker": f"spk{number % 7}"}
        entry |= {"wav": f"wavs/{number % 5}/utterance_{number}.wav", "image": f"a/abbey/gsun_{number}.jpg"}
        entry |= {"asr_text": caption(number), "text_alignment": "0.1__a__0.2 0.2__red__0.5 0.5__dog__0.9"}
        put(media.speech, root / entry["wav"])
        put(media.still, root / "images" / entry["image"])
        lists["val" if number % 10 == 9 else "train"].append(entry)
    train = lists["train"]
    good = train[0]
    train += [
        good | {"uttid": "no-image", "image": "a/abbey/gone.jpg"},
        good | {"uttid": "no-wav", "wav": "wavs/gone.wav"},
        {"uttid": "neither"},
        good | {"uttid": "odd", "text_alignment": "0.1__a__0.2 dog"},
        good,
    ]
    for split, data in lists.items():
        paths = {"image_base_path": "/data/of/the/authors/", "audio_base_path": "/data/of/the/authors/"}
        _json(root / f"metadata/{split}.json", paths | {"data": data})
    reasons = ("missing file", "missing file", "broken row", "broken row", "id used twice")
    return [Fault(reason, f"train.json, entry {len(train) - 4 + place}") for place, reason in enumerate(reasons)]


def folder(root: Path, rows: int, media: Media) -> list[Fault]:
    for number in range(rows):
        clip = root / f"red+dogs/jumping/clip {number}"
        put(media.clip, Path(f"{clip}.mp4"))
        put(media.speech, Path(f"{clip}.wav"))
        _text(Path(f"{clip}.txt"), f"{caption(number)}\n")
    put(media.clip, root / "silent.mp4")
    _text(root / "silent.txt", "  \n")
    _text(root / "lonely.txt", "a caption without a clip\n")
    (root / "empty.mp4").touch()
    _text(root / "empty.txt", "a clip of no bytes\n")
    return [Fault("empty caption", "silent.mp4"), Fault("missing file", "lonely.txt"), Fault("empty file", "empty.mp4")]


def csv(root: Path, rows: int, media: Media) -> list[Fault]:
    lines = ["id;video;speech;text;labels;start;end"]
    for number in range(rows):
        put(media.clip, root / f"clips/{number}.mp4")
        put(media.speech, root / f"clips/{number}.wav")
        lines.append(f'c{number};clips/{number}.mp4;clips/{number}.wav;"{caption(number)}; slowly";red|dog;0.5;2.5')
    lines += [
        "gone;clips/gone.mp4;;a cat;;;",
        "mute;clips/0.mp4;;;;;",
        "c0;clips/0.mp4;;a dog;;;",
        "late;clips/0.mp4;;a dog;;soon;",
        "back;clips/0.mp4;;a dog;;2;1",
        "short;clips/0.mp4",
        'open;clips/0.mp4;;"a dog',
    ]
    _text(root / "table.csv", "".join(f"{line}\n" for line in lines))
    reasons = (
        "missing file",
        "empty caption",
        "id used twice",
        "broken row",
        "no such span",
        "broken row",
        "broken row",
    )
    return [Fault(reason, f"table.csv, line {rows + 2 + place}") for place, reason in enumerate(reasons)]


def put_frames(media: Media, folder: Path, count: int = 3) -> None:
    put(media.still, *(folder / f"{number:05}.jpg" for number in range(1, count + 1)))


def kinetics(root: Path, rows: int, media: Media) -> list[Fault]:
    """Tables and videos in folders of their classes; every tenth row is val."""
    header = "label,youtube_id,time_start,time_end,split,is_cc"
    lists = {"train": [header], "val": [header]}
    for number in range(rows):
        split = "val" if number % 10 == 9 else "train"
        label = ("air drumming", "passing American football (in game)", "yoga")[number % 3]
        put(media.clip, root / f"{split}/{label}/-yt{number:08}_000007_000017.mp4")
        lists[split].append(f'"{label}",-yt{number:08},7,17,{split},0')
    train = lists["train"]
    train += ["yoga,gone,7,17,train,0", "yoga,odd,seven,17,train,0", ",nameless,7,17,train,0", train[1], "yoga,short"]
    for split, lines in lists.items():
        _text(root / f"{split}.csv", "".join(f"{line}\n" for line in lines))
    reasons = ("missing file", "broken row", "no label", "id used twice", "broken row")
    return [Fault(reason, f"train.csv, line {len(train) - 4 + place}") for place, reason in enumerate(reasons)]


def something(root: Path, rows: int, media: Media) -> list[Fault]:
    """Version 2; every tenth row is val, every tenth test."""
    lists: dict[str, list] = {"train": [], "validation": [], "test": []}
    for number in range(rows):
        put(media.clip, root / f"20bn-something-something-v2/{number}.webm")
        entry = {"id": str(number), "label": caption(number), "placeholders": ["dog"]}
        entry |= {"template": ("Holding [something]", "Pushing [something] from left to right")[number % 2]}
        split = {8: "validation", 9: "test"}.get(number % 10, "train")
        lists[split].append(entry if split != "test" else {"id": str(number)})
    train = lists["train"]
    good = train[0]
    train += [good | {"id": "gone"}, {"id": "1", "label": "a cat"}, {"label": "a cat"}, good, good | {"label": " "}]
    for split, entries in lists.items():
        _json(root / f"labels/something-something-v2-{split}.json", entries)
    file, count = "something-something-v2-train.json", len(train)
    reasons = ("missing file", "no label", "broken row", "id used twice", "empty caption")
    return [Fault(reason, f"{file}, entry {count - 4 + place}") for place, reason in enumerate(reasons)]


def jester(root: Path, rows: int, media: Media) -> list[Fault]:
    lists: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for number in range(rows):
        put_frames(media, root / f"20bn-jester-v1/{number}")
        split = {8: "validation", 9: "test"}.get(number % 10, "train")
        label = ("Swiping Left", "Swiping Right", "Doing other things")[number % 3]
        lists[split].append(str(number) if split == "test" else f"{number};{label}")
    (root / "20bn-jester-v1/bare").mkdir()
    train = lists["train"]
    train += ["gone;Swiping Left", "bare;Swiping Left", "7;", ";Swiping Left", train[0]]
    for split, lines in lists.items():
        _text(root / f"jester-v1-{split}.csv", "".join(f"{line}\n" for line in lines))
    reasons = ("missing file", "empty file", "no label", "broken row", "id used twice")
    return [
        Fault(reason, f"jester-v1-train.csv, line {len(train) - 4 + place}") for place, reason in enumerate(reasons)
    ]


def ucf101(root: Path, rows: int, media: Media) -> list[Fault]:
    classes = ("ApplyEyeMakeup", "YoYo")
    train, test = [], []
    for number in range(rows):
        name = f"{classes[number % 2]}/v_{classes[number % 2]}_g{number:04}_c01.avi"
        put(media.clip, root / "UCF-101" / name)
        test.append(name) if number % 10 == 9 else train.append(f"{name} {number % 2 + 1}")
    train += ["YoYo/v_gone.avi 2", "YoYo/v_odd.avi 3", "YoYo/v_odd.avi 1", "v_odd.avi 1", train[0]]
    _text(root / "ucfTrainTestlist/classInd.txt", "".join(f"{n} {name}\r\n" for n, name in enumerate(classes, 1)))
    for split, lines in (("train", train), ("test", test)):
        _text(root / f"ucfTrainTestlist/{split}list01.txt", "".join(f"{line}\r\n" for line in lines))
    reasons = ("missing file", "unknown label", "unknown label", "broken row", "id used twice")
    return [Fault(reason, f"trainlist01.txt, line {len(train) - 4 + place}") for place, reason in enumerate(reasons)]


def activitynet(root: Path, rows: int, media: Media) -> list[Fault]:
    """Two activities a video; every tenth video is val, every tenth test, where nothing is known."""
    database: dict[str, dict] = {}
    for number in range(max(rows // 2, 10)):
        name = f"yt-{number:06}"
        put(media.clip, root / f"videos/v_{name}.mp4")
        spans = [[0.0, 1.5], [1.25, 3.0]]
        notes = [{"label": label, "segment": span} for label, span in zip(("Archery", "Long jump"), spans)]
        subset = {8: "validation", 9: "testing"}.get(number % 10, "training")
        entry = {"duration": 3.0, "subset": subset, "url": f"https://example.org/{name}"}
        database[name] = entry | {"annotations": [] if subset == "testing" else notes}
    put(media.clip, root / "videos/odd.mp4")
    notes = [{"label": "Archery", "segment": span} for span in ([2, 1], [0], [0, 1])]
    database["odd"] = {"subset": "training", "annotations": [*notes, {"segment": [0, 1]}]}
    database["bare"] = {"subset": "training", "annotations": []}
    database["lost"] = {"subset": "elsewhere", "annotations": notes}
    database["gone"] = {"subset": "validation", "annotations": notes[2:]}
    file = "activity_net.v1-3.min.json"
    _json(root / file, {"version": "VERSION 1.3", "taxonomy": [], "database": database})
    spans = [Fault("no such span", f"{file}, odd, annotation {number}") for number in (1, 2)]
    return [
        *spans,
        Fault("no label", f"{file}, odd, annotation 4"),
        Fault("no label", f"{file}, bare"),
        Fault("broken row", f"{file}, lost"),
        Fault("missing file", f"{file}, gone, annotation 1"),
    ]


def fcvid(root: Path, rows: int, media: Media) -> list[Fault]:
    lines, labels = [], []
    for number in range(rows):
        put(media.clip, root / f"videos/-v{number}.mp4")
        lines.append(f"-v{number}.mp4\t{'test' if number % 10 == 9 else 'train'}")
        labels.append(("1 0 0", "0 1 1")[number % 2])
    lines += ["gone.mp4\ttrain", "-v0.mp4\tval", "-v1.mp4\ttrain", "-v2.mp4\ttrain", lines[0]]
    labels += ["1 0 0", "1 0 0", "0 0 0", "0 0 0 1", labels[0]]
    file = "FCVID_VideoName_TrainTestSplit.txt"
    _text(root / f"materials/{file}", "".join(f"{line}\n" for line in lines))
    _text(root / "materials/FCVID_Label.txt", "".join(f"{line}\n" for line in labels))
    _text(root / "materials/classes.txt", "accordionPerformance\nairplane\nalbatross\n")
    reasons = ("missing file", "broken row", "no label", "unknown label", "id used twice")
    return [Fault(reason, f"{file}, line {len(lines) - 4 + place}") for place, reason in enumerate(reasons)]


def frames(root: Path, rows: int, media: Media) -> list[Fault]:
    """Separated by semicolons, for names of classes have spaces; every tenth row is val, every tenth test."""
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for number in range(rows):
        split = {8: "val", 9: "test"}.get(number % 10, "train")
        path = f"images/{split}/air drumming/clip{number}"
        put_frames(media, root / path)
        lists[split].append(f"{path};1;3" + ("" if split == "test" else f";{number % 2}"))
    train = lists["train"]
    train += ["gone;1;3;0", f"{train[0]};2", f"{train[0].rpartition(';')[0]};-1", "a;3;1;0", "a;1;3", "a 1 3 0"]
    train.append(train[0])
    for split, lines in lists.items():
        _text(root / f"{split}.txt", "".join(f"{line}\n" for line in lines))
    _text(root / "classes.txt", "air drumming\nyoga\n")
    reasons = ("missing file", "unknown label", "unknown label", "no such span", "no label", "broken row")
    return [
        Fault(reason, f"train.txt, line {len(train) - 6 + place}")
        for place, reason in enumerate((*reasons, "id used twice"))
    ]


BUILDERS: dict[str, Callable[[Path, int, Media], list[Fault]]] = {
    "smit": smit,
    "moments": moments,
    "msrvtt": msrvtt,
    "vatex": vatex,
    "activitynet-captions": activitynet_captions,
    "places-audio": places_audio,
    "folder": folder,
    "csv": csv,
    "kinetics": kinetics,
    "something": something,
    "jester": jester,
    "ucf101": ucf101,
    "activitynet": activitynet,
    "fcvid": fcvid,
    "frames": frames,
}


def _text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def _json(path: Path, content: object) -> None:
    _text(path, json.dumps(content, ensure_ascii=False))
