from pathlib import Path

import codebook_worker
import gloo
import pytest
import torch

from mmretrieval.codebook import EMACodebook, assign
from mmretrieval.errors import ModelError
from mmretrieval.types import Features

E = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])


def started(codes=E, **options):
    codebook = EMACodebook(*codes.shape, **options)
    codebook.start_from(codes)
    return codebook


def features(values, lengths=None, dtype=torch.float32):
    values = torch.as_tensor(values, dtype=dtype)
    lengths = torch.full((len(values), 1), values.shape[1]) if lengths is None else torch.tensor(lengths)[:, None]
    return Features(values, torch.arange(values.shape[1]) < lengths, (values.shape[1],))


def random_features(rows=6, length=7, dim=5, seed=0, scale=1.0):
    random = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, length + 1, (rows,), generator=random).tolist()
    return features(torch.randn(rows, length, dim, generator=random) * scale, lengths)


def slow_assignment(values, mask, codes, distance="l2", tau=1.0):
    """The equations, one position at a time."""
    rows = []
    for row, real in zip(values, mask):
        per_position = []
        for h in row[real]:
            squared = (h - codes).square().sum(-1).clamp_min(1e-12)
            per_position.append((-(squared.sqrt() if distance == "l2" else squared) / tau).softmax(-1))
        rows.append(torch.stack(per_position).mean(0))
    return torch.stack(rows)


# -- assignments -------------------------------------------------------------------------------------------------------

A = [[[0.0, 0.0], [3.0, 0.0]], [[0.0, 4.0], [0.0, 4.0]]]
B = [[[1.0, 0.0], [9.0, 9.0]], [[0.0, 3.0], [0.0, 4.0]]]
P_A = [[0.491681484, 0.496555873, 0.011762643], [0.017867982, 0.006573263, 0.975558755]]
P_B = [[0.708265615, 0.260556359, 0.031178026], [0.066553097, 0.019916719, 0.913530184]]
S_CODE = [[-1.701966274, -7.397857000], [-7.558871536, -0.552929336]]
S_CODE_SQUARED = [[-2.241737362, -29.883609881], [-32.475416868, -0.002853076]]


def code_similarity(p, q):
    return p @ q.log().T + p.log() @ q.T


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_golden_distributions(dtype):
    codebook = started().eval()
    p, q = (codebook(given).distribution for given in (features(A, dtype=dtype), features(B, [1, 2], dtype)))
    assert torch.allclose(p, torch.tensor(P_A, dtype=dtype), rtol=0, atol=1e-6)
    assert torch.allclose(q, torch.tensor(P_B, dtype=dtype), rtol=0, atol=1e-6)
    # A vector on its code is at distance 1e-6, not 0, so that its gradient is finite: that is what the 2e-6 are for.
    assert torch.allclose(code_similarity(p, q), torch.tensor(S_CODE, dtype=dtype), rtol=0, atol=2e-6)


