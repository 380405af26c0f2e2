"""What every pretrained encoder keeps, of whatever family: the contract of encoders, and its own promises."""

import foreign
import pytest
import torch

from mmretrieval.encoders import create_encoder
from mmretrieval.model import RetrievalModel
from mmretrieval.types import Padded

CASES = [
    *[("text", family, "tokens") for family in (*foreign.TEXT, *foreign.DUAL)],
    *[("text", family, "embedding") for family in (*foreign.DUAL, *foreign.TEXT) if family != "bart"],
    *[("video", family, "patches") for family in (*foreign.DUAL, *foreign.IMAGE, *foreign.VIDEO)],
    *[("video", family, "embedding") for family in (*foreign.DUAL, *foreign.IMAGE, "timesformer", "vivit")],
    *[("speech", family, None) for family in foreign.SPEECH],
]
NAMES = ["-".join(filter(None, case)) for case in CASES]
every = pytest.mark.parametrize("case", CASES, ids=NAMES)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The folder of a family, saved when it is first asked for."""
    folders = {}

    def find(family):
        if family not in folders:
            folders[family] = foreign.save(tmp_path_factory.mktemp("foreign") / family.replace(" ", "_"), family)
        return str(folders[family])

    return find


@pytest.fixture(scope="module")
def frozen(source):
    """The frozen encoder of a case, read once."""
    encoders = {}

    def find(case):
        if case not in encoders:
            encoders[case] = create_encoder("pretrained", source=source(case[1]), **options(case))
        return encoders[case]

    return find


def options(case):
    modality, family, output = case
    chosen = {"modality": modality} | ({"output": output} if output else {})
    return chosen | ({"frames": 4} if modality == "video" else {})


def given(case, seed=1):
    """Three items of different length."""
    modality, family, _ = case
    random = torch.Generator().manual_seed(seed)
    if modality == "video":
        values = torch.randint(0, 256, (3, 4, 3, 32, 32), generator=random, dtype=torch.uint8)
        lengths = [4, 2, 3]
    elif modality == "text":
        values = torch.randint(4, foreign.VOCAB, (3, 9), generator=random)
        values[:, 0] = 2
        lengths = [9, 4, 6]
        for row, length in enumerate(lengths):
            values[row, length - 1] = 3
    elif family == "whisper":
        values, lengths = torch.randn(3, 60, 80, generator=random) * 0.5, [60, 31, 44]
    else:
        values, lengths = torch.randn(3, 2000, generator=random), [2000, 900, 1437]
    return Padded(values, torch.arange(values.shape[1]) < torch.tensor(lengths)[:, None])


def with_junk(inputs, more=0):
    """The same items, other padding, and more of it."""
    values, mask = inputs
    values = torch.cat([values, values[:, :more]], 1).clone()
    mask = torch.cat([mask, torch.zeros(len(mask), more, dtype=torch.bool)], 1)
    values[~mask] = float("nan") if values.is_floating_point() else 7
    return Padded(values, mask)


@every
def test_shapes_mask_and_grid_agree_and_padding_changes_nothing(frozen, case):
    net, inputs = frozen(case), given(case)
    features = net(inputs)
    assert features.values.shape == (*features.mask.shape, net.feature_dim)
    assert features.mask.shape[1] == torch.Size(features.grid).numel()
    assert features.values.isfinite().all() and features.mask.any(dim=1).all()
    assert not features.values[~features.mask].any()
    assert torch.equal(features.values, net(with_junk(inputs)).values)
    longer = with_junk(inputs, more=0 if case[0] == "video" else 5)
    torch.testing.assert_close(net(longer).values[:, : features.mask.shape[1]], features.values, atol=2e-5, rtol=1e-4)
    for row in (1, 2):
        length = int(inputs.mask[row].sum())
        alone = net(Padded(inputs.values[row : row + 1, :length], inputs.mask[row : row + 1, :length]))
        together = features.values[row][features.mask[row]]
        assert alone.mask.all()
        torch.testing.assert_close(alone.values[0], together, atol=2e-5, rtol=1e-4)


@every
def test_frozen_has_no_gradient_stays_in_evaluation_and_is_close_in_bf16(frozen, case):
    net, inputs = frozen(case), given(case)
    before = net(inputs).values
    net.train()
    assert not any(module.training for module in net.modules())
    assert not any(parameter.requires_grad for parameter in net.parameters())
    after = net(inputs).values
    assert not after.requires_grad and torch.equal(before, after)
    with torch.autocast("cpu", torch.bfloat16):
        rough = net(inputs).values.float()
    assert (rough - before).norm() / before.norm() < 0.05


@every
def test_trainable_gets_gradients_everywhere(frozen, case):
    remembered = frozen(case).remembered
    net = create_encoder("pretrained", frozen=False, **options(case), **remembered).train()
    assert all(module.training for module in net.modules())
    features = net(given(case))
    weights = torch.randn(features.values.shape, generator=torch.Generator().manual_seed(3))
    (features.values * weights).sum().backward()
    trained = {name: p for name, p in net.named_parameters() if p.requires_grad}
    assert trained
    without = [name for name, p in trained.items() if p.grad is None or not p.grad.any()]
    # in X-CLIP's first block the messages of all frames are equal, so which one is attended to changes nothing
    assert [name for name in without if "layers.0.message_attn" not in name] == []


@every
def test_a_saved_model_needs_no_source(source, case, tmp_path):
    modality, family, _ = case
    model = RetrievalModel.from_config(section(case, source(family))).eval()
    model.save_pretrained(tmp_path / "model")
    text = (tmp_path / "model/config.json").read_text()
    moved = text.replace(source(family), "somewhere/else")
    assert moved != text
    (tmp_path / "model/config.json").write_text(moved)
    loaded = RetrievalModel.from_pretrained(tmp_path / "model")
    before, after = model.state_dict(), loaded.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    for (name, first), (other, second) in zip(model.named_buffers(), loaded.named_buffers(), strict=True):
        assert name == other and torch.equal(first, second), name
    assert loaded.processor.to_config() == model.processor.to_config()
    first, second = (net.encode(modality, given(case)).embedding for net in (model, loaded))
    torch.testing.assert_close(first, second)


def section(case, folder):
    """The model section of a recipe with one pretrained encoder."""
    modality, family, output = case
    encoder = {"name": "pretrained", "source": folder} | ({"output": output} if output else {})
    common = {"pool": "mean", "norm": "batch"}
    sections = {
        "video": {"backbone": encoder, "frames": 4, "size": None, "fps": None, **common},
        "speech": {"encoder": encoder, "mels": None, "max_seconds": 20.0, **common},
        "text": {"encoder": encoder, "max_tokens": None, **common},
    }
    config = {"dim": 8, "similarity": "cosine", "scale": 10.0, "head": "glu", "dropout": 0.0, "codebook": None}
    return config | {name: sections[name] if name == modality else None for name in sections}
