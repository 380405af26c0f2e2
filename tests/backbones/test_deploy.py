"""Deployed backbones against those they were made from, every family, with padding."""

import math
import warnings
from functools import cache

import pytest
import torch
from torch import nn

from mmretrieval.backbones import create_backbone
from mmretrieval.backbones import deploy as module
from mmretrieval.backbones.deploy import Deployment, deploy, fast_precisions
from mmretrieval.errors import ModelError, UnknownNameError
from mmretrieval.layers.fused import FusedConv
from mmretrieval.layers.int8 import Int8Kernel, top_level
from mmretrieval.types import ClipSpec, Features, Padded

FAMILIES = {
    "resnet_test": {},
    "tsm_resnet_test": {},
    "resnet18": {"width": 4},
    "tsm_resnet50": {"width": 4},
    "tam_resnet_test": {"temporal_pool": "max", "depthwise": False, "aggregated_shortcut": True},
    "tam_inception_v1_test": {},
    "i3d_resnet_test": {"temporal_pool": True},
    "s3d_resnet_test": {},
    "i3d_test": {"temporal_pool": "avg"},
    "s3d_test": {"depthwise_time": True},
    "r2plus1d_test": {},
    "two_trunk_test": {},
}
"""One tiny network of each, between them with every option that changes its path."""


@cache
def settled(name):
    """A network whose normalisations have statistics; it is in training mode, which deploying must not mind."""
    torch.manual_seed(0)
    net = create_backbone(name, frames=4, size=32, **FAMILIES[name])
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.normal_(layer.running_mean, std=0.2)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.normal_(layer.bias, mean=0.5, std=0.2)  # else whole channels are zero in a network so small
    return net.train()


def clips(lengths=(4, 3, 2), seed=2):
    random = torch.Generator().manual_seed(seed)
    mask = torch.arange(4) < torch.tensor(lengths)[:, None]
    values = torch.randn(len(lengths), 4, 3, 32, 32, generator=random)
    return Padded(values.masked_fill(~mask[:, :, None, None, None], float("nan")), mask)


def exact(name, given):
    net = settled(name)
    with torch.no_grad():
        features = net.eval()(given)
    net.train()
    return features


def check(deployed, name, close):
    """Contract and closeness, on clips of other lengths than it was made with; returns the relative error."""
    given = clips(seed=5)
    expected, found = exact(name, given), deployed(given)
    assert found.grid == expected.grid
    assert torch.equal(found.mask, expected.mask)
    assert found.values.dtype == torch.float32
    assert found.values.isfinite().all()
    assert not found.values[~found.mask].any()
    assert not found.values.requires_grad
    assert (deployed.feature_dim, deployed.spec) == (settled(name).feature_dim, settled(name).spec)
    assert (found.values - expected.values).norm() < close * expected.values.norm()


@pytest.mark.parametrize("name", FAMILIES)
def test_fp32_is_equal_and_every_normalisation_is_folded(name):
    before = {key: value.clone() for key, value in settled(name).state_dict().items()}
    deployed = deploy(settled(name))
    check(deployed, name, 1e-5)
    norms = [layer for layer in settled(name).modules() if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d)]
    assert deployed.report.folded == len(norms)
    assert deployed.report.kept == ()
    after = settled(name).state_dict()
    assert settled(name).training
    assert all(torch.equal(after[key], value) for key, value in before.items())