def test_golden_squared_distance():
    codebook = started(distance="sq_l2").eval()
    given = features(A, dtype=torch.float64), features(B, [1, 2], torch.float64)
    p, q = (codebook(one).distribution for one in given)
    expected = torch.tensor(S_CODE_SQUARED, dtype=torch.float64)
    assert torch.allclose(code_similarity(p, q), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("distance", ["l2", "sq_l2"])
@pytest.mark.parametrize("tau", [1.0, 0.5])
def test_distribution_equals_a_loop_with_its_gradient(distance, tau):
    given = random_features()
    codes = torch.randn(9, 5, generator=torch.Generator().manual_seed(1))
    fast, slow = given.values.clone().requires_grad_(), given.values.clone().requires_grad_()
    distribution, nearest = assign(fast, given.mask, codes, distance, tau)
    expected = slow_assignment(slow, given.mask, codes, distance, tau)
    assert torch.allclose(distribution, expected, atol=1e-6)
    weights = torch.randn(distribution.shape, generator=torch.Generator().manual_seed(2))
    (gradient,) = torch.autograd.grad((distribution * weights).sum(), fast)
    (reference,) = torch.autograd.grad((expected * weights).sum(), slow)
    assert torch.allclose(gradient, reference, atol=1e-6)
    closest = (given.values[:, :, None] - codes).square().sum(-1).argmin(-1)
    assert torch.equal(nearest, closest.masked_fill(~given.mask, -1))


@pytest.mark.parametrize(("chunk", "keep"), [(1, 1 << 25), (150, 0), (1 << 17, 0)])
def test_chunks_and_recomputed_distances_change_nothing(monkeypatch, chunk, keep):
    given, codes = random_features(), torch.randn(9, 5)

    def run():
        values = given.values.clone().requires_grad_()
        distribution, nearest = assign(values, given.mask, codes)
        (distribution * torch.arange(9.0)).sum().backward()
        return distribution, nearest, values.grad

    whole = run()
    monkeypatch.setattr("mmretrieval.codebook._CHUNK", chunk)
    monkeypatch.setattr("mmretrieval.codebook._KEEP", keep)
    for one, other in zip(whole, run()):
        assert torch.allclose(one, other, atol=1e-6)


def test_gradient_passes_a_numerical_check():
    given, codes = random_features(3, 4), torch.randn(6, 5, dtype=torch.float64)
    values = given.values.double().requires_grad_()
    for distance in ("l2", "sq_l2"):
        assert torch.autograd.gradcheck(lambda x, d=distance: assign(x, given.mask, codes, d)[0], values)


def test_a_vector_on_its_code_has_a_finite_gradient():
    values = E[None].clone().requires_grad_()
    assign(values, torch.ones(1, 3, dtype=torch.bool), E)[0][0, 0].backward()
    assert values.grad.isfinite().all()


def test_codes_are_the_nearest_and_gradients_go_straight_through():
    codebook = started().train()
    values = torch.tensor([[[0.2, 0.1], [2.0, 0.5], [8.0, 8.0]]], requires_grad=True)
    quantized = codebook(Features(values, torch.tensor([[True, True, False]]), (3,)))
    assert quantized.codes.tolist() == [[0, 1, -1]]
    assert torch.equal(quantized.features.values, torch.stack([E[0], E[1], torch.zeros(2)])[None])
    assert torch.equal(codebook.eval()(features(values.detach())).features.values[0, :2], E[:2])
    weights = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])
    (gradient,) = torch.autograd.grad((quantized.features.values * weights).sum(), values, retain_graph=True)
    assert torch.equal(gradient, torch.tensor([[[1.0, 2.0], [3.0, 4.0], [0.0, 0.0]]]))
    (gradient,) = torch.autograd.grad(quantized.commitment, values)
    assert torch.allclose(gradient, torch.tensor([[[0.2, 0.1], [-1.0, 0.5], [0.0, 0.0]]]))


def test_commitment_is_the_mean_squared_distance_of_real_positions():
    quantized = started().eval()(features([[[1.0, 0.0], [3.0, 2.0]], [[0.0, 3.0], [7.0, 7.0]]], [2, 1]))
    assert quantized.commitment.item() == pytest.approx((1 + 4 + 1) / 3)


def test_padding_changes_nothing():
    given = random_features(dim=2)
    results, states = [], []
    for junk in (0.0, 1e4, float("nan")):
        codebook = started().train()
        values = given.values.masked_fill(~given.mask[..., None], junk)
        results.append(codebook(Features(values, given.mask, given.grid)))
        codebook.update()
        states.append(codebook.state_dict())
    for result, state in zip(results[1:], states[1:]):
        assert torch.equal(result.distribution, results[0].distribution)
        assert torch.equal(result.codes, results[0].codes)
        assert torch.equal(result.commitment, results[0].commitment)
        assert torch.equal(result.features.values, results[0].features.values)
        assert all(torch.equal(state[name], states[0][name]) for name in state)


def test_a_row_of_padding_has_an_empty_distribution():
    quantized = started().train()(features([[[1.0, 0.0]], [[5.0, 5.0]]], [1, 0]))
    assert quantized.distribution[0].sum().item() == pytest.approx(1)
    assert not quantized.distribution[1].any()
    assert started().eval()(features([[[1.0, 0.0]]], [0])).commitment.item() == 0


