"""From a published dual encoder to answers, without training: adopt, index, search, by keyboard and by voice."""

import json

import foreign
import numpy as np
import pytest
import torch
import transformers
from clips import write_world
from torch.nn import functional as F

from mmretrieval.collection import Collection
from mmretrieval.errors import ModelError
from mmretrieval.model import RetrievalModel
from mmretrieval.zero_shot import adopt

CAPTIONS = ["a red ball falls", "the blue car", "a green dog in the sea"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return foreign.save(tmp_path_factory.mktemp("hub") / "clip", "clip")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("data") / "world", clips=4)


@pytest.fixture(scope="module")
def model(clip, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "clip"
    adopt(str(clip), frames=3).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def collection(model, world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("indexes") / "clips"
    Collection.build(folder, [world / "videos"], RetrievalModel.from_pretrained(model), model)
    return folder


def test_scores_are_the_mean_over_frames_of_clip_itself(clip, model, collection, world, run):
    network = transformers.CLIPModel.from_pretrained(clip).eval()
    processor = RetrievalModel.from_pretrained(model).processor
    tokenizer = transformers.AutoTokenizer.from_pretrained(clip)
    mean, std = (torch.tensor(foreign.CLIP_MEAN[f"image_{part}"])[:, None, None] for part in ("mean", "std"))
    paths = sorted((world / "videos").iterdir())
    for caption in CAPTIONS:
        expected = {}
        for path in paths:
            pixels = (processor.video(path) / 255 - mean) / std
            with torch.no_grad():
                output = network(pixel_values=pixels, **tokenizer([caption], return_tensors="pt"))
            video = F.normalize(output.image_embeds, dim=-1).mean(dim=0)
            expected[str(path)] = float(F.normalize(video, dim=0) @ F.normalize(output.text_embeds[0], dim=0))
        code, out, err = run("search", collection, caption, "--json")
        assert code == 0, err
        scores = {hit["path"]: hit["score"] for hit in json.loads(out)}
        assert scores == pytest.approx(expected, abs=1e-5)
        assert [hit["path"] for hit in json.loads(out)] == sorted(expected, key=expected.get, reverse=True)


@pytest.mark.parametrize("family", foreign.DUAL)
def test_every_dual_encoder_can_be_adopted(family, tmp_path, world):
    model = adopt(str(foreign.save(tmp_path / "hub", family)))
    assert model.metric == "cosine" and model.modalities == ("video", "text")
    model.save_pretrained(tmp_path / "model")
    loaded = RetrievalModel.from_pretrained(tmp_path / "model")
    assert loaded.fingerprint() == model.fingerprint()
    assert loaded.processor.clip_spec.frames == (4 if family == "xclip" else 8)
    assert not any(parameter.requires_grad for parameter in loaded.branches.parameters())
    np.testing.assert_allclose(loaded.embed_text(CAPTIONS), model.embed_text(CAPTIONS), atol=1e-6)
    video = world / "videos/0.mp4"
    np.testing.assert_allclose(loaded.embed_video([video]), model.embed_video([video]), atol=1e-6)


def test_the_command_makes_a_model_and_says_how_to_go_on(clip, run, tmp_path):
    out = tmp_path / "models/clip"
    code, printed, err = run("adopt", clip, "--out", out, "--frames", 2)
    assert code == 0, err
    assert printed == (
        f"{out}: 2 frames of 32 pixels per moment, embeddings of 12 numbers\n"
        f"Search your videos with it: mmretrieval index build indexes/mine --model {out} VIDEOS…\n"
    )
    assert {path.name for path in out.iterdir()} == {"config.json", "model.safetensors", "tokenizer.json"}
    code, _, err = run("adopt", clip, "--out", out)
    assert (code, err) == (2, f"mmretrieval: {out} already exists: choose another folder, or remove it first\n")


def test_the_scale_is_that_of_the_checkpoint(model):
    assert RetrievalModel.from_pretrained(model).log_scale.exp().item() == pytest.approx(14.2849, abs=1e-3)


def test_only_dual_encoders_can_be_adopted(tmp_path):
    folder = str(foreign.save(tmp_path / "bert", "bert"))
    with pytest.raises(ModelError) as caught:
        adopt(folder)
    assert str(caught.value) == (
        f"'{folder}' is a 'bert', which does not compare pictures with text; families that do: altclip, chinese_clip, "
        "clip, siglip, xclip. In a recipe it may still serve as an encoder, by name: pretrained"
    )


def test_frames_of_a_video_model_are_its_own(tmp_path):
    folder = str(foreign.save(tmp_path / "xclip", "xclip"))
    with pytest.raises(ModelError) as caught:
        adopt(folder, frames=8)
    assert str(caught.value) == f"frames is 8, '{folder}' looks at clips of 4: leave it out (frames: null)"


def test_words_that_the_vocabulary_does_not_have(collection, run):
    code, _, err = run("search", collection, "xyzzy")
    assert code == 2
    assert err == "mmretrieval: the caption 'xyzzy' has no word this model knows. Write it in plain words.\n"
    assert run("search", collection, " ")[2] == (
        "mmretrieval: the caption is empty: say in a few words what is to be seen.\n"
    )


def test_it_trains_on(model, world, tmp_path):
    """An adopted model is one like any other: it can be the start of training, unfrozen."""
    config = json.loads((model / "config.json").read_text())["model"]
    for part in (config["video"]["backbone"], config["text"]["encoder"]):
        part["frozen"] = False
    adopted = RetrievalModel.from_pretrained(model)
    trainable = RetrievalModel.from_config(config, adopted.processor.tokenizer)
    trainable.load_state_dict(adopted.state_dict())
    batch = trainable.processor.collate(
        ["a"],
        [{"video": trainable.processor.video(world / "videos/0.mp4"), "text": trainable.processor.text(CAPTIONS[0])}],
    )
    encodings = trainable.train()(batch)
    (encodings["video"].embedding * encodings["text"].embedding).sum().backward()
    assert trainable.branches["video"].encoder.network.visual_projection.weight.grad.any()
