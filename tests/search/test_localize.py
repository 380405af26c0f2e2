"""Places that are known: heat-maps must have their maximum exactly there, whatever the method."""

import json

import numpy as np
import pytest
import soundfile
import tiny
import torch
from colour_places import CELL, FRAMES, colour_model, film
from torch import nn

from mmretrieval.errors import MediaError, ModelError, QueryError, UnknownNameError
from mmretrieval.search.heat import HeatMap, cell_centres, seen_box
from mmretrieval.search.localize import METHODS, Localizer, localize, log_probabilities, score
from mmretrieval.search.query import Query, speech_query, text_query, word_tokens
from mmretrieval.search.receptive import cell_offset
from mmretrieval.search.regions import spoken_words_of_region, words_of_region
from mmretrieval.types import ClipSpec, Features

RED, BLUE = [(1, 2), (3, 0), (0, 3)], [(2, 0), (0, 1), (3, 3)]
CAPTION = "a red thing beside a blue thing"


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory):
    places = [{"red": red, "blue": blue} for red, blue in zip(RED, BLUE)]
    return film(tmp_path_factory.mktemp("film") / "places.mkv", places)


@pytest.fixture(scope="module")
def model():
    return colour_model()


def cells(heat):
    return [tuple(int(i) for i in np.unravel_index(frame.argmax(), frame.shape)) for frame in heat.values]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("word", "places"), [("red", RED), ("blue", BLUE)])
def test_the_hottest_cell_is_the_right_one(model, clip_file, method, word, places):
    heat = localize(model, clip_file, text_query(model, CAPTION, word), method)
    assert heat.values.shape == (FRAMES, 4, 4)
    assert cells(heat) == places
    centres = [((column + 0.5) * CELL, (row + 0.5) * CELL) for row, column in places]
    np.testing.assert_allclose(heat.peaks(), centres)
    assert heat.name == word and heat.frame == (32, 32)


@pytest.mark.parametrize(("start", "end", "places"), [(0.0, 0.5, RED), (0.5, 1.0, BLUE)])
def test_a_span_of_speech(model, clip_file, tmp_path, start, end, places):
    times = np.arange(8_000) / 16_000
    tones = np.concatenate([np.sin(2 * np.pi * pitch * times) for pitch in (200, 6000)])
    soundfile.write(tmp_path / "q.wav", tones, 16_000)
    query = speech_query(model, tmp_path / "q.wav", start, end)
    assert cells(localize(model, clip_file, query)) == places
    assert query.name == f"q.wav, {start:.2f}–{end:.2f} s"


def test_codes_follow_the_formula(model, clip_file):
    localizer = Localizer(model)
    clip, query = localizer.clip(clip_file), text_query(model, CAPTION, "red")
    codes = model.codebook.codes

    def probabilities(vector):
        exponents = torch.stack([-(vector - code).norm() for code in codes]).exp()
        return exponents / exponents.sum()

    (position,) = query.features.mask[0].nonzero().flatten().tolist()
    wanted = probabilities(query.features.values[0, position] / np.sqrt(1 + 1e-5))
    usage = model.codebook.counts / model.codebook.counts.sum()
    for method, weights in (("raw_codes", wanted), ("codes", wanted - usage)):
        heat = localizer.heat(clip, query, method).values.reshape(-1)
        for index in (0, 6, 20):
            here = probabilities(clip.features.values[0, index] / np.sqrt(1 + 1e-5))
            assert heat[index] == pytest.approx(float((weights * here.log()).sum()), rel=1e-4, abs=1e-5)
    best = localizer.heat(clip, query, "best_code").values.reshape(-1)
    assert best[6] == pytest.approx(float(probabilities(clip.features.values[0, 6])[wanted.argmax()].log()), rel=1e-3)


