import pytest
import tiny
import torch

from mmretrieval.errors import DependencyError
from mmretrieval.training import compilation
from mmretrieval.training.compilation import compile_parts


def test_a_compiled_encoder_trains_and_keeps_its_names():
    plain, compiled = tiny.model(), tiny.model()
    names = list(compiled.state_dict())
    encoders = [branch.encoder for branch in compiled.branches.values()]
    compile_parts(encoders, torch.device("cpu"), backend="aot_eager")  # all of it but the minute of a C++ compiler
    assert list(compiled.state_dict()) == names
    inputs = tiny.batch().inputs["text"]
    weights = torch.randn(6, 32)
    for model in (plain, compiled):
        model.eval()
        (model.encode("text", inputs, chunk_size=3).embedding * weights).sum().backward()
    for (name, expected), got in zip(plain.named_parameters(), compiled.parameters(), strict=True):
        if expected.grad is not None:
            torch.testing.assert_close(got.grad, expected.grad, rtol=1e-3, atol=1e-5, msg=lambda text, n=name: n + text)


@pytest.mark.parametrize(
    ("device", "missing"), [("cpu", "a C++ compiler (g++ or clang++)"), ("cuda", "Triton for this GPU")]
)
def test_without_a_compiler_it_is_one_clear_line(monkeypatch, device, missing):
    monkeypatch.setattr(compilation.shutil, "which", lambda name: None)
    monkeypatch.setattr("torch.utils._triton.has_triton", lambda: False)
    with pytest.raises(DependencyError) as caught:
        compile_parts([tiny.model()], torch.device(device))
    assert str(caught.value) == f"training.compile needs {missing}: install it, or leave training.compile out"
