"""What a world holds: enough of everything, splits that share nothing, English that is right."""

import re
from collections import Counter

import pytest

from mmretrieval.errors import ManifestError
from mmretrieval.toyworld import plan as plan_module
from mmretrieval.toyworld.plan import plan, split_sizes
from mmretrieval.toyworld.scene import KIND_NAMES
from mmretrieval.toyworld.vocabulary import ACTIONS, COLOURS, KINDS, PAIRS, SETTINGS
from mmretrieval.toyworld.voices import SEEN_VOICES, UNSEEN_VOICES


def of(planned, split):
    return [clip for clip in planned if clip.split == split]


def test_the_world_is_as_rich_as_promised():
    assert len(KINDS) >= 24
    assert len(COLOURS) == 8
    assert len(ACTIONS) >= 14
    assert len(PAIRS) >= 5 and len({action for pair in PAIRS for action in pair}) == 2 * len(PAIRS)
    assert len(SETTINGS) == 8
    assert len(SEEN_VOICES + UNSEEN_VOICES) == len({*SEEN_VOICES, *UNSEEN_VOICES}) >= 40
    assert len(UNSEEN_VOICES) >= 8


def test_every_thing_colour_action_and_setting_is_frequent_in_training(planned):
    scenes = [clip.scene for clip in of(planned, "train")]
    for names, counts in (
        (KIND_NAMES, Counter(scene.main.kind for scene in scenes)),
        (COLOURS, Counter(scene.main.colour for scene in scenes)),
        (ACTIONS, Counter(scene.main.action for scene in scenes)),
        (SETTINGS, Counter(scene.setting for scene in scenes)),
    ):
        fair = len(scenes) / len(names)
        assert all(counts[name] > 0.3 * fair for name in names), counts


def test_splits_have_the_promised_sizes(planned):
    assert Counter(clip.split for clip in planned) == {"train": 672, "val": 48, "test": 80}
    assert split_sizes(5000) == {"train": 4200, "val": 300, "test": 500}
    assert split_sizes(10) == {"train": 8, "val": 1, "test": 1}


def test_no_description_of_test_or_val_occurs_elsewhere(planned):
    for split in ("test", "val"):
        inside = of(planned, split)
        outside = [clip for clip in planned if clip.split != split]
        assert not {c.caption.meaning for c in inside} & {c.caption.meaning for c in outside}
        assert not {c.caption.text for c in inside} & {c.caption.text for c in outside}


def test_a_test_caption_fits_the_scene_of_no_other_test_clip(planned):
    clips = of(planned, "test")
    for clip in clips:
        caption = clip.caption
        for scene in (other.scene for other in clips if other is not clip):
            seen = (scene.main.kind, scene.main.colour, scene.main.action)
            beside = scene.other and (scene.relation, scene.other.kind, scene.other.colour, scene.other.action)
            fits = caption.subject == seen and caption.setting in (None, scene.setting)
            assert not (fits and caption.other in ((), beside)), (caption, scene)


def test_about_half_of_the_test_voices_are_heard_nowhere_else(planned):
    voices = {split: [clip.narration.voice for clip in of(planned, split)] for split in ("train", "val", "test")}
    assert not {*voices["train"], *voices["val"]} & {*UNSEEN_VOICES}
    assert 0.3 < sum(voice in UNSEEN_VOICES for voice in voices["test"]) / len(voices["test"]) < 0.7
    speakers = [{voice.split("+")[1] for voice in which} for which in (SEEN_VOICES, UNSEEN_VOICES)]
    assert not speakers[0] & speakers[1]


def test_a_seed_decides_everything(planned):
    assert plan(50, 3) == plan(50, 3)
    assert plan(50, 4)[0] != plan(50, 3)[0]


def test_scenes_have_one_to_three_things(planned):
    counts = Counter(len(clip.scene.things) for clip in planned)
    assert set(counts) == {1, 2, 3}
    for clip in planned:
        assert [thing.role for thing in clip.scene.things].count("main") == 1
        assert clip.scene.things[-1].role == "main"
        assert len({thing.kind for thing in clip.scene.things}) == len(clip.scene.things)


def test_sentences_are_english(planned):
    for text in (clip.caption.text for clip in planned):
        words = text.split()
        assert 6 <= len(words) <= 16, text
        assert re.fullmatch(r"[a-z-]+( [a-z-]+)*", text), text
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text), text
        assert all(a != b for a, b in zip(words, words[1:], strict=False)), text
        verbs = re.findall(r"\bis \w+|\bthere is\b", text)
        assert all(verb == "there is" or verb.endswith("ing") for verb in verbs), text


def test_a_sentence_says_what_happens(planned):
    for clip in planned:
        main, other, text = clip.scene.main, clip.scene.other, clip.caption.text
        for thing in (main, other) if other else (main,):
            assert any(re.search(rf"\b{noun}\b", text) for noun in KINDS[thing.kind].words), text
        assert clip.caption.setting in (None, clip.scene.setting)
        if clip.caption.setting:
            assert any(phrase in text for phrase in SETTINGS[clip.scene.setting]), text
    named = sum(clip.caption.setting is not None for clip in planned) / len(planned)
    assert 0.78 < named < 0.92


def test_left_is_left_and_right_is_right(planned):
    for clip in planned:
        if clip.scene.main.action in ("move_left", "move_right") and clip.scene.relation != "while":
            word = "to the left" if clip.scene.main.action == "move_left" else "to the right"
            crossing = "right to left" if clip.scene.main.action == "move_left" else "left to right"
            assert word in clip.caption.text or crossing in clip.caption.text


def test_a_world_too_small_to_split_is_refused():
    with pytest.raises(ManifestError) as error:
        plan(9, 0)
    assert str(error.value) == "a toy world of 9 clips is too small to be split; ask for at least 10."


def test_a_world_of_more_clips_than_descriptions_is_refused(monkeypatch, planned):
    monkeypatch.setattr(plan_module, "draw_scene", lambda rng: planned[0].scene)
    with pytest.raises(ManifestError) as error:
        plan(20, 0)
    assert str(error.value) == (
        "a toy world of 20 clips needs more different descriptions than there are; ask for fewer clips."
    )
