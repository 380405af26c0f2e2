"""Measuring saved models on the clips of manifests: one on one, or several on several."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mmretrieval.data.dataset import ClipDataset, ViewDataset, create_loader
from mmretrieval.data.manifest import Sample, read_manifest
from mmretrieval.errors import ManifestError, ModelError, StorageError, UnknownNameError, did_you_mean
from mmretrieval.evaluation.cross import Cell
from mmretrieval.evaluation.protocol import DEFAULT_RULES, Rules, Subsets, measure, sameness_warnings, stored_subsets
from mmretrieval.evaluation.trec import DEPTH, write_trec
from mmretrieval.files import atomic_write, sha256_file
from mmretrieval.media.views import Views
from mmretrieval.model import RetrievalModel
from mmretrieval.recognizer import ONE_VIEW, Recognizer, check_views
from mmretrieval.run import consecutive, with_modalities
from mmretrieval.training.recognition import evaluate_recognizer
from mmretrieval.training.retrieval import Embedded, evaluate_model
from mmretrieval.types import MODALITIES


class Export(NamedTuple):
    """Where TREC run files go, and how many items they list per query."""

    folder: Path
    depth: int = DEPTH


class EvaluationSet(NamedTuple):
    """A manifest as it is measured on: its rows, its stored sets of 1,000, and what to say about them."""

    manifest: Path
    rows: list[Sample]
    rules: Rules
    subsets: Subsets | None
    warnings: list[str]

    @classmethod
    def read(cls, manifest: Path, rules: Rules = DEFAULT_RULES, on_bad: str = "skip") -> EvaluationSet:
        """Read a manifest and read or draw its sets; a folder nobody named that cannot be written is a warning.

        Raises:
            ManifestError: No such manifest, nothing usable in it, or sets that do not belong to it.
            StorageError: The folder named for the sets cannot be written.
        """
        rows = read_manifest(manifest, on_bad=on_bad).samples
        try:
            return cls(manifest, rows, rules, stored_subsets(manifest, rows, rules.subsets), [])
        except StorageError as error:
            if rules.subsets is not None:
                raise
            warning = f"no subsets were measured: {error} Name a folder for them with --subsets."
            return cls(manifest, rows, rules, None, [warning])


def evaluate_saved(
    model_folder: Path,
    manifest: Path,
    on_bad: str = "skip",
    workers: int = 2,
    modalities: Sequence[str] | None = None,
    rules: Rules = DEFAULT_RULES,
    export: Export | None = None,
) -> dict:
    """Evaluate a saved model on the clips of a manifest, by the protocol of the papers.

    Args:
        model_folder: A saved model.
        manifest: Clips with captions; those that have all of ``modalities`` are used.
        on_bad: ``"skip"`` sets unreadable clips aside, ``"raise"`` stops.
        workers: Loader processes.
        modalities: Some of the model's; None is all.
        rules: Subsets, relevance and ties.
        export: Also write TREC run files.

    Returns:
        ``retrieval``, ``codes``, ``summary``, ``score``, ``failures`` and ``warnings``.

    Raises:
        ModelError: No such model, or it lacks one of ``modalities``.
        ManifestError: No such manifest, nothing usable in it, or subsets that do not belong to it.
        StorageError: Subsets or run files cannot be written where they were wanted.
    """
    model = RetrievalModel.from_pretrained(model_folder)
    names = _chosen(model, modalities, model_folder)
    return evaluate_on(model, EvaluationSet.read(Path(manifest), rules, on_bad), names, on_bad, workers, export)


def evaluate_on(
    model: RetrievalModel,
    data: EvaluationSet,
    modalities: Sequence[str],
    on_bad: str = "skip",
    workers: int = 2,
    export: Export | None = None,
) -> dict:
    """Evaluate a model on a test set; as ``evaluate_saved``."""
    samples = with_modalities(data.rows, modalities, data.manifest)
    by_id = {sample.id: sample for sample in samples}
    warnings = list(data.warnings)

    def measured(embedded: Embedded) -> dict:
        ids, videos, embeddings = embedded.ids, embedded.video_ids, embedded.embeddings
        if not ids:
            reason = embedded.failures[0].reason
            raise ManifestError(f"{data.manifest}: none of its {len(samples)} clips can be read, the first: {reason}")
        report, found = measure(ids, videos, embeddings, data.rules, data.subsets)
        warnings.extend(found + sameness_warnings([by_id[name] for name in ids], embeddings))
        if export is not None:
            write_trec(export.folder, embeddings, ids, videos, data.rules.relevance, export.depth)
        return report

    dataset = ClipDataset(samples, model.processor, modalities, train=False, on_bad=on_bad)
    loader = create_loader(dataset, consecutive(len(samples), 64), workers)
    return {**evaluate_model(model, loader, samples, measured), "warnings": warnings}


def evaluate_recognition(
    model_folder: Path, manifest: Path, on_bad: str = "skip", workers: int = 2, views: Views = ONE_VIEW
) -> dict:
    """Evaluate a saved recognition model on the labelled clips of a manifest.

    Args:
        model_folder: A saved model.
        manifest: Clips with labels; those without a video or a label are left out.
        on_bad: ``"skip"`` sets unreadable clips aside, ``"raise"`` stops.
        workers: Loader processes.
        views: How often each video is looked at; logits are averaged over views.

    Returns:
        ``recognition``, ``summary``, ``score`` and ``failures``; see ``evaluate_recognizer``.

    Raises:
        ModelError: No such model, not one for recognition, or views that it has no use for.
        ManifestError: No such manifest, or no clip of it can be used.
    """
    model = Recognizer.from_pretrained(model_folder)
    check_views(views, model.labels)
    samples = with_modalities(read_manifest(manifest, on_bad=on_bad).samples, ["video"], manifest)
    labelled = [sample for sample in samples if sample.labels]
    if not labelled:
        raise ManifestError(f"{manifest}: none of its {len(samples)} clips has labels to compare with")
    dataset = ViewDataset(labelled, model.processor, views, on_bad=on_bad)
    batches = consecutive(len(labelled), max(1, 64 // views.count))
    return evaluate_recognizer(model, create_loader(dataset, batches, workers), labelled, views=views)


def evaluate_cross(
    models: Mapping[str, Path],
    data: Mapping[str, Path],
    folder: Path,
    modalities: Sequence[str] | None = None,
    rules: Rules = DEFAULT_RULES,
    workers: int = 2,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[dict[str, dict[str, Cell]], dict]:
    """Measure every model on every data set; what is measured is kept in ``folder/cells`` and not measured again.

    A model is measured with the modalities that it shares with a data set. A cell is kept by the fingerprint of the
    model, the content of the manifest, the stored sets and the rules; files that changed behind the same manifest are
    not noticed: delete ``cells`` then.

    Args:
        models: Name → folder of a saved model.
        data: Name → manifest.
        folder: Where cells are kept.
        modalities: Use no others; None uses all that are common to a model and a data set.
        rules: Subsets, relevance and ties; ``rules.subsets`` holds a folder per data set, by its name.
        workers: Loader processes.
        say: Called with a line of text per cell.

    Returns:
        The cells, and facts about models, data sets and rules for ``write_cross``.

    Raises:
        UnknownNameError: One of ``modalities`` is none.
        ModelError, ManifestError, StorageError: As in ``evaluate_saved``, before anything is measured; a data set that
            turns out unreadable only leaves its cell empty.
    """
    for name in modalities or []:
        if name not in MODALITIES:
            raise UnknownNameError(
                f"unknown modality '{name}'.{did_you_mean(name, MODALITIES)} Known: {', '.join(MODALITIES)}."
            )
    sets = {name: EvaluationSet.read(Path(file), _rules_for(rules, name)) for name, file in data.items()}
    hashes = {name: sha256_file(test.manifest) for name, test in sets.items()}
    facts = {
        "models": {},
        "data": {name: {"manifest": str(sets[name].manifest), "sha256": hashes[name]} for name in sets},
        "rules": {"relevance": rules.relevance, "ties": rules.ties},
    }
    for path in models.values():
        if not (Path(path) / "config.json").is_file():
            RetrievalModel.from_pretrained(path)  # says what is missing, before hours are spent on the others
    cells: dict[str, dict[str, Cell]] = {}
    for name, path in models.items():
        model = RetrievalModel.from_pretrained(path)
        fingerprint = model.fingerprint()
        facts["models"][name] = {"path": str(path), "fingerprint": fingerprint}
        cells[name] = {}
        for dataset, test in sets.items():
            used = tuple(m for m in common_modalities(model, test.rows) if modalities is None or m in modalities)
            place = Path(folder) / "cells" / f"{_key(fingerprint, hashes[dataset], test, used)}.json"
            cells[name][dataset] = _cell(model, test, used, place, workers)
            say(f"{name} on {dataset}: {_told(cells[name][dataset])}")
    return cells, facts


def common_modalities(model: RetrievalModel, samples: Sequence[Sample]) -> tuple[str, ...]:
    """Return the modalities of a model that a data set has, too: that at least half of its samples have."""
    counts = {name: sum(getattr(sample, name) is not None for sample in samples) for name in MODALITIES}
    return tuple(name for name in model.modalities if 2 * counts[name] >= len(samples))


def _chosen(model: RetrievalModel, wanted: Sequence[str] | None, folder: Path) -> tuple[str, ...]:
    if wanted is None:
        return model.modalities
    for name in wanted:
        if name not in model.modalities:
            raise ModelError(f"the model {folder} has no '{name}'; it knows {', '.join(model.modalities)}")
    if len(set(wanted)) < 2:
        raise ModelError(f"retrieval needs two modalities, got {', '.join(wanted) or 'none'}")
    return tuple(name for name in model.modalities if name in wanted)


def _rules_for(rules: Rules, name: str) -> Rules:
    return rules if rules.subsets is None else rules._replace(subsets=rules.subsets / name)


def _key(fingerprint: str, manifest: str, test: EvaluationSet, modalities: Sequence[str]) -> str:
    subsets = test.subsets.ids if test.subsets else None
    parts = [fingerprint, manifest, subsets, test.rules.relevance, test.rules.ties, list(modalities)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def _cell(model: RetrievalModel, test: EvaluationSet, modalities: tuple[str, ...], place: Path, workers: int) -> Cell:
    """Take up a cell that is kept, or measure and keep it."""
    if len(modalities) < 2:
        shared = f"only {modalities[0]}" if modalities else "no modality"
        return Cell(modalities, None, f"model and data set share {shared}; retrieval needs two")
    if place.is_file():
        return Cell(modalities, json.loads(place.read_text("utf-8")))
    try:
        retrieval = evaluate_on(model, test, modalities, workers=workers)["retrieval"]
    except ManifestError as error:
        return Cell(modalities, None, str(error))
    retrieval.get("subsets", {}).pop("rows", None)
    atomic_write(place, json.dumps(retrieval) + "\n")
    return Cell(modalities, retrieval)


def _told(cell: Cell) -> str:
    if cell.retrieval is None:
        return f"– ({cell.reason})"
    mean = cell.retrieval["mean"]
    return f"R@1 {mean['recall@1']:.1%}, R@10 {mean['recall@10']:.1%} ({', '.join(cell.modalities)})"
