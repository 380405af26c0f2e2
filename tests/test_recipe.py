from pathlib import Path

import pytest

from mmretrieval.backbones import backbones
from mmretrieval.errors import RecipeError
from mmretrieval.recipe import check_recipe, dump_recipe, find_recipe, load_recipe, shipped_recipes

MINIMAL = """\
output: runs/x
data:
  train: train.jsonl
  val: val.jsonl
model:
  video:
    backbone: {name: tsm_resnet_test}
    frames: 4
objective:
  amm: {weight: 1.0}
"""


def write(folder: Path, text: str, name: str = "recipe.yaml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def message_of(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(folder, text), list(overrides))
    return str(caught.value).replace(str(folder) + "/", "")


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_is_built(name):
    recipe = load_recipe(name)
    assert recipe.objective if recipe.task == "retrieval" else recipe.model.video.backbone.name in backbones


def test_recognition_is_trained_as_published():
    recipe = load_recipe("recognition/kinetics_tam50_8")
    training = recipe.training
    assert (training.optimizer, training.lr, training.weight_decay) == ("sgd", 0.01, 5e-4)
    assert (training.schedule, training.epochs, training.batch_size) == ("cosine", 100, 72)
    assert (training.warmup, training.clip_grad, recipe.model.dropout) == (0, 0, 0.5)
    assert (recipe.data.augment, recipe.data.flip, recipe.model.video.crop) == ("multi_scale", True, 0.875)
    assert not load_recipe("recognition/something_tam50_8").data.flip  # left and right are classes
    assert load_recipe("recognition/something_i3d50_8").training.epochs == 75


@pytest.mark.parametrize("name", [f"{data}_{net}" for data in ("something", "kinetics") for net in ("tam50", "i3d50")])
def test_more_frames_begin_with_the_model_of_fewer(name):
    chain = [load_recipe(f"recognition/{name}_{frames}") for frames in (8, 16, 32)]
    assert [recipe.model.video.frames for recipe in chain] == [8, 16, 32]
    assert [recipe.init_from for recipe in chain] == [None, *(f"{recipe.output}/model" for recipe in chain[:2])]
    assert [list(recipe.weights) for recipe in chain] == [["encoder.backbone"], [], []]
    assert [recipe.training.schedule for recipe in chain] == ["cosine", "multi_step", "multi_step"]
    assert [recipe.training.batch_size for recipe in chain] == [72, 72, 36]
    for recipe in chain[1:]:
        falls = [round(share * recipe.training.epochs) for share in recipe.training.milestones]
        assert falls == [15, 30]
    assert len({(recipe.data.train, recipe.model.video.backbone.name, recipe.data.flip) for recipe in chain}) == 1


def test_shipped_recipes_are_found_by_name_path_and_prefix():
    names = ("toyworld/base", "toyworld/base.yaml", "recipes/toyworld/base", "recipes/toyworld/base.yaml")
    assert len({find_recipe(name).resolve() for name in names}) == 1


def test_a_resolved_recipe_reads_back_as_itself(tmp_path):
    recipe = load_recipe("toyworld/demo", ["training.epochs=3"])
    assert load_recipe(write(tmp_path, dump_recipe(recipe))) == recipe


def test_includes_state_only_what_differs(tmp_path):
    write(tmp_path, MINIMAL, "base.yaml")
    recipe = load_recipe(write(tmp_path, "include: base.yaml\nmodel: {video: {frames: 2}}\n"))
    assert recipe.model.video.frames == 2
    assert recipe.model.video.backbone.name == "tsm_resnet_test"


def test_overrides_win_and_are_typed(tmp_path):
    recipe = load_recipe(write(tmp_path, MINIMAL), ["training.lr=1e-4", "data.modalities=[video, text]", "seed=3"])
    assert recipe.training.lr == 1e-4
    assert recipe.data.modalities == ["video", "text"]
    assert recipe.seed == 3


def test_unknown_key_names_file_line_section_and_the_nearest_key(tmp_path):
    text = MINIMAL.replace("frames: 4", "frame: 4")
    assert message_of(tmp_path, text) == "recipe.yaml, line 8: model.video has no key 'frame'. Did you mean 'frames'?"


def test_unknown_key_in_an_included_file_names_that_file(tmp_path):
    write(tmp_path, MINIMAL + "traning: {}\n", "base.yaml")
    expected = "base.yaml, line 11: the recipe has no key 'traning'. Did you mean 'training'?"
    assert message_of(tmp_path, "include: base.yaml\n") == expected


def test_weights_of_a_part_are_a_file_or_a_section(tmp_path):
    text = MINIMAL + "weights:\n  one: a.pth\n  two: {file: b.pth, inflate: repeat}\n"
    recipe = load_recipe(write(tmp_path, text))
    assert {part: (given.file, given.inflate) for part, given in recipe.weights.items()} == {
        "one": ("a.pth", None),
        "two": ("b.pth", "repeat"),
    }
    assert load_recipe(write(tmp_path, dump_recipe(recipe))) == recipe


def test_wrong_key_of_the_weights_of_a_part(tmp_path):
    text = MINIMAL + "weights:\n  branches.video.encoder.backbone: {file: a.pth, inflated: repeat}\n"
    expected = (
        "recipe.yaml, line 12: weights.branches.video.encoder.backbone has no key 'inflated'. Did you mean 'inflate'?"
    )
    assert message_of(tmp_path, text) == expected


def test_wrong_type_says_what_was_got(tmp_path):
    expected = (
        "recipe.yaml, line 8: model.video.frames: got 'eight'; input should be a valid integer, "
        "unable to parse string as an integer"
    )
    assert message_of(tmp_path, MINIMAL.replace("frames: 4", "frames: eight")) == expected


def test_value_out_of_range(tmp_path):
    expected = "override 'training.epochs=0': training.epochs: got 0; input should be greater than 0"
    assert message_of(tmp_path, MINIMAL, "training.epochs=0") == expected


def test_missing_key(tmp_path):
    expected = "recipe.yaml, line 2: data.val is missing: give a manifest"
    assert message_of(tmp_path, MINIMAL.replace("  val: val.jsonl\n", "")) == expected


def test_unknown_override_names_itself(tmp_path):
    expected = "override 'training.epoch=3': training has no key 'epoch'. Did you mean 'epochs'?"
    assert message_of(tmp_path, MINIMAL, "training.epoch=3") == expected


def test_override_without_value(tmp_path):
    expected = "override 'epochs' is not of the form section.key=value, e.g. training.epochs=5"
    assert message_of(tmp_path, MINIMAL, "epochs") == expected


def test_broken_yaml_names_the_line(tmp_path):
    assert message_of(tmp_path, "output: runs/x\ndata: {train: [\n").startswith("recipe.yaml, line 3: not valid YAML: ")


def test_a_list_is_no_recipe(tmp_path):
    assert message_of(tmp_path, "- a\n- b\n") == "recipe.yaml: a recipe is a mapping of sections, got list"


def test_missing_include(tmp_path):
    text = "output: x\ninclude: nowhere.yaml\n"
    assert message_of(tmp_path, text) == "recipe.yaml, line 2: include: no file 'nowhere.yaml'"


def test_a_recipe_that_includes_itself(tmp_path):
    assert message_of(tmp_path, "include: recipe.yaml\n") == "recipe.yaml includes itself, by way of recipe.yaml"


def test_unknown_recipe_offers_the_nearest():
    with pytest.raises(RecipeError) as caught:
        load_recipe("toyworld/dem")
    assert str(caught.value) == (
        "no recipe 'toyworld/dem': it is neither a file nor one of the shipped recipes. "
        f"Did you mean 'toyworld/demo'? Shipped: {', '.join(shipped_recipes())}."
    )


def test_unknown_section_type():
    with pytest.raises(RecipeError, match=r"^data: got 3; "):
        check_recipe({"output": "x", "data": 3, "model": {}, "objective": {}})
