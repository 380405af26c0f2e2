import json

import numpy as np
import pytest
import tiny
import torch

from mmretrieval.errors import ModelError, QueryError, StorageError
from mmretrieval.model import RetrievalModel
from mmretrieval.types import Padded


def test_one_encoding_per_modality_with_the_promised_shapes():
    encodings = tiny.model()(tiny.batch())
    assert list(encodings) == ["video", "speech", "text"]
    for encoding in encodings.values():
        assert encoding.embedding.shape == (6, 32)
        assert encoding.features.values.shape[:2] == encoding.features.mask.shape
        assert encoding.quantized.distribution.shape == (6, 16)
        assert encoding.quantized.codes.shape == encoding.features.mask.shape


def test_the_embedding_is_the_sum_of_both_summaries_scaled_to_the_learned_length():
    model, batch = tiny.model().eval(), tiny.batch()
    inputs = batch.inputs["speech"]
    branch = model.branches["speech"]
    continuous, features = branch(inputs)
    quantized = model.codebook(branch.project(features)).features
    total = continuous + branch.from_codes(torch.stack([v[m].mean(0) for v, m in zip(*quantized[:2], strict=True)]))
    expected = total / total.norm(dim=1, keepdim=True) * model.log_scale.exp().sqrt()
    torch.testing.assert_close(model.encode("speech", inputs).embedding, expected)


def test_dot_similarity_leaves_the_sum_as_it_is():
    model, batch = tiny.model(similarity="dot", codebook=None).eval(), tiny.batch()
    summary, _ = model.branches["text"](batch.inputs["text"])
    torch.testing.assert_close(model.encode("text", batch.inputs["text"]).embedding, summary)
    assert model.metric == "inner_product"
    assert not hasattr(model, "log_scale")


def test_starting_the_codebook_does_not_change_the_embedding():
    model, batch = tiny.model(started=False).eval(), tiny.batch()
    before = model(batch)
    assert all(encoding.quantized is None for encoding in before.values())
    model.codebook.start_from(torch.randn(16, 16))
    after = model(batch)
    for name in before:
        assert torch.equal(before[name].embedding, after[name].embedding)
        assert after[name].quantized is not None


