"""Round 1 without the trunks: what frozen encoders make of every clip, computed once and kept on disk.

The clips are read as in evaluation, so crops, frames and cuts no longer vary from epoch to epoch: that is the price.
``views`` buys some of it back: so many random views of each training clip are computed, and training draws among them.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader

from mmretrieval.data.contents import ContentHashes
from mmretrieval.data.features import FeatureStore, FeatureTable, FeatureWriter, Place, Row, Source, row_key, source_of
from mmretrieval.data.manifest import Sample
from mmretrieval.errors import MMRetrievalError, RecipeError
from mmretrieval.layers.branch import one_position
from mmretrieval.layers.pooling import MaxPool, MeanPool
from mmretrieval.model import RetrievalModel
from mmretrieval.processes import worker_processes
from mmretrieval.training.loop import to_device
from mmretrieval.types import Batch, Features

Where = tuple[Source, int | None]
"""A clip, and which random view of it; None is the view of evaluation."""

SECTIONS = {"video": "clip", "speech": "speech", "text": "text"}
"""Modality → its section of the preprocessing."""


class CacheSettings(NamedTuple):
    """How features are computed and kept.

    ``number`` is the type on disk; ``views`` are random views of each training clip (0: as evaluation sees it), drawn
    by ``seed``; ``precision`` is ``fp32`` or ``bf16``; ``backend`` the video reader; ``batch_size`` the clips encoded
    at a time; ``workers`` the processes that decode.
    """

    number: str = "float16"
    views: int = 0
    seed: int = 0
    precision: str = "fp32"
    backend: str = "decord"
    batch_size: int = 32
    workers: int = 0


class _Job(NamedTuple):
    """One row to be computed."""

    key: str
    sample: Sample
    view: int | None


def frozen_modalities(model: RetrievalModel) -> list[str]:
    """Return the modalities whose encoder has no parameter that learns."""
    return [
        name
        for name, branch in model.branches.items()
        if not any(parameter.requires_grad for parameter in branch.encoder.parameters())
    ]


def build_features(
    folder: str | Path,
    model: RetrievalModel,
    train: Sequence[Sample],
    validation: Sequence[Sample],
    modalities: Sequence[str],
    settings: CacheSettings,
    accelerator,
) -> FeatureStore:
    """Compute what the folder does not hold yet and open it, every process doing its share.

    Args:
        folder: Where the features lie; data sets and models may share it.
        model: The model, with the frozen weights it trains with.
        train: Training samples.
        validation: Samples that are only looked at as evaluation does.
        modalities: The modalities that are trained on; those whose encoder is frozen are computed.
        settings: How.
        accelerator: Device and processes.

    Raises:
        RecipeError: No encoder is frozen.
        ModelError: The folder holds something else, or features do not fit the type of number.
        StorageError: The disk is full; what is computed so far is kept.
    """
    frozen = [name for name in frozen_modalities(model) if name in modalities]
    if not frozen:
        raise RecipeError(
            f"data.features keeps what frozen encoders give, and none of {', '.join(modalities)} is frozen: "
            f"freeze one with training.rates={{branches.{modalities[0]}.encoder: 0}}, or leave data.features out"
        )
    folder = Path(folder)
    contents = _hashed([*train, *validation], frozen, folder, accelerator)
    tables, places = {}, {}
    for name in frozen:
        with accelerator.main_process_first():
            tables[name] = _table(folder, model, name, settings)
        wanted = _wanted(train, validation, name, contents, settings)
        places[name] = _complete(tables[name], wanted, model, name, settings, accelerator)
    return FeatureStore(tables, places, settings.views)


def _table(folder: Path, model: RetrievalModel, modality: str, settings: CacheSettings) -> FeatureTable:
    """Open the table of a modality under its encoder as it is."""
    identity = fingerprint(model, modality, settings.precision)
    own = folder / f"{modality}-{identity[:16]}-{settings.number}"
    return FeatureTable(own, modality, identity, model.branches[modality].encoder.feature_dim, settings.number)


def _complete(
    table: FeatureTable,
    wanted: Mapping[Where, _Job],
    model: RetrievalModel,
    modality: str,
    settings: CacheSettings,
    accelerator,
) -> dict[Where, Place]:
    """Compute the rows that are missing, each process its share, and return where all of them are."""
    held = _places(table, wanted)
    missing = {where: job for where, job in wanted.items() if where not in held}
    # one caption under several videos, one file under several names: computed once
    jobs = list({job.key: job for job in missing.values()}.values())
    damaged = sum(job.key in table.places for job in jobs)
    if damaged and accelerator.is_main_process:
        print(f"{table.folder}: {damaged} damaged rows are computed again", file=sys.stderr)
    accelerator.wait_for_everyone()  # everybody has seen the same rows; only now may there be more
    share = jobs[accelerator.process_index :: accelerator.num_processes]
    _fill(table, model, modality, share, settings, accelerator)
    accelerator.wait_for_everyone()
    table.refresh()
    return held | _places(table, missing)


def _places(table: FeatureTable, wanted: Mapping[Where, _Job]) -> dict[Where, Place]:
    """Return where the wanted rows are that lie on disk, whole."""
    found = {where: table.find(job.key) for where, job in wanted.items()}
    return {where: place for where, place in found.items() if place is not None}


def fingerprint(model: RetrievalModel, modality: str, precision: str = "fp32") -> str:
    """Return the SHA-256 of all that decides a modality's features: its weights, configuration and preprocessing."""
    branch, processor = model.branches[modality], model.processor
    section = dict((model.config or {}).get(modality) or {})
    pool = section.pop("pool", None)
    for other in ("norm", "pool_number"):
        section.pop(other, None)
    what = {
        "section": section,
        "pooled": pool if _pools_without_loss(model, modality) else None,
        "preprocessing": processor.to_config().get(SECTIONS[modality]),
        "vocabulary": processor.tokenizer.to_json() if modality == "text" and processor.tokenizer else None,
        "precision": precision,
    }
    digest = hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode())
    for name, tensor in sorted(branch.encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _pools_without_loss(model: RetrievalModel, modality: str) -> bool:
    """Whether one pooled vector per clip says all that training will ask for: no codebook, a fixed way of pooling."""
    return model.codebook is None and isinstance(model.branches[modality].pool, MeanPool | MaxPool)


def _hashed(samples: Sequence[Sample], modalities: Sequence[str], folder: Path, accelerator) -> ContentHashes:
    """Return the hashes of all files that are needed, computed by all processes together."""
    contents = ContentHashes(folder)
    files = [source_of(sample, name) for sample in samples for name in modalities if name != "text"]
    unknown = sorted({source[0] for source in files if source is not None and contents.find(source[0]) is None})
    accelerator.wait_for_everyone()
    share = unknown[accelerator.process_index :: accelerator.num_processes]
    contents.add(share, "hash" if accelerator.is_main_process else None)
    accelerator.wait_for_everyone()
    return ContentHashes(folder)


def _wanted(
    train: Sequence[Sample],
    validation: Sequence[Sample],
    modality: str,
    contents: ContentHashes,
    settings: CacheSettings,
) -> dict[Where, _Job]:
    """Return the rows that training and validation will ask for; files that cannot be read have none."""
    views = range(settings.views) if settings.views and modality != "text" else [None]
    wanted = {}
    for samples, seen in ((train, views), (validation, [None])):
        for sample in samples:
            source = source_of(sample, modality)
            if source is None:
                continue
            content = _digest(source[0]) if modality == "text" else contents.find(source[0])
            if content is not None:
                for view in seen:
                    wanted[source, view] = _Job(row_key(content, source, view, settings.seed), sample, view)
    return wanted


def _digest(caption: str) -> str:
    return hashlib.sha256(caption.encode()).hexdigest()


@torch.inference_mode()
def _fill(
    table: FeatureTable,
    model: RetrievalModel,
    modality: str,
    jobs: Sequence[_Job],
    settings: CacheSettings,
    accelerator,
) -> None:
    """Encode the clips of ``jobs`` and write their rows; those that cannot be read are left out."""
    if not jobs:
        return
    from tqdm import tqdm

    branch, device = model.branches[modality], accelerator.device
    pooled, was_training = _pools_without_loss(model, modality), branch.training
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16")
    hidden = None if accelerator.is_main_process else True  # None: shown on a terminal only
    branch.eval()
    try:
        with (
            FeatureWriter(table) as writer,
            tqdm(total=len(jobs), desc=f"encode {modality}", unit="clip", disable=hidden) as bar,
        ):
            for keys, count, batch in _batches(jobs, model, modality, settings):
                bar.update(count)
                if batch is None:
                    continue
                with autocast:
                    features = branch.features(to_device(batch, device).inputs[modality])
                    if pooled:
                        features = one_position(branch.pool(features))
                for key, row in zip(keys, _rows(features), strict=True):
                    writer.add(key, row)
    finally:
        branch.train(was_training)


def _rows(features: Features) -> Iterator[Row]:
    """Take a batch apart; sequences (one-dimensional grids) end where their last real position is."""
    values, masks = features.values.float().cpu(), features.mask.cpu()
    for number, mask in enumerate(masks):
        length, grid = len(mask), features.grid
        if len(grid) == 1:
            length = int(mask.nonzero().max()) + 1 if bool(mask.any()) else 1
            grid = (length,)
        yield Row(values[number, :length], mask[:length], grid)


def _batches(
    jobs: Sequence[_Job], model: RetrievalModel, modality: str, settings: CacheSettings
) -> Iterator[tuple[list[str], int, Batch | None]]:
    """Yield the keys of the clips that could be read, how many were tried, and the batch of those."""
    return iter(
        DataLoader(
            _Reader(jobs, model.processor, modality, settings),
            batch_size=settings.batch_size,
            num_workers=settings.workers,
            multiprocessing_context=worker_processes() if settings.workers else None,
            collate_fn=_Collate(model.processor, modality),
        )
    )


class _Reader(torch.utils.data.Dataset):
    """The clips of jobs, read as evaluation does or as their random view says; None where that fails."""

    def __init__(self, jobs: Sequence[_Job], processor, modality: str, settings: CacheSettings):
        self.jobs, self.processor, self.modality, self.settings = list(jobs), processor, modality, settings

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: int) -> tuple[str, torch.Tensor] | None:
        job = self.jobs[index]
        rng = None
        if job.view is not None:  # the key names content, span, view and seed: the view depends on nothing else
            rng = np.random.default_rng(int(job.key[:16], 16))
        try:
            read = self.processor.sample(job.sample, [self.modality], rng, self.settings.backend)
        except MMRetrievalError:
            return None
        return job.key, read[self.modality]


class _Collate:
    def __init__(self, processor, modality: str):
        self.processor, self.modality = processor, modality

    def __call__(self, items: list) -> tuple[list[str], int, Batch | None]:
        good = [item for item in items if item is not None]
        keys = [key for key, _ in good]
        parts = [{self.modality: part} for _, part in good]
        return keys, len(items), self.processor.collate(keys, parts) if good else None
