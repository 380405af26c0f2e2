import pytest
import tiny
import torch

from mmretrieval.errors import ModelError, RecipeError
from mmretrieval.sections import WeightsSection
from mmretrieval.training.start import load_parts, start_from

BACKBONE = "branches.video.encoder.backbone"


def test_a_run_starts_from_an_earlier_model_down_to_the_buffers():
    earlier, model = tiny.model(seed=1), tiny.model(seed=2, dropout=0.5)
    earlier.train()(tiny.batch())
    start_from(model, earlier, "runs/one/model")
    for name, tensor in earlier.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


def test_a_codebook_may_be_added_and_changes_nothing_at_first():
    earlier = tiny.model(seed=1, codebook=None).eval()
    model = tiny.model(seed=2, started=False).eval()
    start_from(model, earlier, "runs/one/model")
    batch = tiny.batch()
    before, after = earlier(batch), model(batch)
    for name in before:
        assert torch.equal(before[name].embedding, after[name].embedding)


def test_an_earlier_model_of_another_architecture():
    with pytest.raises(ModelError) as error:
        start_from(tiny.model(dim=48, codebook=None), tiny.model(codebook=None), "runs/one/model")
    message = str(error.value)
    assert message == (
        "init_from: runs/one/model is not the model of this recipe: 6 tensors differ, first "
        "'branches.speech.head.out.bias' (wanted (96,), got (64,))"
    )


def test_a_codebook_is_not_thrown_away():
    with pytest.raises(ModelError, match=r"^init_from: run is not the model of this recipe: \d+ tensors differ"):
        start_from(tiny.model(codebook=None), tiny.model(), "run")


def test_weights_for_a_part(tmp_path):
    part = tiny.model(seed=1).get_submodule(BACKBONE).state_dict()
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in part.items()}}, tmp_path / "part.pth")
    model = tiny.model(seed=2)
    load_parts(model, {BACKBONE: WeightsSection(file=str(tmp_path / "part.pth"))})
    for name, tensor in model.get_submodule(BACKBONE).state_dict().items():
        assert torch.equal(tensor, part[name])


def test_weights_of_images_for_a_part(tmp_path):
    part = tiny.model(seed=1).get_submodule(BACKBONE).state_dict()
    torch.save(part, tmp_path / "part.pth")
    model = tiny.model(seed=2, video={**tiny.CONFIG["video"], "backbone": {"name": "i3d_resnet_test"}})
    load_parts(model, {BACKBONE: WeightsSection(file=str(tmp_path / "part.pth"), inflate="repeat")})
    for name, tensor in model.get_submodule(BACKBONE).state_dict().items():
        assert torch.equal(tensor[:, :, -1] if tensor.dim() == 5 else tensor, part[name])


def test_weights_for_a_part_that_is_not_there(tmp_path):
    with pytest.raises(RecipeError) as error:
        load_parts(tiny.model(), {"branches.video.backbone": WeightsSection(file=str(tmp_path / "part.pth"))})
    expected = (
        "weights: the model has no part 'branches.video.backbone'. Did you mean 'branches.video.encoder.backbone'?"
    )
    assert str(error.value) == expected
