"""Samples as a torch data set that survives bad files, and its loader."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from mmretrieval.data.cache import ClipCache
from mmretrieval.data.features import FeatureStore, Row, stack_rows
from mmretrieval.data.manifest import Sample
from mmretrieval.data.processor import Processor
from mmretrieval.errors import MediaError, MMRetrievalError
from mmretrieval.media.views import Views
from mmretrieval.processes import worker_processes
from mmretrieval.types import Batch


class Item(NamedTuple):
    """One sample that could be read: its id, and a tensor or a row of stored features per modality."""

    id: str
    inputs: dict[str, Tensor | Row]


class Failure(NamedTuple):
    """One sample that could not be read, and why."""

    id: str
    reason: str


class LoadedBatch(NamedTuple):
    """What a loader yields: the readable samples (None if there is not one), and the others with their reasons."""

    batch: Batch | None
    failures: list[Failure]


class ClipDataset(torch.utils.data.Dataset):
    """The samples of a manifest, read when they are asked for.

    In training, which frames, which crop and which part of a recording are seen is a pure function of seed, epoch and
    index: a run that is resumed in the middle of an epoch sees exactly what it would have seen.

    Args:
        samples: The samples.
        processor: The preprocessing of the model.
        modalities: Which modalities to read; every sample needs them all.
        train: Draw frames and crops; False reads as evaluation does.
        seed: Seed of the run.
        cache: Decoded clips and recordings; samples that it does not hold are read from their files.
        backend: The video reader for files.
        on_bad: ``"skip"`` turns a bad file into a ``Failure``, ``"raise"`` lets its error out.
        features: Features of frozen encoders; their modalities come from there and from nowhere else.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        processor: Processor,
        modalities: Sequence[str],
        train: bool = False,
        seed: int = 0,
        cache: ClipCache | None = None,
        backend: str = "decord",
        on_bad: str = "skip",
        features: FeatureStore | None = None,
    ):
        if on_bad not in ("raise", "skip"):
            raise ValueError(f"on_bad is '{on_bad}'; 'raise' and 'skip' are allowed")
        self.samples = list(samples)
        self.processor = processor
        self.modalities = tuple(modalities)
        self.train = train
        self.seed = seed
        self.cache = cache
        self.backend = backend
        self.on_bad = on_bad
        self.features = features
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Draw anew for an epoch. Call it before making that epoch's loader: its workers hold copies of this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Item | Failure:
        sample = self.samples[index]
        rng = np.random.default_rng([self.seed, self.epoch, index]) if self.train else None
        try:
            return Item(sample.id, self._read(sample, rng))
        except MMRetrievalError as error:
            if self.on_bad == "raise":
                raise
            return Failure(sample.id, str(error))

    def collate(self, items: Sequence[Item | Failure]) -> LoadedBatch:
        """Pad the samples that could be read to one batch and keep the reasons of the others."""
        good = [item for item in items if isinstance(item, Item)]
        failures = [item for item in items if isinstance(item, Failure)]
        if not good:
            return LoadedBatch(None, failures)
        stored = self._stored()
        read = [{name: part for name, part in item.inputs.items() if name not in stored} for item in good]
        batch = self.processor.collate([item.id for item in good], read)
        features = {name: stack_rows([item.inputs[name] for item in good]) for name in stored}
        return LoadedBatch(batch._replace(inputs={n: (batch.inputs | features)[n] for n in self.modalities}), failures)

    def _stored(self) -> list[str]:
        """Return the modalities that come as features."""
        return [] if self.features is None else [name for name in self.modalities if name in self.features.modalities]

    def _read(self, sample: Sample, rng: np.random.Generator | None) -> dict[str, Tensor | Row]:
        held: dict[str, Tensor | Row] = {name: self._row(sample, name, rng) for name in self._stored()}
        if self.cache is not None:
            rest = [name for name in self.modalities if name not in held]
            held |= self.cache.read(sample, self.processor, rest, rng)
        rest = [name for name in self.modalities if name not in held]
        read = self.processor.sample(sample, rest, rng, self.backend) if rest else {}
        return {name: held[name] if name in held else read[name] for name in self.modalities}

    def _row(self, sample: Sample, modality: str, rng: np.random.Generator | None) -> Row:
        row = self.features.read(sample, modality, rng)
        if row is None:
            self.processor.sample(sample, [modality], None, self.backend)  # says what is wrong with the file
            raise MediaError(
                f"{getattr(sample, modality)}: no features were computed of it; start again and they will be"
            )
        return row


class ViewDataset(ClipDataset):
    """The videos of a manifest for evaluation, each in several views: batches have (B, V, T, C, H, W).

    Args:
        samples: The samples; each needs a video.
        processor: The preprocessing of the model.
        views: How often each is looked at.
        backend: The video reader.
        on_bad: As of ``ClipDataset``.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        processor: Processor,
        views: Views,
        backend: str = "decord",
        on_bad: str = "skip",
    ):
        super().__init__(samples, processor, ["video"], backend=backend, on_bad=on_bad)
        self.views = views

    def _read(self, sample: Sample, rng: np.random.Generator | None) -> dict[str, Tensor | Row]:
        return {"video": self.processor.views(sample.video, self.views, sample.start, sample.end, self.backend)}


def create_loader(dataset: ClipDataset, batches: Iterable[Sequence[int]], workers: int = 0) -> DataLoader:
    """Load ``batches`` (lists of indices) in their order by ``workers`` processes; 0 loads in this one.

    The loader yields ``LoadedBatch``.
    """
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        multiprocessing_context=worker_processes() if workers else None,
        collate_fn=dataset.collate,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # seeds of workers, which nothing here uses: the global one is left alone
        prefetch_factor=4 if workers else None,
    )
