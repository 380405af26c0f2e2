import pytest
import torch

from mmretrieval.layers.glu import GatedEmbeddingUnit, GLUHead


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("head", "sizes", "parameters"),
    [
        (GLUHead, (4096, 4096), 67_125_248),
        (GLUHead, (1024, 4096), 10_496_000),
        (GatedEmbeddingUnit, (4096, 4096), 33_562_624),
    ],
)
def test_parameters_are_as_published(head, sizes, parameters):
    with torch.device("meta"):
        assert count(head(*sizes)) == parameters


def test_glu_head_equals_its_two_gated_layers():
    torch.manual_seed(0)
    head, x = GLUHead(6, 3), torch.randn(4, 5, 6)
    hidden = head.hidden(x)
    hidden = hidden[..., :6] * torch.sigmoid(hidden[..., 6:])
    out = head.out(hidden)
    assert torch.allclose(head(x), out[..., :3] * torch.sigmoid(out[..., 3:]))


def test_gated_embedding_unit_gates_its_own_projection():
    torch.manual_seed(0)
    unit, x = GatedEmbeddingUnit(6, 3), torch.randn(4, 6)
    y = x @ unit.project.weight.T + unit.project.bias
    assert torch.allclose(unit(x), y / (1 + torch.exp(-(y @ unit.gate.weight.T + unit.gate.bias))), atol=1e-6)
