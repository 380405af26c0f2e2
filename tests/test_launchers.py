"""Several processes from the command line: torchrun and accelerate share every batch and train what one would."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clips import write_recipe, write_world

from mmretrieval.recipe import load_recipe
from mmretrieval.run import train

# dropout draws differ between processes; a bad clip leaves one of them fewer rows than the other
SETTINGS = ["model.dropout=0", "training.epochs=2", "training.evaluate_every=2", "training.lr=0.0003"]
LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"],
    "accelerate": [
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        "2",
        "--main_process_port",
        "PORT",
        "-m",
    ],
}
OPTIONS = {
    "torchrun": [],
    # in chunks, normalisations inside encoders see their chunk, which differs with the number of processes: held
    "accelerate": [
        "training.chunk_size=2",
        "training.freeze_norm=[branches.speech.encoder]",
        "training.rates={branches.video.encoder: 0}",
        "data.feature_type=float32",
    ],
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = write_world(tmp_path_factory.mktemp("data") / "world")
    (made / "speech/9.wav").write_bytes(b"this is no recording")
    return made


@pytest.fixture
def taken():
    """A port that somebody has. Told 0, accelerate chooses a free one, lets go of it and takes it seconds later, when
    another may have it; told one that is taken, it has its processes meet where torchrun --standalone has them meet."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield str(listener.getsockname()[1])


def launch(launcher, file, settings, taken):
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    how = [taken if word == "PORT" else word for word in LAUNCHERS[launcher]]
    with subprocess.Popen(
        [sys.executable, "-m", *how, "mmretrieval", "train", str(file), *settings],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=240)
        except BaseException:
            # the workers, too: they hold the pipe, and reading it would wait for them for ever
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == 0, output


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_processes_train_what_one_does(world, tmp_path, launcher, taken):
    settings, runs = [*SETTINGS, *OPTIONS[launcher]], {}
    for name in ("alone", "together"):
        (tmp_path / name).mkdir()
        cache = [f"data.features={tmp_path}/features of {name}"] if launcher == "accelerate" else []
        runs[name] = (write_recipe(tmp_path / name, world, tmp_path / f"{name}/run"), [*settings, *cache])
    alone = train(load_recipe(*runs["alone"]))
    launch(launcher, *runs["together"], taken)
    together = json.loads((tmp_path / "together/run/report.json").read_text())
    assert together["steps"] == alone["steps"] == 6
    assert together["environment"]["processes"] == 2 and alone["environment"]["processes"] == 1
    # Adam makes as much of the rounding of a vanishing gradient as of a large one, so later steps drift a little
    np.testing.assert_allclose(together["losses"][:3], alone["losses"][:3], rtol=5e-5)
    np.testing.assert_allclose(together["losses"], alone["losses"], rtol=1e-3)
    assert together["codes"]["used"] > 0
    assert together["unreadable_clips"] == alone["unreadable_clips"] > 0
