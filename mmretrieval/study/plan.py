"""A study as people write it: a question, a base recipe, what each run changes, and what to look at in the reports.

::

    # Does the adaptive margin help?
    name: losses
    question: Does AMM retrieve better than NCE?
    base: ../base.yaml                    # a file relative to this one, or a shipped recipe
    runs:
      nce: {objective: {nce: {}}}         # each key, dotted or not, replaces the whole value that the base has there
      amm, α 0.2:
        - "objective={amm: {alpha: 0.2}}" # the same in the words of the command line
    seeds: [0, 1, 2]
    metrics:
      R@1: [retrieval.text_to_video.recall@1, retrieval.video_to_text.recall@1]     # the mean of several
      perplexity: {keys: codes.perplexity.joint, better: none}
    baseline: nce
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mmretrieval.errors import ManifestError, RecipeError, did_you_mean
from mmretrieval.recipe import STUDY_KEY, find_recipe, is_study, load_recipe, read_yaml, recipes_folder
from mmretrieval.sections import Recipe

LOWER_IS_BETTER = ("median_rank", "loss", "jsd")
SHARES = ("map", "shared", "balanced")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Metric(_Section):
    """What to look at in a run's report.json: the mean of the values at dotted keys; a number picks from a list.

    ``timing.latency`` and ``timing.throughput`` are not in it but measured at the end, see ``study.timing``.
    ``scale`` is what it is multiplied by, for units that people read: 1.0e-6 shows multiply-adds in millions.
    """

    keys: list[str]
    better: Literal["higher", "lower", "none"]
    percent: bool
    scale: float = 1.0


class Plot(_Section):
    """What the picture shows: one panel per metric, the first three if none is named.

    With ``against``, the name of another metric, runs are points over it (accuracy over cost); else they are rows.
    """

    metrics: list[str] = []
    title: str | None = None
    against: str | None = None


class _File(_Section):
    name: str
    question: str = ""
    base: str
    runs: Annotated[dict[str, list[str]], Field(min_length=1)]
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [0, 1, 2]
    metrics: Annotated[dict[str, Metric], Field(min_length=1)]
    order: Literal["file", "best"] = "file"
    baseline: str | None = None
    plot: Plot = Plot()


@dataclass(frozen=True)
class Study:
    """A checked study.

    Attributes:
        file: Where it is written down.
        given: How the user named it: for the command that its table quotes.
        name: Name of its folder and of its tables.
        question: What it asks.
        base: The recipe that all runs start from.
        runs: Label → overrides, in the order of the file.
        seeds: Seeds of every run.
        metrics: Name → what it is.
        order: Rows of the table as in the ``file``, or the ``best`` by the first metric on top.
        baseline: The run that the others are compared with, seed by seed.
        plot: Settings of the picture.
    """

    file: Path
    given: str
    name: str
    question: str
    base: Path
    runs: dict[str, list[str]]
    seeds: list[int]
    metrics: dict[str, Metric]
    order: str
    baseline: str | None
    plot: Plot


@dataclass(frozen=True)
class Run:
    """One label with one seed: its checked recipe and its folder."""

    label: str
    seed: int
    recipe: Recipe
    folder: Path

    @property
    def name(self) -> str:
        """How messages and the ledger call it."""
        return f"{self.label}, seed {self.seed}"


def find_studies(path: str | Path) -> list[Path]:
    """Return the study files behind a path: a file, a folder's, or those that ship with the package by their name.

    Raises:
        RecipeError: There is none, or the file is a recipe.
    """
    given = Path(path)
    parts = given.parts[1:] if given.parts[:1] == ("recipes",) else given.parts
    shipped = recipes_folder().joinpath(*parts)
    for place in (given, shipped, shipped.with_name(f"{shipped.name}.yaml")):
        if place.is_dir():
            found = sorted(file for file in place.glob("*.yaml") if is_study(file))
            if found:
                return found
            raise RecipeError(f"{place} holds no study: a study is a YAML file with '{STUDY_KEY}:'")
        if place.is_file():
            if is_study(place):
                return [place]
            raise RecipeError(
                f"{place} is no study: it has no '{STUDY_KEY}:'. If it is a recipe, type 'mmretrieval train {path}'"
            )
    folder = recipes_folder()
    known = sorted(p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.yaml") if is_study(p))
    offered = f" Shipped: {', '.join(known)}." if known else ""
    hint = did_you_mean("/".join(parts).removesuffix(".yaml"), known)
    raise RecipeError(f"no study '{path}': it is neither a file nor a folder, and no shipped study.{hint}{offered}")


def read_study(file: Path, given: str | None = None) -> Study:
    """Read and check a study.

    Raises:
        RecipeError: An unknown key, a wrong value, a baseline or metric that the study does not have, labels that make
            the same folder, or no base recipe. The message has file and line.
    """
    values, origins = read_yaml(file)

    def place(*path: str) -> str:
        while path and path not in origins:
            path = path[:-1]
        return f"{origins[path]}: " if path else f"{file}: "

    values = dict(values)
    values["runs"] = _runs(values.get("runs"), place)
    values["metrics"] = _metrics(values.get("metrics"), place)
    values.setdefault("name", file.stem)
    if values.get("baseline") is not None:
        values["baseline"] = str(values["baseline"])  # a label like 64 is a number to YAML
    if "base" not in values:
        raise RecipeError(f"{file}: base is missing: name the recipe that all runs start from")
    try:
        checked = _File.model_validate(values)
    except ValidationError as error:
        raise RecipeError(_explain(error.errors()[0], place)) from None
    if checked.baseline is not None and checked.baseline not in checked.runs:
        known = list(checked.runs)
        raise RecipeError(
            f"{place('baseline')}baseline: no run '{checked.baseline}'.{did_you_mean(checked.baseline, known)} "
            f"Runs: {', '.join(known)}."
        )
    against = [] if checked.plot.against is None else [checked.plot.against]
    for key, names in (("metrics", checked.plot.metrics), ("against", against)):
        for name in (name for name in names if name not in checked.metrics):
            known = list(checked.metrics)
            raise RecipeError(
                f"{place('plot', key)}plot.{key}: no metric '{name}'.{did_you_mean(name, known)} "
                f"Metrics: {', '.join(known)}."
            )
    _check_folders(checked, place)
    beside = file.parent / checked.base
    base = beside if beside.is_file() else find_recipe(checked.base)
    fields = {name: getattr(checked, name) for name in _File.model_fields if name != "base"}
    return Study(file=file, given=given or str(file), base=base, **fields)


def plan_runs(study: Study, out: Path, overrides: Sequence[str] = (), seeds: Sequence[int] | None = None) -> list[Run]:
    """Return every run of a study, all labels of the first seed first, so that the table is soon complete.

    Runs whose recipe names no ``data.cache`` share ``out/cache``: a clip is decoded once for all studies of a folder.

    Args:
        study: The study.
        out: The folder of all studies; this one's is ``out/NAME``.
        overrides: ``section.key=value`` for every run; what a run itself changes comes after them and wins.
        seeds: Instead of the study's.

    Raises:
        RecipeError: A recipe that does not hold; the message names the run.
        ManifestError: A manifest that is not there.
    """
    runs = []
    for seed in study.seeds if seeds is None else seeds:
        for label, changes in study.runs.items():
            folder = run_folder(out / study.name, label, seed)
            last = [f"seed={seed}", f"output={_as_yaml(str(folder))}"]
            try:
                recipe = load_recipe(study.base, [*overrides, *changes, *last])
                if recipe.data.cache is None:
                    cache = f"data.cache={_as_yaml(str(out / 'cache'))}"
                    recipe = load_recipe(study.base, [*overrides, *changes, *last, cache])
            except RecipeError as error:
                raise RecipeError(f"{study.file}: run '{label}': {error}") from None
            runs.append(Run(label, seed, recipe, folder))
    _check_manifests(study, runs)
    return runs


def run_folder(folder: Path, label: str, seed: int) -> Path:
    """Return the folder of one run."""
    return folder / _folder_name(label) / f"seed-{seed}"


def _folder_name(label: str) -> str:
    """Return a label with everything but letters, digits and ``. _ = + -`` made one dash."""
    return re.sub(r"[^\w.=+-]+", "-", label).strip("-.") or "run"


def _check_folders(checked: _File, place) -> None:
    if _folder_name(checked.name) != checked.name:
        raise RecipeError(
            f"{place('name')}name: '{checked.name}' names files: use letters, digits and . _ = + - only, "
            f"e.g. {_folder_name(checked.name)}"
        )
    folders: dict[str, str] = {}
    for label in checked.runs:
        other = folders.setdefault(_folder_name(label), label)
        if other != label:
            raise RecipeError(
                f"{place('runs', label)}runs: '{other}' and '{label}' would both lie in '{_folder_name(label)}': "
                "rename one"
            )


def _check_manifests(study: Study, runs: Sequence[Run]) -> None:
    for run in runs:
        data = run.recipe.data
        for split in ("train", "val", "test"):
            manifest = getattr(data, split)
            if manifest is not None and not Path(manifest).is_file():
                raise ManifestError(
                    f"{study.file}: run '{run.label}' needs {manifest} (data.{split}), which is not there: make it "
                    f"(a toy world: 'mmretrieval toyworld'), or add data.{split}=… to the command"
                )


def _runs(runs: Any, place) -> dict[str, list[str]]:
    """Bring the two ways of writing a run's changes, mapping and list, to one."""
    if not isinstance(runs, dict):
        raise RecipeError(f"{place('runs')}runs: a mapping of labels to changes is needed, got {runs!r}")
    found = {}
    for label, changes in runs.items():
        label = str(label)
        if changes is None:
            changes = []
        if isinstance(changes, dict):
            changes = [f"{key}={_as_yaml(value)}" for key, value in changes.items()]
        if not isinstance(changes, list) or not all(isinstance(change, str) for change in changes):
            raise RecipeError(
                f"{place('runs', label)}runs.{label}: got {changes!r}; write a mapping like {{training.lr: 0.001}}, "
                'or a list of overrides, each in quotes: ["training.lr=0.001"]'
            )
        found[label] = changes
    return found