def test_permuting_the_codes_permutes_the_distribution_alone():
    given, order = random_features(dim=2), torch.tensor([2, 0, 1])
    one, other = started().eval()(given), started(E[order]).eval()(given)
    assert torch.allclose(one.distribution[:, order], other.distribution, atol=1e-7)
    assert torch.equal(one.features.values, other.features.values)


def test_bf16_features_are_compared_in_full_precision():
    given = random_features(dim=16)
    rounded = given._replace(values=given.values.bfloat16())
    codebook = started(torch.randn(8, 16)).eval()
    with torch.autocast("cpu", torch.bfloat16):
        quantized = codebook(rounded)
    assert quantized.distribution.dtype == torch.float32
    exact = codebook(given._replace(values=rounded.values.float()))
    assert torch.equal(quantized.distribution, exact.distribution)


# -- learning ----------------------------------------------------------------------------------------------------------


def test_golden_moving_averages():
    codebook = started().train()
    quantized = codebook(features([[[0.0, 1.0], [1.0, 0.0], [3.0, 1.0], [0.0, 5.0]]]))
    assert quantized.codes.tolist() == [[0, 0, 1, 2]]
    assert torch.equal(codebook.codes, E), "codes move in update() alone"
    codebook.update()
    assert torch.allclose(codebook.counts, torch.tensor([1.01, 1.0, 1.0]), atol=1e-6)
    assert torch.allclose(codebook.sums, torch.tensor([[0.01, 0.01], [3.0, 0.01], [0.0, 4.01]]), atol=1e-6)
    assert torch.allclose(codebook.codes, torch.tensor([[0.00990099, 0.00990099], [3.0, 0.01], [0.0, 4.01]]), atol=1e-6)


def test_all_modalities_of_a_step_meet_the_same_codes_and_are_counted_together():
    first, second = random_features(seed=1, dim=2, scale=3), random_features(seed=2, dim=2, scale=3)
    apart = started(decay=0.5).train()
    for _ in range(3):
        apart(first), apart(second)
        apart.update()
    together = started(decay=0.5).train()
    both = Features(torch.cat([first.values, second.values]), torch.cat([first.mask, second.mask]), first.grid)
    for _ in range(3):
        together(both)
        together.update()
    assert torch.allclose(apart.codes, together.codes, atol=1e-6)
    assert not torch.allclose(apart.codes, E)


def test_update_equals_a_slow_reference():
    given = random_features(dim=2, scale=3)
    codebook = started(decay=0.8).train()
    counts, sums, codes = torch.ones(3), E.clone(), E.clone()
    for _ in range(4):
        codebook(given)
        codebook.update()
        real = given.values[given.mask]
        nearest = torch.cdist(real, codes).argmin(1)
        for v in range(3):
            counts[v] = 0.8 * counts[v] + 0.2 * (nearest == v).sum()
            sums[v] = 0.8 * sums[v] + 0.2 * real[nearest == v].sum(0)
            codes[v] = sums[v] / counts[v]
        assert torch.allclose(codebook.codes, codes, atol=1e-5)


def test_nothing_is_learnt_in_evaluation_or_without_a_step():
    codebook = started()
    before = {name: buffer.clone() for name, buffer in codebook.state_dict().items()}
    codebook.eval()(random_features(dim=2))
    codebook.update()
    codebook.train().update()
    assert all(torch.equal(buffer, before[name]) for name, buffer in codebook.state_dict().items())


def test_codes_never_get_a_gradient():
    codebook = started().train()
    assert list(codebook.parameters()) == []
    assert not codebook(random_features(dim=2)).features.values.requires_grad


def far_away(revive_after, steps):
    """Seven of eight codes start where nothing ever comes."""
    codes = torch.zeros(8, 4)
    codes[1:] += 100 + torch.arange(7.0)[:, None]
    codebook = started(codes, revive_after=revive_after).train()
    used = set()
    for step in range(steps):
        used = set(codebook(random_features(64, 4, 4, seed=step)).codes.flatten().tolist()) - {-1}
        codebook.update()
    return used, codebook


