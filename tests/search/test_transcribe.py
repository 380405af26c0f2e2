import json

import foreign
import numpy as np
import pytest
import soundfile
import tiny
import torch
import transformers
from clips import write_world

from mmretrieval.collection import Collection
from mmretrieval.data.manifest import read_manifest
from mmretrieval.errors import MediaError, ModelError
from mmretrieval.search.searcher import Searcher
from mmretrieval.search.transcribe import Transcriber


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    return str(foreign.save_whisper(tmp_path_factory.mktemp("hub") / "whisper"))


@pytest.fixture(scope="module")
def transcriber(whisper):
    return Transcriber(whisper)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("data") / "world", clips=8)


def sound(seconds, seed):
    """Noise that swells and fades, so that different recordings differ."""
    random, time = np.random.default_rng(seed), np.arange(int(16_000 * seconds)) / 16_000
    tone = np.sin(2 * np.pi * 200 * (seed + 1) * time) + random.standard_normal(len(time)) * 0.1 * (seed % 3)
    return (0.3 * tone).astype(np.float32)


def test_it_writes_what_transformers_itself_writes(whisper, transcriber):
    model = transformers.WhisperForConditionalGeneration.from_pretrained(whisper).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(whisper)
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(whisper)
    waveforms = [sound(1, 0), sound(2.5, 1), sound(0.4, 5)]
    expected = []
    for waveform in waveforms:
        ids = model.generate(**extractor(waveform, sampling_rate=16_000, return_tensors="pt"))
        expected.append(tokenizer.decode(ids[0], skip_special_tokens=True).strip())
    assert all(expected) and len(set(expected)) > 1, "a test of equal texts would show nothing"
    assert transcriber.transcribe(waveforms) == expected
    assert transcriber.transcribe(waveforms, batch_size=1) == expected
    assert not any(text != text.strip() or "[" in text for text in expected)


def test_long_recordings_are_heard_in_parts_and_silent_parts_left_out(transcriber):
    first, second = sound(30, 1), sound(4, 3)
    silence = np.zeros(30 * 16_000, np.float32)
    parts = transcriber.transcribe([first, second])
    assert transcriber.transcribe([np.concatenate([first, silence, second])]) == [" ".join(parts)]


def test_files_are_read_as_they_come(transcriber, tmp_path):
    waveform = sound(1, 2)
    soundfile.write(tmp_path / "a.wav", np.stack([waveform, waveform], 1), 16_000, subtype="FLOAT")
    assert transcriber.transcribe([tmp_path / "a.wav"]) == transcriber.transcribe([waveform])


def test_bad_recordings(transcriber, tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000, np.float32), 16_000)
    with pytest.raises(MediaError) as caught:
        transcriber.transcribe([tmp_path / "silent.wav"])
    assert str(caught.value) == (
        f"{tmp_path}/silent.wav: the audio is silent: its loudest sample is 0.000000 of full scale. Check the "
        "microphone or the file."
    )
    with pytest.raises(MediaError) as caught:
        transcriber.transcribe([tmp_path / "missing.wav"])
    assert str(caught.value).startswith(f"{tmp_path}/missing.wav: ")


def test_bad_models(whisper, tmp_path):
    with pytest.raises(ModelError) as caught:
        Transcriber(str(foreign.save(tmp_path / "bert", "bert")))
    assert str(caught.value) == f"'{tmp_path}/bert' is a 'bert', not a Whisper: give for example openai/whisper-base"
    with pytest.raises(ModelError) as caught:
        Transcriber(whisper, language="de")
    assert str(caught.value) == f"'{whisper}' knows English alone, not 'de': take a multilingual Whisper"
    with pytest.raises(ModelError) as caught:
        Transcriber(str(tmp_path / "nothing"))
    assert str(caught.value) == (
        f"no folder '{tmp_path}/nothing': give one that save_pretrained of transformers wrote, or a hub name"
    )


def test_a_multilingual_whisper_is_told_the_language(tmp_path):
    transcriber = Transcriber(str(foreign.save_whisper(tmp_path / "whisper", multilingual=True)), language="de")
    seen = {}
    generate = transcriber.model.generate
    transcriber.model.generate = lambda **options: seen.update(options) or generate(**options)
    transcriber.transcribe([sound(1, 0)])
    assert (seen["language"], seen["task"], seen["return_timestamps"]) == ("de", "transcribe", False)


@pytest.fixture(scope="module")
def searcher(world, tmp_path_factory):
    model = tiny.model()
    folder = tmp_path_factory.mktemp("model") / "model"
    model.save_pretrained(folder)
    collection = tmp_path_factory.mktemp("indexes") / "clips"
    return Searcher(model.eval(), Collection.build(collection, [world / "videos"], model, folder, progress=False))


def test_a_spoken_query_is_searched_as_if_typed(run, searcher, world, whisper, transcriber):
    speech = world / "speech/3.wav"
    (heard,) = transcriber.transcribe([speech])
    code, out, err = run("search", searcher.collection.folder, "--speech", speech, "--transcribe", whisper, "--json")
    assert code == 0, err
    assert err == f"heard: {heard}\n"
    expected = [(hit.id, pytest.approx(hit.score, abs=1e-5)) for hit in searcher.search(text=heard)]
    assert [(hit["id"], hit["score"]) for hit in json.loads(out)] == expected


def test_there_must_be_something_to_write_down(run, searcher, whisper):
    code, _, err = run("search", searcher.collection.folder, "a dog", "--transcribe", whisper)
    assert code == 2
    assert err == (
        "mmretrieval: --transcribe writes down a spoken caption: give it with --speech, and no other query\n"
    )


def test_a_manifest_as_it_was_heard(run, world, whisper, transcriber, tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000, np.float32), 16_000)
    rows = [json.loads(line) for line in (world / "train.jsonl").read_text().splitlines()]
    rows = [row | {key: str(world / row[key]) for key in ("video", "speech")} for row in rows[:3]]
    rows[1]["speech"] = str(tmp_path / "silent.wav")
    rows.append({"id": "mute", "video": rows[0]["video"], "text": "a dog"})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, err = run("transcribe", tmp_path / "rows.jsonl", "--model", whisper, "--out", tmp_path / "heard.jsonl")
    assert code == 0, err
    assert out == f"{tmp_path}/heard.jsonl: 2 captions as they were heard, 2 set aside\n"
    assert f"set aside: {rows[1]['id']}: {tmp_path}/silent.wav: the audio is silent" in err
    assert "set aside: mute: has no speech" in err
    samples = read_manifest(tmp_path / "heard.jsonl").samples
    assert [sample.id for sample in samples] == [rows[0]["id"], rows[2]["id"]]
    assert [sample.text for sample in samples] == transcriber.transcribe([rows[0]["speech"], rows[2]["speech"]])
    assert [sample.video for sample in samples] == [rows[0]["video"], rows[2]["video"]]


def test_a_manifest_in_which_nothing_is_heard(run, whisper, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"id": "a", "text": "a dog"}\n')
    code, _, err = run("transcribe", tmp_path / "rows.jsonl", "--model", whisper, "--out", tmp_path / "heard.jsonl")
    assert code == 2 and not (tmp_path / "heard.jsonl").exists()
    assert err.splitlines()[-1] == (
        f"mmretrieval: {tmp_path}/rows.jsonl: not one spoken caption could be written down; the first: has no speech"
    )


def test_torch_state_is_left_alone(transcriber):
    transcriber.transcribe([sound(1, 0)])
    assert torch.is_grad_enabled()