@pytest.mark.parametrize("name", FAMILIES)
def test_bf16_is_close(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        deployed = deploy(settled(name), "bf16")
        check(deployed, name, 0.04)
    assert {value.dtype for value in deployed.state_dict().values()} == {torch.bfloat16}


@pytest.mark.parametrize("name", FAMILIES)
def test_int8_is_close_with_every_convolution_in_integers(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        deployed = deploy(settled(name), "int8", [clips(), clips(seed=3)])
        check(deployed, name, 0.1)
    report = deployed.report
    assert report.cosine > 0.99
    assert report.error < 0.1
    fused = [layer for layer in deployed.modules() if isinstance(layer, FusedConv)]
    assert all(isinstance(layer.kernel, Int8Kernel) for layer in fused)
    assert report.quantized == len(fused)
    kernels = [layer for layer in deployed.modules() if isinstance(layer, Int8Kernel)]
    assert report.chained == sum(kernel.made is not None for kernel in kernels)
    assert report.levels == top_level() + 1


def test_integers_are_passed_on_through_residual_blocks():
    network = deploy(settled("resnet_test"), "int8", [clips()]).network
    basic, bottleneck = network.layer1[0], network.layer2[0]
    # the stem is followed by two convolutions that read one tensor
    assert network.conv1.kernel.made == basic.conv1.kernel.given == basic.downsample[0].kernel.given
    assert basic.conv1.kernel.made == basic.conv2.kernel.given
    # the second convolution adds the shortcut to its own result, and both blocks' readers agree on what it makes
    assert basic.conv2.kernel.addend == basic.downsample[0].kernel.made
    assert basic.conv2.kernel.made == bottleneck.conv1.kernel.given == bottleneck.downsample[0].kernel.given
    # what leaves the network is in floats, and so is what is added to it
    ending = (bottleneck.conv3, bottleneck.downsample[0])
    assert [(conv.kernel.made, conv.kernel.addend) for conv in ending] == [(None, None)] * 2
    identity = deploy(settled("resnet18"), "int8", [clips()]).network.layer2[1]
    assert identity.conv2.kernel.addend == identity.conv1.kernel.given


def test_blending_frames_stays_in_integers():
    block = deploy(create_backbone("tam_resnet_test"), "int8", [clips()]).network.layer2[0]
    assert block.tam.kernel.made == block.conv1.kernel.given
    assert block.downsample[0].kernel.given == block.tam.kernel.given


def test_a_percentile_cuts_outliers_off():
    given = clips((4, 4))
    given.values[0, 0, 0, 0, 0] = 1000.0
    plain = deploy(settled("resnet_test"), "int8", [given], bound=math.inf)
    cut = deploy(settled("resnet_test"), "int8", [given], percentile=99.9, bound=math.inf)
    assert plain.network.conv1.kernel.given.scale > 100 * cut.network.conv1.kernel.given.scale

    def difference(deployed):
        fresh = clips(seed=5)
        return (deployed(fresh).values - exact("resnet_test", fresh).values).norm()

    assert difference(cut) < difference(plain) / 5


def test_a_deployed_backbone_stays_in_evaluation_and_keeps_no_gradient():
    deployed = deploy(settled("two_trunk_test"))
    assert not any(layer.training for layer in deployed.train().modules())
    assert not any(parameter.requires_grad for parameter in deployed.parameters())
    assert deployed.feature_groups == settled("two_trunk_test").feature_groups


def test_the_report_reads_well():
    fp32 = Deployment("fp32", folded=8, kept=("stem.norm",))
    assert str(fp32) == (
        "fp32, 8 batch normalisations folded\nas before: stem.norm\n"
        "features differ by 0.00% of their norm, cosine 1.00000"
    )
    int8 = Deployment("int8", folded=8, kept=(), quantized=9, chained=4, levels=128, error=0.0312, cosine=0.9995)
    assert str(int8) == (
        "int8, 8 batch normalisations folded\n"
        "9 convolutions in int8, activations of 128 levels, 4 results stay in uint8\n"
        "features differ by 3.12% of their norm, cosine 0.99950"
    )


def test_this_machine_says_what_it_computes_fast(monkeypatch):
    assert fast_precisions()[0] == "fp32"
    for bf16, top, expected in ((True, 255, ("fp32", "bf16", "int8")), (False, 127, ("fp32",))):
        monkeypatch.setattr(module, "has_bf16_kernels", lambda bf16=bf16: bf16)
        monkeypatch.setattr(module, "top_level", lambda top=top: top)
        assert fast_precisions() == expected


class Stubborn(nn.Module):
    """Not what its layers say: a normalisation is put to another use as well."""

    spec, feature_dim = ClipSpec(2, 8), 4

    def __init__(self, convolve=True):
        super().__init__()
        self.conv, self.norm, self.convolve = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), convolve
        nn.init.constant_(self.norm.running_var, 4.0)

    def forward(self, frames):
        images = frames.values.flatten(0, 1)
        if not self.convolve:
            return Features(images.mean((2, 3)).unflatten(0, frames.mask.shape), frames.mask, (2,))
        maps = self.norm(self.conv(images)) * getattr(self.norm, "running_var", torch.ones(4))[0]
        return Features(maps.mean((2, 3)).unflatten(0, frames.mask.shape), frames.mask, (2,))


def message(kind, *arguments, **options):
    with pytest.raises(kind) as error:
        deploy(*arguments, **options)
    return str(error.value)


def test_what_cannot_be_is_refused_in_one_line(monkeypatch):
    net = settled("resnet_test")
    assert message(UnknownNameError, net, "int4") == (
        "unknown precision 'int4'. Did you mean 'int8'? Use one of fp32, bf16, int8."
    )
    assert message(ModelError, nn.Linear(2, 2)) == (
        "cannot deploy a Linear: give a video backbone, as a video encoder has inside"
    )
    assert message(ModelError, deploy(net)) == ("the backbone is deployed already: deploy the one it was made from")
    for calibration in (None, []):
        assert message(ModelError, net, "int8", calibration) == (
            "int8 needs calibration: give some batches of clips like those to come, a few dozen clips"
        )
    raw = Padded(torch.zeros(1, 4, 3, 32, 32, dtype=torch.uint8), torch.ones(1, 4, dtype=torch.bool))
    assert message(ModelError, net, "int8", [raw]) == (
        "calibration clips are integers: normalise them as the backbone's spec says"
    )
    assert message(ModelError, net, "int8", [clips()], percentile=0.999) == (
        "percentile 0.999 is out of range: use more than 50, up to 100, which cuts nothing"
    )
    with torch.device("meta"):
        elsewhere = create_backbone("resnet_test")
    assert message(ModelError, elsewhere, "int8", [clips()]) == (
        "int8 runs on the CPU alone: move the backbone there, or use bf16"
    )
    monkeypatch.setattr(module, "has_int8_kernels", lambda: False)
    assert message(ModelError, net, "int8", [clips()]) == (
        "this PyTorch has no int8 convolutions (oneDNN is missing): use fp32 or bf16"
    )


def test_features_that_are_too_far_are_refused():
    net = settled("resnet_test")
    said = message(ModelError, net, "int8", [clips()], bound=0.001)
    assert said.startswith("deployed in int8, features differ by ")
    assert said.endswith(
        "% of their norm, 0.10% is accepted: "
        "calibrate with more clips or a percentile of 99.99, use bf16, or raise the bound"
    )
    assert message(ModelError, net, "bf16", bound=1e-9).endswith(
        "% of their norm, 0.00% is accepted: use fp32, or raise the bound"
    )
    assert message(ModelError, Stubborn()) == (
        "deployed in fp32, features differ by 75.00% of their norm, 0.01% is accepted: "
        "the network does something between its layers that fusing them breaks; use it as it is"
    )
    assert message(ModelError, Stubborn(convolve=False), "int8", [clips((4,))]) == (
        "the backbone has no convolution that int8 could compute: use fp32 or bf16"
    )