@pytest.mark.parametrize("distance", ["l2", "sq_l2"])
def test_probabilities_are_those_of_the_codebook(distance):
    model = tiny.model(codebook={**tiny.CONFIG["codebook"], "distance": distance, "tau": 0.7}).eval()
    features = model.branches["text"].encoder(tiny.batch(3).inputs["text"])
    mine = log_probabilities(model, "text", features).exp()
    theirs = model.codebook(model.branches["text"].project(features)).distribution
    for row in range(3):
        torch.testing.assert_close(mine[row][features.mask[row]].mean(0), theirs[row], rtol=1e-4, atol=1e-6)


def test_permuting_the_codebook_changes_no_heat(clip_file):
    model, turned = colour_model(repeat=2), colour_model(repeat=2)
    model.codebook.counts.copy_(torch.arange(1, 11))
    turn = torch.randperm(10, generator=torch.Generator().manual_seed(3))
    for name in ("codes", "counts", "sums"):
        getattr(turned.codebook, name).copy_(getattr(model.codebook, name)[turn])
    for method in METHODS:
        first, second = (localize(m, clip_file, text_query(m, CAPTION, "red"), method) for m in (model, turned))
        np.testing.assert_allclose(first.values, second.values, atol=1e-5)


def test_what_stands_at_masked_positions_changes_nothing(model, clip_file):
    localizer = Localizer(model)
    clip, query = localizer.clip(clip_file), text_query(model, CAPTION, "red")
    junk = query.features.values.clone()
    junk[~query.features.mask] = 1e4
    other = query._replace(features=query.features._replace(values=junk))
    for method in METHODS:
        np.testing.assert_allclose(
            localizer.heat(clip, query, method).values, localizer.heat(clip, other, method).values, atol=1e-5
        )


def test_leaving_out_is_the_loss_of_similarity():
    model = tiny.model().eval()
    batch = tiny.batch(1).inputs
    features = model.branches["video"].encoder(batch["video"])
    query = Query("text", model.branches["text"].encoder(batch["text"]), "all")
    with torch.inference_mode():
        found = score(model, features, query, "left_out")
        wanted = model.encode("text", batch["text"]).embedding[0]
        for position in (0, 5, features.values.shape[1] - 1):
            rest = [p for p in range(features.values.shape[1]) if p != position]
            alone = Features(features.values[:, rest], features.mask[:, rest], (len(rest),))
            expected = -(model.encode("video", alone).embedding[0] @ wanted)
            assert found[position] == pytest.approx(float(expected), abs=1e-4)


def test_from_a_region_to_its_words(model, clip_file):
    localizer = Localizer(model)
    clip = localizer.clip(clip_file)
    box = (CELL * 2, CELL * 1, CELL * 3, CELL * 2)  # red in the first frame
    for method in METHODS:
        scores = dict(words_of_region(localizer, clip, "a red thing beside blue", box, 0.0, 0.5, method))
        assert list(scores) == ["a", "red", "thing", "beside", "blue"]
        assert max(scores, key=scores.get) == "red", (method, scores)
    tight = (CELL * 3.6, CELL * 3.6, CELL * 3.7, CELL * 3.7)  # smaller than a cell: the one it lies in
    scores = dict(words_of_region(localizer, clip, CAPTION, tight, 1.5, 2.5))
    assert max(scores, key=scores.get) == "blue"


def test_from_a_region_to_the_words_said(model, clip_file, tmp_path):
    times = np.arange(8_000) / 16_000
    soundfile.write(tmp_path / "q.wav", np.concatenate([np.sin(2 * np.pi * p * times) for p in (200, 6000)]), 16_000)
    localizer = Localizer(model)
    clip, words = localizer.clip(clip_file), [("red", 0.0, 0.5), ("blue", 0.5, 1.0)]
    for place, word in ((RED[1], "red"), (BLUE[1], "blue")):
        box = (CELL * place[1], CELL * place[0], CELL * place[1] + CELL, CELL * place[0] + CELL)
        scores = dict(spoken_words_of_region(localizer, clip, tmp_path / "q.wav", words, box, 0.5, 1.5))
        assert list(scores) == ["red", "blue"] and max(scores, key=scores.get) == word
    with pytest.raises(MediaError) as caught:
        spoken_words_of_region(localizer, clip, tmp_path / "q.wav", [("late", 1.4, 2.0)])
    assert str(caught.value) == f"{tmp_path}/q.wav: asked for 1.4–2.0 s, the audio ends at 1.0 s."


