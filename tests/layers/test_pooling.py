import pytest
import torch

from mmretrieval.errors import UnknownNameError
from mmretrieval.layers.pooling import AttentionPool, SampledPool, create_norm, create_pooler
from mmretrieval.types import Features


def features(junk=0.0):
    values = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(6) < torch.tensor([[6], [2], [0]])
    return Features(values.masked_fill(~mask[..., None], junk), mask, (6,))


@pytest.mark.parametrize("name", ["mean", "max", "attention", "sampled"])
def test_trap_pooling_over_padding(name):
    pool = create_pooler(name, 8)
    for parameter in pool.parameters():
        torch.nn.init.normal_(parameter)
    for mode in (True, False):
        pool.train(mode)
        torch.manual_seed(0)
        clean = pool(features())
        assert clean.shape == (3, 8)
        torch.manual_seed(0)
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


def words(lengths, width=16):
    """One-hot features: a pooled vector shows how often each position was drawn."""
    longest = max(lengths)
    values = torch.eye(longest, width).expand(len(lengths), -1, -1).clone()
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    return Features(values.masked_fill(~mask[..., None], float("nan")), mask, (longest,))


def test_ten_words_are_drawn_once_each_and_all_alike_often():
    pool, given = SampledPool(10).train(), words([14] * 500)
    torch.manual_seed(0)
    drawn = pool(given) * 10
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert drawn.sum(1).eq(10).all()
    share = drawn[:, :14].mean(0)
    assert (share - 10 / 14).abs().max() < 0.08
    assert not torch.equal(drawn, pool(given) * 10)


def test_of_fewer_than_ten_words_some_are_drawn_again():
    pool, given = SampledPool(10).train(), words([4] * 500 + [10] * 10)
    torch.manual_seed(0)
    drawn = (pool(given) * 10).round()
    assert drawn.sum(1).eq(10).all()
    few = drawn[:500]
    assert not few[:, 4:].any()
    assert few.max() > 3 and few.min() == 0  # a draw with replacement, not each word as often as any other
    assert (few[:, :4].mean(0) - 2.5).abs().max() < 0.2
    assert drawn[500:, :10].eq(1).all()


def test_sampling_equals_a_loop():
    random = torch.Generator().manual_seed(3)
    values = torch.randn(5, 12, 8, generator=random)
    mask = torch.rand(5, 12, generator=random) < torch.tensor([0.9, 0.6, 0.3, 1.0, 0.0])[:, None]
    pool = SampledPool(5).train()
    torch.manual_seed(7)
    pooled = pool(Features(values, mask, (12,)))
    torch.manual_seed(7)
    keys, again = torch.rand(5, 12), torch.rand(5, 5)
    for row in range(5):
        real = sorted((position for position in range(12) if mask[row, position]), key=lambda n: keys[row, n])
        if not real:
            chosen = []
        elif len(real) >= 5:
            chosen = real[:5]
        else:
            chosen = [real[int(again[row, draw] * len(real))] for draw in range(5)]
        expected = sum((values[row, position] for position in chosen), torch.zeros(8)) / 5
        torch.testing.assert_close(pooled[row], expected)


def test_sampling_is_repeated_by_its_seed_and_is_the_mean_in_evaluation():
    pool, given = SampledPool(3), features()
    draws = []
    for _ in range(2):
        torch.manual_seed(1)
        draws.append(pool.train()(given))
    assert torch.equal(*draws)
    assert torch.equal(pool.eval()(given), create_pooler("mean", 8)(given))


def test_each_part_gets_unit_length():
    pooled = torch.randn(3, 8)
    parts = create_norm("l2", (3, 5))(pooled)
    for row in range(3):
        first, second = pooled[row, :3], pooled[row, 3:]
        expected = torch.cat([first / first.square().sum().sqrt(), second / second.square().sum().sqrt()])
        torch.testing.assert_close(parts[row], expected)
    assert not create_norm("l2", (3, 5))(torch.zeros(1, 8)).any()
    assert torch.equal(create_norm("none", (3, 5))(pooled), pooled)
    assert isinstance(create_norm("batch", (3, 5)), torch.nn.BatchNorm1d)


def test_messages():
    with pytest.raises(UnknownNameError) as error:
        create_pooler("meen", 8)
    assert str(error.value) == "unknown pooling 'meen'. Did you mean 'mean'? Known: mean, max, attention, sampled."
    with pytest.raises(UnknownNameError) as error:
        create_norm("bach", (8,))
    assert str(error.value) == "unknown norm 'bach'. Did you mean 'batch'? Known: batch, l2, none."
    with pytest.raises(ValueError) as error:
        AttentionPool(8, heads=3)
    assert str(error.value) == "attention pooling of width 8 cannot have 3 heads: use a divisor of the width"
