"""What the README shows is run, or at least understood by the command line."""

import re
import shlex
from pathlib import Path

import pytest
import tiny
from clips import write_world

README = (Path(__file__).parent.parent / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A folder like the one the demo leaves, with a model that was never trained."""
    from mmretrieval.collection import Collection

    folder = tmp_path_factory.mktemp("readme")
    model = tiny.model()
    model.save_pretrained(folder / "demo/run/model")
    world = write_world(folder / "demo/world", clips=4)
    Collection.build(folder / "demo/collection", [world / "videos"], model, folder / "demo/run/model", progress=False)
    return folder


@pytest.mark.parametrize("block", blocks("python"))
def test_python_blocks_run(block, demo, monkeypatch, capsys):
    monkeypatch.chdir(demo)
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out


def commands() -> list[list[str]]:
    lines = [line for block in blocks("console") for line in block.splitlines()]
    inline = re.findall(r"`(mmretrieval [^`\n]+)`", README)
    return [shlex.split(line)[1:] for line in [*lines, *inline] if line.startswith("mmretrieval ")]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_commands_exist_with_their_options(command):
    from typer.main import get_command

    from mmretrieval.cli.main import app

    verb = get_command(app)
    while hasattr(verb, "commands"):
        assert command[0] in verb.commands, f"no verb {command[0]}"
        verb, command = verb.commands[command[0]], command[1:]
    known = {option for parameter in verb.params for option in parameter.opts}
    assert {word for word in command if word.startswith("-")} <= known


def test_the_manifest_rows_shown_are_manifest_rows(tmp_path):
    from mmretrieval.data.manifest import read_manifest

    (block,) = blocks("json")
    (tmp_path / "train.jsonl").write_text(block)
    assert len(read_manifest(tmp_path / "train.jsonl").samples) == 2


def test_recipe_overrides_shown_are_understood():
    from mmretrieval.recipe import load_recipe

    for command in commands():
        if command[0] == "train" and command[1] != "RECIPE":
            load_recipe(command[1], [word for word in command[2:] if "=" in word])
