"""A wrong name, a wrong folder, a wrong option: one clear line each, and nothing is ever run or unpickled."""

import json
import shutil
import sys

import foreign
import pytest
import torch
from clips import write_recipe, write_world

from mmretrieval.cli.main import main
from mmretrieval.encoders import create_encoder
from mmretrieval.errors import ModelError, UnknownNameError
from mmretrieval.model import RetrievalModel


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign")
    for family in ("bert", "bart", "clip", "siglip", "videomae", "dinov2", "whisper", "wav2vec2"):
        foreign.save(folder / family, family)
    return folder


def message(**options) -> str:
    with pytest.raises((ModelError, UnknownNameError)) as caught:
        create_encoder("pretrained", **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_no_such_folder(tmp_path):
    for name in (f"{tmp_path}/nothing", "./nothing", "models/of/mine"):
        assert message(modality="text", source=name) == (
            f"no folder '{name}': give one that save_pretrained of transformers wrote, or a hub name"
        )


def test_a_folder_that_is_no_model(tmp_path):
    assert message(modality="text", source=str(tmp_path)) == (
        f"'{tmp_path}' is not a pretrained model: it has no config.json; give a folder that save_pretrained of "
        "transformers wrote"
    )


def test_a_name_while_offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert message(modality="text", source="facebook/no-such-model") == (
        "'facebook/no-such-model' is neither a folder nor downloaded yet, and the hub cannot be reached: connect, or "
        "give the folder of a model"
    )


def test_a_name_that_can_be_none():
    assert message(modality="text", source="facebook/bart base!") == (
        "the hub has no model 'facebook/bart base!': check the name, e.g. facebook/bart-base, or give a folder"
    )


def test_a_name_that_the_hub_does_not_have(monkeypatch):
    from huggingface_hub.errors import RepositoryNotFoundError
    from transformers import AutoConfig

    def unknown(*arguments, **options):
        cause = RepositoryNotFoundError.__new__(RepositoryNotFoundError)  # its constructor wants an answer of the hub
        raise OSError("facebook/bert is not a local folder\nand so on") from cause

    monkeypatch.setattr(AutoConfig, "from_pretrained", unknown)
    assert message(modality="text", source="facebook/bert") == (
        "the hub has no model 'facebook/bert': check the name, e.g. facebook/bart-base, or give a folder"
    )


def test_no_source_at_all():
    assert message(modality="text") == (
        "a pretrained encoder needs its source: a hub name, e.g. facebook/bart-base, or a folder"
    )


def test_pickled_weights_are_not_read(saved, tmp_path):
    folder = tmp_path / "bert"
    shutil.copytree(saved / "bert", folder)
    (folder / "model.safetensors").unlink()
    torch.save({"embeddings.word_embeddings.weight": torch.zeros(2)}, folder / "pytorch_model.bin")
    assert message(modality="text", source=str(folder)) == (
        f"'{folder}' has no model.safetensors: weights in other formats (pytorch_model.bin) can run foreign code when "
        "they are read, and are not; look for a conversion of it on its page"
    )


def test_broken_weights(saved, tmp_path):
    folder = tmp_path / "bert"
    shutil.copytree(saved / "bert", folder)
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    assert message(modality="text", source=str(folder)).startswith(f"'{folder}' cannot be read by transformers: ")


def test_weights_of_another_network(saved, tmp_path):
    folder = tmp_path / "bert"
    shutil.copytree(saved / "bert", folder)
    shutil.copy(saved / "bart/model.safetensors", folder / "model.safetensors")
    text = message(modality="text", source=str(folder))
    assert text.startswith(f"'{folder}' has no weights for ")
    assert text.endswith("': it was saved from another kind of model")


def test_code_of_its_own_is_never_run(saved, tmp_path):
    folder = tmp_path / "bert"
    shutil.copytree(saved / "bert", folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.MineConfig", "AutoModel": "mine.Mine"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text("raise SystemExit('foreign code was run')\n")
    assert message(modality="text", source=str(folder)) == (
        f"'{folder}' needs code of its own to run, which is never loaded: only transformers' own networks are"
    )


@pytest.mark.parametrize(
    ("modality", "family", "kinds"),
    [
        (
            "text",
            "dinov2",
            "albert, altclip, bart, bert, chinese_clip, clip, clip_text_model, distilbert, electra, mpnet, roberta, "
            "siglip, xclip, xlm-roberta",
        ),
        (
            "video",
            "bert",
            "altclip, chinese_clip, chinese_clip_vision_model, clip, clip_vision_model, deit, dinov2, "
            "dinov2_with_registers, siglip, siglip_vision_model, timesformer, videomae, vit, vivit, xclip",
        ),
        ("speech", "clip", "hubert, wav2vec2, wavlm, whisper"),
    ],
)
def test_families_that_cannot_encode_a_modality(saved, modality, family, kinds):
    folder = saved / family
    assert message(modality=modality, source=str(folder)) == (
        f"'{folder}' is a '{family}', which cannot encode {modality}; families that can: {kinds}"
    )


def test_missing_preprocessing(saved, tmp_path):
    for family, modality in (("dinov2", "video"), ("wav2vec2", "speech")):
        folder = tmp_path / family
        shutil.copytree(saved / family, folder)
        (folder / "preprocessor_config.json").unlink()
        assert message(modality=modality, source=str(folder)) == (
            f"'{folder}' has no preprocessor_config.json: copy it from where the weights come from"
        )


def test_preprocessing_of_another_size(saved, tmp_path):
    folder = tmp_path / "clip"
    shutil.copytree(saved / "clip", folder)
    settings = foreign.image_settings("clip") | {"crop_size": {"height": 24, "width": 24}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    assert message(modality="video", source=str(folder)) == (
        f"'{folder}' looks at frames of 32 pixels, its preprocessing makes 24"
    )
    settings["crop_size"] = {"height": 24, "width": 32}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    assert message(modality="video", source=str(folder)) == (
        f"'{folder}' has preprocessing for frames of {{'height': 24, 'width': 32}}; square frames are needed"
    )


OPTIONS = {
    "unknown option": (
        {"modality": "text", "source": "bert", "layers": 3},
        "a pretrained text encoder has no option 'layers'. Did you mean 'layer'?",
    ),
    "output": (
        {"modality": "text", "source": "bert", "output": "patches"},
        "output of a pretrained encoder is 'patches'; allowed: tokens, embedding",
    ),
    "part": (
        {"modality": "text", "source": "bart", "part": "both"},
        "part of a pretrained encoder is 'both'; allowed: decoder, encoder",
    ),
    "modality": (
        {"modality": "sound", "source": "bert"},
        "modality of a pretrained encoder is 'sound'; allowed: video, speech, text",
    ),
    "layer": (
        {"modality": "text", "source": "bert", "layer": 3},
        "layer is 3; this network has hidden states 0 to 2, from the end -1 to -3",
    ),
    "layer of an embedding": (
        {"modality": "video", "source": "clip", "layer": 1, "output": "embedding"},
        "output: embedding is made of the last layer: leave layer out, or ask for another output",
    ),
    "embedding of BART": (
        {"modality": "text", "source": "bart", "output": "embedding"},
        "BART has no published embedding of a whole caption: use output: tokens and a pool",
    ),
    "embedding of VideoMAE": (
        {"modality": "video", "source": "videomae", "output": "embedding"},
        "VideoMAE has no published embedding of a clip: use output: patches and a pool",
    ),
    "max_tokens": (
        {"modality": "text", "source": "clip", "max_tokens": 21},
        "max_tokens is 21, 'SOURCE' takes at most 16: lower it or leave it out",
    ),
    "frames": (
        {"modality": "video", "source": "videomae", "frames": 8},
        "frames is 8, 'SOURCE' looks at clips of 4: leave it out (frames: null)",
    ),
    "size": (
        {"modality": "video", "source": "clip", "size": 64},
        "size is 64, 'SOURCE' looks at frames of 32 pixels: leave it out (size: null)",
    ),
    "size of DINOv2": (
        {"modality": "video", "source": "dinov2", "size": 30},
        "size is 30, 'SOURCE' needs a multiple of its patch of 8 pixels",
    ),
    "max_seconds": (
        {"modality": "speech", "source": "whisper", "max_seconds": 31},
        "max_seconds is 31, 'SOURCE' hears 30 s: lower it",
    ),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_that_do_not_fit(saved, case):
    options, expected = OPTIONS[case]
    source = str(saved / options["source"])
    assert message(**options | {"source": source}) == expected.replace("SOURCE", source)


def test_dinov2_looks_at_any_size(saved):
    encoder = create_encoder("pretrained", modality="video", source=str(saved / "dinov2"), size=48, frames=2)
    assert encoder.spec.size == 48
    from mmretrieval.types import Padded

    features = encoder(Padded(torch.zeros(1, 2, 3, 48, 48, dtype=torch.uint8), torch.ones(1, 2, dtype=torch.bool)))
    assert features.grid == (2, 6, 6)


# --- in a recipe


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("data") / "world", clips=24)


def run(capsys, *arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["mmretrieval", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
    captured = capsys.readouterr()
    return caught.value.code or 0, captured.out, captured.err


def test_a_recipe_trains_on_pretrained_encoders_and_resumes(saved, world, tmp_path, capsys):
    recipe = write_recipe(tmp_path, world, tmp_path / "run")
    overrides = [
        f"model.video={{backbone: {{name: pretrained, source: {saved}/clip}}, frames: 2}}",
        f"model.speech={{encoder: {{name: pretrained, source: {saved}/wav2vec2, frozen: false}}}}",
        f"model.text={{encoder: {{name: pretrained, source: {saved}/bart, words_only: true}}}}",
        "training.epochs=1",
        f"data.features={tmp_path}/features",
    ]
    code, _, err = run(capsys, "train", recipe, *overrides)
    assert code == 0, err
    model = RetrievalModel.from_pretrained(tmp_path / "run/model")
    assert model.processor.clip_spec.size == 32 and model.processor.speech_spec.frontend == "waveform"
    before = create_encoder("pretrained", modality="text", source=str(saved / "bart")).state_dict()
    after = model.branches["text"].encoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before), "frozen"
    before = create_encoder("pretrained", modality="speech", source=str(saved / "wav2vec2")).state_dict()
    after = model.branches["speech"].encoder.state_dict()
    assert not all(torch.equal(before[name], after[name]) for name in before), "trained"
    code, _, err = run(capsys, "train", recipe, *overrides, "--resume")
    assert code == 0, err


def test_a_recipe_with_a_wrong_source_is_one_line(world, tmp_path, capsys):
    recipe = write_recipe(tmp_path, world, tmp_path / "run")
    override = "model.text={encoder: {name: pretrained, source: ./nothing}}"
    code, out, err = run(capsys, "train", recipe, override)
    assert (code, out) == (2, "")
    assert err == (
        "mmretrieval: no folder './nothing': give one that save_pretrained of transformers wrote, or a hub name\n"
    )
    assert not (tmp_path / "run").exists()