def test_a_wide_video_is_seen_in_its_middle_square(model, tmp_path):
    path = film(tmp_path / "wide.mkv", [{"red": (1, 2)}] * 3, height=64, width=160)
    heat = localize(model, path, text_query(model, "red"))
    np.testing.assert_allclose(heat.peaks(), [(48 + 2.5 * 16, 1.5 * 16)] * 3)
    whole = heat.upsample()
    assert whole.shape == (3, 64, 160) and whole.dtype == np.float32
    y, x = np.unravel_index(whole[0].argmax(), (64, 160))
    assert abs(y - 24) <= 1 and abs(x - 88) <= 1


def test_windows_cut_a_longer_video(model, tmp_path):
    places = [(n % 4, n // 4) for n in range(9)]
    path = film(tmp_path / "long.mkv", [{"red": place} for place in places])
    heat = Localizer(model).heat(Localizer(model).clip(path, windows=3), text_query(model, "red"))
    assert cells(heat) == places
    np.testing.assert_allclose(heat.times, np.arange(9), atol=1e-3)
    part = Localizer(model).clip(path, start=3, end=6)
    np.testing.assert_allclose(part.times, [3, 4, 5], atol=1e-3)


def test_larger_frames_give_a_finer_map(model, clip_file):
    heat = localize(model, clip_file, text_query(model, CAPTION, "red"), size=64)
    assert heat.values.shape == (FRAMES, 8, 8)
    rows, columns = np.array(RED).T
    np.testing.assert_array_equal(np.array(cells(heat)) // 2, np.stack([rows, columns], 1))


def test_heat_between_the_frames_is_linear():
    values = np.zeros((2, 2, 2), np.float32)
    values[1, 0, 1] = 8
    heat = HeatMap(values, np.array([1.0, 3.0]), (4, 4), (0, 0, 4, 4), 0.5, "x")
    between = heat.upsample(times=[0, 1, 2, 3, 9])
    assert between.shape == (5, 4, 4)
    np.testing.assert_allclose(between[:, 0, 3], [0, 0, 4, 8, 8])
    np.testing.assert_allclose(between[3, 0], [0, 2, 6, 8])
    json.dumps(heat.to_json())
    assert heat.to_json()["peaks"][1] == [3.0, 1.0]


def test_where_cells_look(model):
    assert cell_offset(model, "video") == 0.5  # patches
    assert cell_offset(tiny.model().eval(), "video", 64) == 0.0  # convolutions padded by half their kernel
    assert cell_offset(tiny.model().eval(), "speech") == 0.0
    assert cell_offset(model, "speech") == 0.5
    for offset, expected in ((0.5, [8, 24]), (0.0, [0, 16])):
        rows, columns = cell_centres(seen_box((32, 64), ClipSpec()), (2, 2), offset)
        np.testing.assert_allclose(rows, expected)
        np.testing.assert_allclose(columns, np.array(expected) + 16)


def test_words_and_their_tokens(model):
    tokenizer = model.processor.tokenizer
    words = word_tokens(tokenizer, "A red, thing!  Snow-white")
    assert [word for word, _ in words] == ["a", "red", "thing", "snow-white"]
    whole = tokenizer.encode("A red, thing!  Snow-white")
    assert [token for _, place in words for token in whole[place]] == whole


def message(error, call):
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


def test_messages(model, clip_file, tmp_path):
    localizer = Localizer(model)
    clip = localizer.clip(clip_file)
    plain = colour_model(coded=False)
    assert message(ModelError, lambda: localize(plain, clip_file, text_query(plain, "red"))) == (
        "this model has no codebook, which the method 'codes' needs: use the method 'features' (--method features)"
    )
    assert cells(localize(plain, clip_file, text_query(plain, CAPTION, "red"), "features")) == RED
    assert message(UnknownNameError, lambda: localize(model, clip_file, "red", "code")) == (
        "unknown method 'code'. Did you mean 'codes'? Known: codes, raw_codes, best_code, features, left_out, "
        "code_features."
    )
    assert message(QueryError, lambda: text_query(model, CAPTION, "dog")) == (
        "the caption 'a red thing beside a blue thing' has no 'dog'. Its words are: a, red, thing, beside, blue"
    )
    soundfile.write(tmp_path / "q.wav", np.sin(np.arange(8_000)), 16_000)
    assert message(MediaError, lambda: speech_query(model, tmp_path / "q.wav", 0.7, 0.9)) == (
        f"{tmp_path}/q.wav: asked for 0.7–0.9 s, the audio ends at 0.5 s."
    )
    assert message(QueryError, lambda: words_of_region(localizer, clip, "red", None, 5, 6)) == (
        "no frame that was looked at lies in that span; they are at 0.00, 1.00, 2.00 s"
    )
    blind = tiny.model(video=None)
    assert message(ModelError, lambda: Localizer(blind)) == (
        "this model has no video to find places in; it knows speech, text"
    )


def test_networks_that_cannot_be_used(clip_file):
    model = colour_model()
    encoder = model.branches["video"].encoder

    class Fixed(nn.Module):
        modality, feature_dim = "video", 3

        def forward(self, frames):
            if frames.values.shape[-1] != 32:
                raise RuntimeError("shape mismatch")
            return encoder(frames)

    model.branches["video"].encoder = Fixed()
    assert message(ModelError, lambda: localize(model, clip_file, "red", size=64)) == (
        "the video network of this model takes no frames of 64 pixels, only of 32: leave the size out"
    )

    class Flat(nn.Module):
        modality, feature_dim = "video", 3

        def forward(self, frames):
            return Features(torch.ones(1, FRAMES, 3), torch.ones(1, FRAMES, dtype=torch.bool), (FRAMES,))

    model.branches["video"].encoder = Flat()
    assert message(ModelError, lambda: localize(model, clip_file, "red")) == (
        "the video network of this model keeps no places apart (its features form a grid of (3,)): nothing can be "
        "found in its frames"
    )


class Framed:
    """A tokenizer that opens and closes every caption, tells a word's place by the space before it, and cuts at 9."""

    def encode(self, text):
        words = [ord(letter) + (1000 if text.startswith(" ") or number else 0) for number, letter in enumerate(text)]
        pieces = [piece for piece in words if piece % 1000 != ord(" ")]
        return [1, *pieces[:7], 2]


def test_words_among_the_tokens_of_a_language_model():
    assert word_tokens(Framed(), "ab c def ghi") == [
        ("ab", slice(1, 3)), ("c", slice(3, 4)), ("def", slice(4, 7)), ("ghi", slice(7, 8)),
    ]  # fmt: skip


def test_tokens_that_belong_to_no_word():
    class Letters:
        def encode(self, text):
            return [len(text)] if text else []

    assert message(QueryError, lambda: word_tokens(Letters(), "a red ball")) == (
        "the tokens of 'a red ball' cannot be told apart by words: ask for the whole caption"
    )


def test_what_is_seen_of_a_frame():
    assert seen_box((48, 64), ClipSpec()) == (8, 0, 56, 48)
    assert seen_box((48, 64), ClipSpec(crop=0.5)) == (20, 12, 44, 36)
    assert seen_box((48, 64), ClipSpec(resize="squash")) == (0, 0, 64, 48)
    rows, columns = cell_centres((20, 12, 44, 36), (2, 3), 0.5)
    np.testing.assert_allclose(rows, [18, 30])
    np.testing.assert_allclose(columns, [24, 32, 40])