def _metrics(metrics: Any, place) -> dict[str, dict]:
    """Bring the three ways of writing a metric (key, keys, everything) to one."""
    if not isinstance(metrics, dict) or not metrics:
        raise RecipeError(
            f"{place('metrics')}metrics: a mapping of names to keys of report.json is needed, "
            "e.g. {R@1: retrieval.mean.recall@1}"
        )
    found = {}
    for name, given in metrics.items():
        entry = dict(given) if isinstance(given, dict) else {"keys": given}
        keys = entry.get("keys")
        entry["keys"] = [keys] if isinstance(keys, str) else keys
        last = [str(key).split(".")[-1] for key in entry["keys"] or []]
        lower = bool(last) and all(part in LOWER_IS_BETTER for part in last)
        entry.setdefault("better", "lower" if lower else "higher")
        entry.setdefault("percent", bool(last) and all(part in SHARES or part.startswith("recall@") for part in last))
        found[str(name)] = entry
    return found


def _explain(error: dict, place) -> str:
    path = tuple(str(part) for part in error["loc"])
    name = ".".join(path)
    if error["type"] == "extra_forbidden":
        known = {1: _File, 2: Plot}.get(len(path), Metric).model_fields
        section = ".".join(path[:-1]) or "a study"
        hint = did_you_mean(path[-1], known) or f" Its keys: {', '.join(known)}."
        return f"{place(*path)}{section} has no key '{path[-1]}'.{hint}"
    return f"{place(*path)}{name}: got {error['input']!r}; {error['msg'][:1].lower()}{error['msg'][1:]}"


def _as_yaml(value: Any) -> str:
    """Return a value as YAML in one line, as an override takes it."""
    text = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), allow_unicode=True)
    return text.removesuffix("...\n").strip()
