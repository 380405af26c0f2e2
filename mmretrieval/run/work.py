"""What a kind of run has to say for itself, and what all kinds read their clips by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import nn

from mmretrieval.data.cache import ClipCache
from mmretrieval.data.dataset import ClipDataset, create_loader
from mmretrieval.data.features import FeatureStore
from mmretrieval.data.manifest import Sample, read_manifest
from mmretrieval.errors import ManifestError
from mmretrieval.layers.synced import synchronise_norms
from mmretrieval.saved import SavedModel
from mmretrieval.sections import AnyRecipe
from mmretrieval.types import Task

EVALUATION_BATCH = 64


class Sources(NamedTuple):
    """Where clips come from when they are not read from their files: decoded ones, and features of frozen encoders."""

    cache: ClipCache | None = None
    features: FeatureStore | None = None


FILES = Sources()
"""Nothing but the files."""


class Work(ABC):
    """What is particular to the runs of one task.

    Args:
        recipe: The checked recipe, of this task.
        accelerator: Device, precision and processes.
    """

    def __init__(self, recipe: AnyRecipe, accelerator):
        self.recipe, self.accelerator = recipe, accelerator

    def usable(self, manifest: str) -> list[Sample]:
        """Return the clips of a manifest that this task can use.

        Raises:
            ManifestError: No such manifest, or none is usable.
        """
        samples = read_manifest(manifest, on_bad=self.recipe.data.on_bad).samples
        return with_modalities(samples, self.recipe.data.modalities, manifest)

    def sources(self, model: SavedModel, samples: list[Sample], validation: list[Sample]) -> Sources:
        """Decode every clip once, if the recipe says where to keep them."""
        return Sources(self.cache(model, [*samples, *validation], self.recipe.data.modalities))

    def cache(self, model: SavedModel, samples: list[Sample], modalities: Sequence[str]) -> ClipCache | None:
        """Return the decoded clips; other processes find the first one's work."""
        data = self.recipe.data
        if data.cache is None:
            return None
        with self.accelerator.main_process_first():
            return ClipCache.build(data.cache, samples, model.processor, modalities, backend=data.decoder)

    def prepare_norms(self, model: SavedModel) -> None:
        """Let batch normalisations see the batch of all processes."""
        if self.accelerator.num_processes > 1 and self.recipe.training.sync_norm:
            synchronise_norms(model, leave=self.own_norms(model))

    def own_norms(self, model: SavedModel) -> list[nn.Module]:
        """Return the parts whose batch normalisations keep to what a process sees at a time."""
        return []

    @abstractmethod
    def new_model(self, samples: list[Sample]) -> SavedModel:
        """Build the model of the recipe with the weights it starts from."""

    @abstractmethod
    def compiled(self, model: SavedModel) -> list[nn.Module]:
        """Return the parts that ``training.compile`` compiles."""

    @abstractmethod
    def task(
        self,
        model: SavedModel,
        module: nn.Module,
        samples: list[Sample],
        batches: Callable[[], Iterator],
        validation: list[Sample],
    ) -> Task:
        """Return what the loop trains; ``batches`` loads the clips of ``validation``."""

    @abstractmethod
    def load(self, folder: Path) -> SavedModel:
        """Load the saved model of a run."""

    @abstractmethod
    def evaluate(self, model: SavedModel, batches: Iterator, samples: list[Sample]) -> dict:
        """Return what the report of a run says about its model."""


def with_modalities(samples: list[Sample], modalities: Sequence[str], manifest: str | Path) -> list[Sample]:
    """Return the samples that have every one of ``modalities``.

    Raises:
        ManifestError: There is none.
    """
    usable = [sample for sample in samples if all(getattr(sample, name) is not None for name in modalities)]
    if not usable:
        raise ManifestError(
            f"{manifest}: none of its {len(samples)} clips has all of {', '.join(modalities)}: "
            "add what is missing, or name fewer modalities"
        )
    return usable


def clip_dataset(
    recipe: AnyRecipe, model: SavedModel, samples: list[Sample], sources: Sources = FILES, train: bool = False
) -> ClipDataset:
    """Return the clips as the model sees them, in training or in evaluation."""
    data = recipe.data
    return ClipDataset(
        samples,
        model.processor.augmented(recipe.augmentation) if train else model.processor,
        data.modalities,
        train,
        recipe.seed,
        sources.cache,
        data.decoder,
        data.on_bad,
        sources.features,
    )


def loaded(recipe: AnyRecipe, model: SavedModel, samples: list[Sample], sources: Sources = FILES) -> Iterator:
    """Load clips as evaluation sees them, batch by batch."""
    batches = consecutive(len(samples), EVALUATION_BATCH)
    return iter(create_loader(clip_dataset(recipe, model, samples, sources), batches, recipe.data.workers))


def consecutive(count: int, size: int) -> list[list[int]]:
    """Return the numbers below ``count`` in consecutive groups of ``size``."""
    return [list(range(first, min(first + size, count))) for first in range(0, count, size)]
