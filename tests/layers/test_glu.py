import pytest
import torch

from mmretrieval.errors import ModelError, UnknownNameError
from mmretrieval.layers.glu import GatedEmbeddingUnit, GLUHead, create_head


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


def test_heads_by_name():
    vectors = torch.randn(3, 6)
    assert torch.equal(create_head("none", 6, 6)(vectors), vectors)
    assert create_head("linear", 6, 4)(vectors).shape == (3, 4)
    assert isinstance(create_head("glu", 6, 4), GLUHead) and isinstance(create_head("gated", 6, 4), GatedEmbeddingUnit)
    with pytest.raises(ModelError) as caught:
        create_head("none", 6, 4)
    assert str(caught.value) == "head: none makes embeddings as wide as features: set dim to 6, not 4"
    with pytest.raises(UnknownNameError) as caught:
        create_head("liner", 6, 4)
    assert str(caught.value) == "unknown head 'liner'. Did you mean 'linear'? Known: glu, gated, linear, none."
