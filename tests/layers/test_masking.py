import torch

from mmretrieval.layers.masking import downsample_mask, fill, lengths_to_mask, masked_max, masked_mean, zero_padding


def example():
    values = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    return values, lengths_to_mask(torch.tensor([5, 2, 1]), 5)


def test_lengths_become_a_mask():
    mask = lengths_to_mask(torch.tensor([0, 2, 3]), 3)
    assert mask.tolist() == [[False] * 3, [True, True, False], [True] * 3]


def test_mean_and_max_equal_loops_over_real_positions():
    values, mask = example()
    for row, (length, mean, best) in enumerate(zip([5, 2, 1], masked_mean(values, mask), masked_max(values, mask))):
        assert torch.allclose(mean, values[row, :length].mean(0))
        assert torch.equal(best, values[row, :length].max(0).values)


def test_trap_masking_by_multiplication_before_a_maximum():
    values = torch.tensor([[[-0.9], [-0.5], [0.7]]])
    assert masked_max(values, torch.tensor([[True, True, False]])).item() == -0.5


def test_trap_pooling_over_padding():
    values, mask = example()
    junk = fill(values, mask, float("nan"))
    assert torch.equal(masked_mean(values, mask), masked_mean(junk, mask))
    assert torch.equal(masked_max(values, mask), masked_max(junk, mask))
    assert zero_padding(junk, mask).isfinite().all()


def test_a_row_without_real_positions_pools_to_zero():
    values, _ = example()
    nothing = torch.zeros(3, 5, dtype=torch.bool)
    assert not masked_mean(values, nothing).any()
    assert not masked_max(values, nothing).any()


def test_a_strided_mask_keeps_ceil_of_the_length():
    for size in range(1, 12):
        for stride in (1, 2, 3, 4):
            lengths = torch.arange(size + 1)
            strided = downsample_mask(lengths_to_mask(lengths, size), stride)
            assert strided.shape[1] == -(-size // stride)
            assert strided.sum(1).tolist() == [-(-n // stride) for n in lengths.tolist()]
