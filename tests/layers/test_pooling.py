import pytest
import torch

from mmretrieval.errors import UnknownNameError
from mmretrieval.layers.pooling import AttentionPool, create_pooler
from mmretrieval.types import Features


def features(junk=0.0):
    values = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(6) < torch.tensor([[6], [2], [0]])
    return Features(values.masked_fill(~mask[..., None], junk), mask, (6,))


@pytest.mark.parametrize("name", ["mean", "max", "attention"])
def test_trap_pooling_over_padding(name):
    pool = create_pooler(name, 8)
    for parameter in pool.parameters():
        torch.nn.init.normal_(parameter)
    clean = pool(features())
    assert clean.shape == (3, 8)
    assert torch.equal(clean, pool(features(float("nan"))))
    assert not clean[2].any()


def test_attention_starts_as_the_mean():
    assert torch.allclose(AttentionPool(8, heads=2)(features()), create_pooler("mean", 8)(features()), atol=1e-6)


def test_attention_equals_a_loop():
    pool = AttentionPool(8, heads=2)
    torch.nn.init.normal_(pool.score.weight)
    given = features()
    pooled = pool(given)
    for row, length in ((0, 6), (1, 2)):
        values = given.values[row, :length]
        weights = pool.score(values).softmax(0)
        expected = torch.cat([(weights[:, :1] * values[:, :4]).sum(0), (weights[:, 1:] * values[:, 4:]).sum(0)])
        assert torch.allclose(pooled[row], expected, atol=1e-6)


def test_messages():
    with pytest.raises(UnknownNameError) as error:
        create_pooler("meen", 8)
    assert str(error.value) == "unknown pooling 'meen'. Did you mean 'mean'? Known: mean, max, attention."
    with pytest.raises(ValueError) as error:
        AttentionPool(8, heads=3)
    assert str(error.value) == "attention pooling of width 8 cannot have 3 heads: use a divisor of the width"