def test_trap_dead_codes_come_back_alive():
    used, codebook = far_away(revive_after=5, steps=40)
    assert len(used) == 8
    assert codebook.codes.abs().max() < 10
    assert len(far_away(revive_after=1000, steps=40)[0]) == 1, "the trap is real: without revival they stay dead"


def test_revival_resets_code_average_and_count_together():
    codebook = started(torch.tensor([[0.0, 0.0], [50.0, 50.0]]), revive_after=3).train()
    given = random_features(dim=2)
    for _ in range(2):
        codebook(given)
        codebook.update()
        assert torch.allclose(codebook.codes[1], torch.tensor([50.0, 50.0]))
    codebook(given)
    codebook.update()
    revived = codebook.codes[1]
    assert (given.values[given.mask] == revived).all(-1).any(), "a real vector of the step"
    assert torch.equal(codebook.sums[1], revived)
    assert codebook.counts[1] == 1
    assert codebook.steps_unused.tolist() == [0, 0]


def test_more_dead_codes_than_vectors_are_revived_bit_by_bit():
    codebook = started(torch.full((6, 2), 90.0) + torch.arange(6.0)[:, None], revive_after=1).train()
    codebook(features([[[0.0, 1.0], [1.0, 0.0]]]))
    codebook.update()
    assert (codebook.codes < 20).all(1).sum() == 2


def test_initialise_finds_the_clusters():
    centres = torch.tensor([[0.0, 0.0], [20.0, 0.0], [0.0, 20.0], [20.0, 20.0]])
    noise = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    codebook = EMACodebook(4, 2)
    assert not codebook.ready
    codebook.initialise(centres.repeat(100, 1) + noise)
    assert codebook.ready
    distances = torch.cdist(centres, codebook.codes)
    assert sorted(distances.argmin(1).tolist()) == [0, 1, 2, 3]
    assert distances.amin(1).max() < 1


def test_trap_buffers_survive_saving_and_loading(tmp_path):
    _, codebook = far_away(revive_after=5, steps=7)
    torch.save(codebook.state_dict(), tmp_path / "codebook.pt")
    copy = EMACodebook(8, 4, revive_after=5).train()
    copy.load_state_dict(torch.load(tmp_path / "codebook.pt", weights_only=True))
    assert {name for name, _ in copy.named_buffers()} == {
        *{"codes", "sums", "counts", "steps_unused", "updates", "ready"}
    }
    for seed in range(8):
        given = random_features(64, 4, 4, seed=seed)
        assert torch.equal(codebook(given).codes, copy(given).codes)
        codebook.update(), copy.update()
    for name, buffer in codebook.named_buffers():
        assert torch.equal(buffer, dict(copy.named_buffers())[name]), name


def test_two_processes_equal_one(tmp_path):
    """Counts, sums, k-means start and revived vectors: two processes with half the batch each, nine steps."""
    one = codebook_worker.train()
    assert one["revived"] > 0
    for other in gloo.run_two(Path(codebook_worker.__file__), tmp_path):
        for name, buffer in one.items():
            assert torch.allclose(buffer.double(), other[name].double(), atol=1e-6), name


def test_messages():
    with pytest.raises(ModelError) as error:
        EMACodebook(4, 2)(random_features(dim=2))
    assert str(error.value) == (
        "the codebook has no codes yet: call initialise(vectors) with features of every modality, or load a trained "
        "model"
    )
    with pytest.raises(ModelError) as error:
        EMACodebook(512, 2).initialise(torch.zeros(100, 2))
    assert str(error.value) == (
        "a codebook of 512 codes needs at least 512 vectors to start from, got 100: give more, or make the codebook "
        "smaller"
    )
    with pytest.raises(ModelError) as error:
        EMACodebook(4, 2, distance="cosine")
    assert str(error.value) == "codebook distance 'cosine' is unknown: use 'l2' or 'sq_l2'"
