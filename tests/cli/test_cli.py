import json
import subprocess
import sys

import pytest
import tiny
from clips import write_recipe, write_world

from mmretrieval.recipe import shipped_recipes


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("data") / "world", clips=8)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "model"
    tiny.model().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def collection(world, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("collections") / "clips"
    finished = command("index", "build", folder, world / "videos", "--model", model)
    assert finished.returncode == 0, finished.stderr
    return folder


def command(*arguments) -> subprocess.CompletedProcess:
    """Run the command as a person does, in a process of its own."""
    line = [sys.executable, "-m", "mmretrieval.cli.main", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120)


def modules_after(*arguments) -> set[str]:
    """Which modules the command has imported by the time it ends."""
    script = (
        "import sys, json\n"
        "from mmretrieval.cli.main import main\n"
        f"sys.argv = {['mmretrieval', *map(str, arguments)]!r}\n"
        "try:\n    main()\nexcept SystemExit as e:\n    assert not e.code, e.code\n"
        "sys.stderr.write(json.dumps(sorted(sys.modules)))\n"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    return {
        name.partition(".")[0] if not name.startswith("mmretrieval") else name for name in json.loads(finished.stderr)
    }


def test_help_names_every_verb_and_loads_nothing_heavy():
    finished = command("--help")
    verbs = ("demo", "toyworld", "train", "evaluate", "evaluate-cross", "study", "index", "search", "models", "doctor")
    for verb in verbs:
        assert f"  {verb} " in finished.stdout
    assert not modules_after("--help") & {"torch", "numpy", "faiss", "transformers", "librosa", "av", "decord"}


@pytest.mark.parametrize(
    "verb",
    ["demo", "toyworld", "train", "evaluate", "evaluate-cross", "study", "search", "models", "doctor", "index"],
)
def test_every_verb_explains_itself(run, verb):
    code, out, _ = run(verb, "--help")
    assert code == 0
    assert len(out.splitlines()) > 5


def test_index_and_typed_search(run, collection):
    code, out, _ = run("search", collection, "a red dog runs across the meadow", "-k", 3, "--json")
    hits = json.loads(out)
    assert code == 0
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    assert all(list(hit)[:6] == ["rank", "score", "id", "path", "start", "end"] for hit in hits)
    assert hits[0]["score"] >= hits[1]["score"] >= hits[2]["score"]


def test_search_for_people(run, collection):
    code, out, _ = run("search", collection, "a red dog", "-k", 2)
    assert code == 0 and out.count(".mp4") == 2


def test_spoken_search(run, collection, world, tmp_path):
    sheet = tmp_path / "answers.png"
    speech = world / "speech/3.wav"
    code, out, _ = run("search", collection, "--speech", speech, "--no-merge", "--json", "--sheet", sheet)
    assert code == 0 and len(json.loads(out)) == 8
    assert sheet.read_bytes().startswith(b"\x89PNG")


def test_a_clip_finds_itself(run, collection, world):
    _, out, _ = run("search", collection, "--video", world / "videos/5.mp4", "--json", "-k", 1)
    assert json.loads(out)[0]["path"].endswith("videos/5.mp4")


def test_typed_search_loads_neither_decoders_nor_training(collection):
    loaded = modules_after("search", collection, "a red dog")
    assert not loaded & {"librosa", "av", "decord", "transformers", "accelerate", "sklearn", "torchaudio", "soundfile"}
    assert not [name for name in loaded if name.startswith("mmretrieval.training") or name == "mmretrieval.run"]


def test_info_and_verify(run, collection):
    code, out, _ = run("index", "info", collection, "--json")
    facts = json.loads(out)
    assert code == 0 and facts["videos"] == 8 and facts["generation"] == 1
    assert run("index", "info", collection)[0] == 0
    assert run("index", "verify", collection) == (0, "every file is as it was written\n", "")


def test_verify_names_the_damaged_file_and_exits_with_1(run, collection, tmp_path):
    import shutil

    damaged = tmp_path / "damaged"
    shutil.copytree(collection, damaged)
    index = next(damaged.glob("*.faiss"))
    data = bytearray(index.read_bytes())
    data[len(data) // 2] ^= 1
    index.write_bytes(data)
    code, out, _ = run("index", "verify", damaged, "--json")
    assert code == 1 and [problem["file"] for problem in json.loads(out)] == [index.name]


def test_add_and_remove(run, world, model, tmp_path):
    folder = tmp_path / "growing"
    assert run("index", "build", folder, world / "videos/0.mp4", "--model", model)[0] == 0
    code, out, _ = run("index", "add", folder, world / "videos/1.mp4", world / "videos/0.mp4")
    assert code == 0 and out == (
        f"1 new video, 1 moment added, 1 there already\n{folder}: 2 moments of 2 videos, generation 2\n"
    )
    assert run("index", "remove", folder, world / "videos/0.mp4")[:2] == (0, "1 moment removed\n")
    before = json.loads(run("index", "info", folder, "--json")[1])
    code, out, _ = run("index", "compact", folder, "--json")
    after = json.loads(out)
    assert code == 0 and after["saved_bytes"] > 0
    assert after["collection"]["moments"] == before["moments"]
    assert after["collection"]["generation"] == before["generation"] + 1
    assert run("index", "verify", folder)[0] == 0
    assert run("index", "compact", folder)[1] == f"{folder}: 0.0 MiB smaller, generation {before['generation'] + 1}\n"
    assert json.loads(run("index", "info", folder, "--json")[1])["videos"] == 1


def test_evaluate(run, model, world):
    code, out, _ = run("evaluate", model, world / "train.jsonl", "--json", "--workers", 0)
    report = json.loads(out)
    assert code == 0
    assert set(report["text_to_video"]) == {"recall@1", "recall@5", "recall@10", "map", "median_rank"}
    assert {name for name in report if "_to_" in name} == {
        f"{a}_to_{b}" for a in ("video", "speech", "text") for b in ("video", "speech", "text") if a != b
    }


def test_train_and_print(run, world, tmp_path):
    recipe = write_recipe(tmp_path, world, tmp_path / "run")
    code, out, _ = run("train", recipe, "training.epochs=1", "training.batch_size=3")
    assert code == 0 and "direction" in out and f"{tmp_path}/run/model" in out
    code, out, _ = run("train", recipe, "training.epochs=7", "--print")
    assert code == 0 and "epochs: 7" in out


def test_doctor(run):
    code, out, _ = run("doctor")
    assert code == 0, out
    assert all(line.startswith("ok  ") for line in out.splitlines())


def test_version(run):
    from mmretrieval import __version__

    assert run("--version")[:2] == (0, f"mmretrieval {__version__}\n")


BAD = {
    "unknown recipe": (
        ["train", "toyworld/dem"],
        "no recipe 'toyworld/dem': it is neither a file nor one of the shipped recipes. Did you mean 'toyworld/demo'? "
        f"Shipped: {', '.join(shipped_recipes())}.",
    ),
    "wrong key": (
        ["train", "toyworld/base", "model.video.frame=3"],
        "override 'model.video.frame=3': model.video has no key 'frame'. Did you mean 'frames'?",
    ),
    "no model": (
        ["evaluate", "nowhere", "nowhere.jsonl"],
        "no model at 'nowhere': give the folder that training wrote, e.g. runs/demo/model",
    ),
    "no collection": (["search", "nowhere", "a dog"], "no collection at 'nowhere'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_2(run, case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, expected = BAD[case]
    code, out, err = run(*arguments)
    assert code == 2 and out == ""
    assert err.startswith(f"mmretrieval: {expected}") and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_unknown_objective_backbone_and_encoder(run, world, tmp_path):
    recipe = write_recipe(tmp_path, world, tmp_path / "run")
    for override, expected in (
        ("objective.amn={}", "unknown objective 'amn'. Did you mean 'amm'?"),
        ("model.video.backbone.name=tsm_resnet51", "unknown backbone 'tsm_resnet51'. Did you mean 'tsm_resnet50'?"),
        ("model.text.encoder.name=transformer", "unknown encoder 'transformer'. Did you mean 'text_transformer'?"),
        ("model.text.encoder.layers=2", "encoder 'text_transformer' has no option 'layers'."),
    ):
        code, _, err = run("train", recipe, override)
        assert code == 2, err
        assert err.startswith(f"mmretrieval: {expected}") and err.count("\n") == 1
        assert not (tmp_path / "run" / "model").exists()


def test_bad_queries(run, collection, world, tmp_path):
    import numpy as np
    import soundfile

    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000, np.float32), 16_000)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.float32), 16_000)
    (tmp_path / "text.wav").write_text("this is no sound")
    (tmp_path / "text.mp4").write_text("this is no video")
    for arguments in (
        [""],
        ["ξψω"],
        [],
        ["--speech", tmp_path / "silent.wav"],
        ["--speech", tmp_path / "empty.wav"],
        ["--speech", tmp_path / "text.wav"],
        ["--speech", tmp_path / "missing.wav"],
        ["--video", tmp_path / "text.mp4"],
        ["--video", tmp_path / "missing.mp4"],
    ):
        code, out, err = run("search", collection, *arguments)
        assert (code, out) == (2, ""), arguments
        assert err.startswith("mmretrieval: ") and err.count("\n") == 1, err


def test_a_collection_of_another_model(run, collection, tmp_path):
    tiny.model(seed=1).save_pretrained(tmp_path / "other")
    code, _, err = run("search", collection, "a red dog", "--model", tmp_path / "other")
    assert code == 2 and "was made by model" in err and err.count("\n") == 1


def test_weights_that_are_not_safetensors(run, model, collection, tmp_path):
    import shutil

    shutil.copytree(model, tmp_path / "model")
    (tmp_path / "model/model.safetensors").write_bytes(b"\x80\x04K\x01.")
    code, _, err = run("search", collection, "a red dog", "--model", tmp_path / "model")
    assert code == 2 and "is not a whole safetensors file" in err and err.count("\n") == 1


def test_nothing_to_index(run, model, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = run("index", "build", tmp_path / "new", tmp_path / "empty", "--model", model)
    assert code == 2 and err.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_build_sums_up_and_strict_exits_with_1(run, world, model, tmp_path):
    import shutil

    clips, made = tmp_path / "clips", tmp_path / "made"
    shutil.copytree(world / "videos", clips)
    (clips / "empty.mp4").touch()
    code, out, err = run("index", "build", made, clips, "--model", model, "--strict", "--stride", 0.5, "--window", 1)
    assert code == 1 and err == ""
    assert out == (
        f"8 new videos, 8 moments added\n1 problem, set aside:\n  {clips}/empty.mp4: the file is empty.\n"
        f"the whole list: mmretrieval index info {made}\n{made}: 8 moments of 8 videos, generation 1\n"
    )
    code, out, _ = run("index", "add", made, clips, "--json", "--window", 1, "--stride", 0.5)
    said = json.loads(out)
    assert code == 0 and (said["moments"], said["known"], said["quarantined"]) == (0, 8, 1)
    assert said["set_aside"] == [{"path": f"{clips}/empty.mp4", "reason": "the file is empty."}]
    assert said["collection"]["moments"] == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--window", 0.5], "a window lasts at least 1 s, got 0.5 s"),
        (["--precision", "fp8"], "unknown precision 'fp8': use one of auto, fp32, bf16, int8"),
        (["--workers", 0], "at least 1 process decodes, got 0"),
    ],
)
def test_build_options_that_are_not_allowed(run, world, model, tmp_path, options, message):
    code, _, err = run("index", "build", tmp_path / "made", world / "videos", "--model", model, *options)
    assert (code, err) == (2, f"mmretrieval: {message}\n") and not (tmp_path / "made").exists()
