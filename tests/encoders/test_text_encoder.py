import pytest
import torch
from torch.nn import functional as F

from mmretrieval.encoders import create_encoder, encoders
from mmretrieval.encoders.text import TextTransformer
from mmretrieval.errors import ModelError, UnknownNameError
from mmretrieval.types import Padded


def test_a_layer_equals_attention_written_out():
    torch.manual_seed(0)
    net = TextTransformer(20, dim=8, depth=1, heads=2, max_tokens=6).eval()
    ids = torch.randint(0, 20, (1, 5))
    x = net.tokens(ids)[0] + net.positions[:5]
    layer = net.layers[0]
    query, key, value = layer.qkv(layer.attention_norm(x)).chunk(3, -1)
    heads = []
    for part in (slice(0, 4), slice(4, 8)):
        weights = (query[:, part] @ key[:, part].T / 2.0).softmax(-1)
        heads.append(weights @ value[:, part])
    x = x + layer.out(torch.cat(heads, -1))
    hidden = F.gelu(layer.mlp[0](layer.mlp_norm(x)))
    x = net.norm(x + layer.mlp[2](hidden))
    out = net(Padded(ids, torch.ones(1, 5, dtype=torch.bool)))
    assert torch.allclose(out.values[0], x, atol=1e-6)


def test_word_order_matters():
    torch.manual_seed(0)
    net = TextTransformer(20, dim=8, depth=1, heads=2).eval()
    mask = torch.ones(1, 3, dtype=torch.bool)
    one, other = (net(Padded(torch.tensor([ids]), mask)).values.mean(1) for ids in ([1, 2, 3], [3, 2, 1]))
    assert not torch.allclose(one, other, atol=1e-4)


def test_a_row_of_padding_is_zero_and_harms_nobody():
    net = TextTransformer(20, dim=8, depth=2, heads=2).eval()
    features = net(Padded(torch.ones(2, 4, dtype=torch.long), torch.tensor([[True] * 4, [False] * 4])))
    assert features.values.isfinite().all()
    assert not features.values[1].any()


def test_messages():
    net = TextTransformer(20, dim=8, depth=1, heads=2, max_tokens=4)
    with pytest.raises(ModelError) as error:
        net(Padded(torch.ones(1, 5, dtype=torch.long), torch.ones(1, 5, dtype=torch.bool)))
    assert str(error.value) == (
        "a caption of 5 tokens is too long for a text encoder of 4 positions: cut captions to max_tokens, or build the "
        "encoder with more"
    )
    with pytest.raises(ModelError) as error:
        TextTransformer(20, dim=8, heads=3)
    assert str(error.value) == "a text encoder of width 8 cannot have 3 heads: use a divisor of the width"
    with pytest.raises(UnknownNameError) as error:
        create_encoder("text_transformer", vocab_size=20, depths=2)
    assert str(error.value) == (
        "encoder 'text_transformer' has no option 'depths'. Did you mean 'depth'? "
        "Its options: vocab_size, dim, depth, heads, max_tokens, dropout."
    )
    with pytest.raises(UnknownNameError) as error:
        create_encoder("resdavnet")
    assert str(error.value) == (
        f"unknown encoder 'resdavnet'. Did you mean 'resdavenet'? Known: {', '.join(encoders.names())}."
    )