@pytest.mark.parametrize("head", ["glu", "gated"])
def test_every_parameter_gets_a_gradient(head):
    model = tiny.model(head=head).train()
    encodings = model(tiny.batch())
    weights = {name: torch.randn_like(e.embedding) for name, e in encodings.items()}
    loss = sum((weights[n] * e.embedding).sum() + e.quantized.commitment for n, e in encodings.items())
    loss.backward()
    without = [
        name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert [n for n in without if not n.endswith("pool.score.bias")] == []  # a softmax does not see a common shift


def test_padding_changes_nothing():
    model, batch = tiny.model().eval(), tiny.batch()
    for name, (values, mask) in batch.inputs.items():
        junk = torch.randint(0, 255, (len(values), 3, *values.shape[2:])).to(values.dtype)
        if name == "text":
            junk = junk % 60
        longer = Padded(torch.cat([values, junk], 1), torch.cat([mask, torch.zeros(len(mask), 3, dtype=torch.bool)], 1))
        before, after = model.encode(name, batch.inputs[name]), model.encode(name, longer)
        torch.testing.assert_close(before.embedding, after.embedding)
        torch.testing.assert_close(before.quantized.distribution, after.quantized.distribution)


def test_alone_equals_in_a_batch():
    model, batch = tiny.model().eval(), tiny.batch()
    whole = model(batch)
    for name, (values, mask) in batch.inputs.items():
        length = int(mask[3].sum())
        alone = model.encode(name, Padded(values[3:4, :length], mask[3:4, :length]))
        torch.testing.assert_close(alone.embedding, whole[name].embedding[3:4], rtol=1e-4, atol=1e-5)


def test_bf16_stays_close_to_fp32():
    model, batch = tiny.model().eval(), tiny.batch()
    exact = model(batch)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(batch)
    for name in exact:
        assert rough[name].embedding.dtype == torch.float32
        cosine = torch.cosine_similarity(exact[name].embedding, rough[name].embedding)
        assert cosine.min() > 0.98


def test_embed_returns_unit_vectors_and_leaves_the_mode_alone():
    model = tiny.model().train()
    rows = model.embed_text(tiny.CAPTIONS)
    assert rows.shape == (6, 32) and rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    assert model.training
    np.testing.assert_allclose(model.embed("text", [], 4), np.zeros((0, 32)))


def test_embed_in_small_batches_equals_one_batch():
    model = tiny.model()
    items = [model.processor.text(caption) for caption in tiny.CAPTIONS]
    np.testing.assert_allclose(model.embed("text", items, 2), model.embed("text", items, 64), rtol=1e-4, atol=1e-6)


def test_spoken_waveforms_are_embedded():
    tone = np.sin(np.arange(16_000) * 0.3).astype(np.float32)
    assert tiny.model().embed_speech([tone, tone[:9000]]).shape == (2, 32)


def test_save_and_load_gives_the_same_model_down_to_the_buffers(tmp_path):
    model = tiny.model().train()
    model(tiny.batch())
    model.codebook.update()
    model.save_pretrained(tmp_path / "model")
    loaded = RetrievalModel.from_pretrained(tmp_path / "model")
    assert not loaded.training
    before, after = model.state_dict(), loaded.state_dict()
    assert list(before) == list(after)
    assert set(dict(model.named_buffers())) <= set(before), "a buffer is not saved"
    for name in before:
        assert torch.equal(before[name], after[name]), name
    assert loaded.fingerprint() == model.fingerprint()
    first, second = model.eval()(tiny.batch()), loaded(tiny.batch())
    for name in first:
        assert torch.equal(first[name].embedding, second[name].embedding)
    assert loaded.processor.text("a red dog").tolist() == model.processor.text("a red dog").tolist()


def test_fingerprint_sees_weights_buffers_and_configuration():
    model = tiny.model()
    original = model.fingerprint()
    assert original == tiny.model().fingerprint()
    model.codebook.counts[0] += 1
    assert model.fingerprint() != original
    assert tiny.model(dropout=0.2).fingerprint() != original


def saved(tmp_path):
    tiny.model().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def message_of(folder) -> str:
    with pytest.raises(ModelError) as caught:
        RetrievalModel.from_pretrained(folder)
    return str(caught.value).replace(str(folder), "MODEL")


def test_no_such_model(tmp_path):
    expected = "no model at 'MODEL': give the folder that training wrote, e.g. runs/demo/model"
    assert message_of(tmp_path / "nothing") == expected


def test_a_folder_that_is_no_model(tmp_path):
    assert message_of(tmp_path) == "'MODEL' is not a saved model: it has no config.json"


def test_weights_that_are_not_safetensors(tmp_path):
    folder = saved(tmp_path)
    torch.save({"a": torch.zeros(2)}, folder / "model.safetensors")
    message = message_of(folder)
    assert message.startswith("MODEL/model.safetensors is not a whole safetensors file (")
    assert message.endswith("): copy it again or train again")


def test_truncated_weights(tmp_path):
    folder = saved(tmp_path)
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    assert "is not a whole safetensors file" in message_of(folder)


def test_missing_weights(tmp_path):
    folder = saved(tmp_path)
    (folder / "model.safetensors").unlink()
    assert message_of(folder) == "'MODEL' is not a saved model: it has no model.safetensors"


def test_weights_of_another_architecture(tmp_path):
    folder = saved(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["model"]["dim"] = 48
    (folder / "config.json").write_text(json.dumps(config))
    message = message_of(folder)
    assert message.startswith("MODEL: weights and config.json do not belong together: ")
    assert "(wanted (48,), got (32,))" in message


def test_damaged_configuration(tmp_path):
    folder = saved(tmp_path)
    (folder / "config.json").write_text("{")
    assert message_of(folder).startswith("MODEL/config.json is damaged: ")


def test_newer_format(tmp_path):
    folder = saved(tmp_path)
    config = json.loads((folder / "config.json").read_text()) | {"format": 99}
    (folder / "config.json").write_text(json.dumps(config))
    assert message_of(folder) == "MODEL has format 99, this version reads up to 1: upgrade mmretrieval"


def test_missing_vocabulary(tmp_path):
    folder = saved(tmp_path)
    (folder / "tokenizer.json").unlink()
    assert message_of(folder) == "a model with text needs its sub-word vocabulary: tokenizer.json is missing"


def test_a_full_disk_leaves_the_old_model(tmp_path, monkeypatch):
    folder = saved(tmp_path)
    before = (folder / "model.safetensors").read_bytes()

    def full(*arguments, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(StorageError):
        tiny.model(seed=1).save_pretrained(folder)
    assert (folder / "model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_asking_for_a_modality_the_model_does_not_have():
    with pytest.raises(QueryError) as caught:
        tiny.model(speech=None).embed("speech", [torch.zeros(16, 40)])
    assert str(caught.value) == "this model has no speech; it knows video, text"
