"""How fast the networks of a study are, measured in one go when all runs are done.

A run that times its network meets whatever else the machine does just then, in a study most likely another run. Here
networks take turns (``evaluation.cost.measure``), so that what is compared was measured alike. Metrics name the results
``timing.latency``, in seconds for one clip, and ``timing.throughput``, in clips per second of eight at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmretrieval.errors import RecipeError
from mmretrieval.files import atomic_write
from mmretrieval.study.interrupts import Interrupts
from mmretrieval.study.plan import Run, Study
from mmretrieval.study.runner import FINISHED, only_one, state_of

SECTION = "timing"
NAME = "timing.json"
ROUNDS = 25


def is_timed(study: Study) -> bool:
    """Return whether a metric of a study looks at times."""
    return any(key.split(".")[0] == SECTION for metric in study.metrics.values() for key in metric.keys)


def check_timed(study: Study, runs: Sequence[Run]) -> None:
    """Make sure that a study with times is one of recognition.

    Raises:
        RecipeError: A run of it is not.
    """
    for run in runs if is_timed(study) else ():
        if run.recipe.task != "recognition":
            raise RecipeError(
                f"{study.file}: {SECTION}.* are times of recognition networks, run '{run.label}' has task "
                f"{run.recipe.task}: take these metrics out"
            )


def read_times(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what was measured in a study's folder, by label."""
    file = folder / NAME
    return json.loads(file.read_text("utf-8")) if file.is_file() else {}


def measure_times(
    study: Study, runs: Sequence[Run], out: Path, say: Callable[[str], None], rounds: int = ROUNDS
) -> None:
    """Time one network of every label that has a finished run, unless those very networks have been timed.

    Args:
        study: The study; one that looks at no times is left alone.
        runs: Its runs.
        out: The folder of all studies, in which nothing else may be at work.
        say: Called with a line of text.
        rounds: How often each network takes its turn.

    Raises:
        StorageError: Another command is at work there, or the disk cannot be written.
    """
    if not is_timed(study):
        return
    finished = {run.label: run for run in reversed(runs) if state_of(run)[0] == FINISHED}
    wanted = {label: run.recipe.model.video.model_dump(mode="json") for label, run in finished.items()}
    known = read_times(out / study.name)
    if not wanted or wanted == {label: times["network"] for label, times in known.items()}:
        return
    from mmretrieval.evaluation.cost import measure
    from mmretrieval.recognizer import Recognizer

    with only_one(out), Interrupts():
        say(f"timing {len(finished)} networks, which takes quiet")
        networks = {
            label: Recognizer.from_pretrained(run.folder / "model").encoder.backbone for label, run in finished.items()
        }
        times = measure(networks, rounds=rounds)
        content = {label: {**times[label]._asdict(), "network": wanted[label]} for label in networks}
        atomic_write(out / study.name / NAME, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
