"""The retrieval task: the losses of the papers on a ``RetrievalModel``, and its evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mmretrieval.data.manifest import Sample
from mmretrieval.distributed import draw_rows, gather, gather_rows, same_length
from mmretrieval.evaluation.codes import code_report
from mmretrieval.evaluation.retrieval import retrieval_report
from mmretrieval.model import RetrievalModel
from mmretrieval.objectives.weighted import Weighted
from mmretrieval.training.loop import to_device
from mmretrieval.types import Batch, Encoding, Padded

START_VECTORS_PER_CODE = 8


class RetrievalTask:
    """Trains a retrieval model on batches of paired modalities.

    Args:
        model: The bare model.
        module: The same model as wrapped for this run (data-parallel or not).
        objective: Named, weighted losses.
        samples: The training samples; two captions of one video are no negatives of each other.
        validation: ``() → iterable`` of loaded validation batches.
        validation_samples: The samples behind them.
        codebook_start: Share of the run before the codebook is started by k-means.
        chunk_size: Clips that the encoders see at a time; None is the whole batch of this process.
    """

    def __init__(
        self,
        model: RetrievalModel,
        module: nn.Module,
        objective: Weighted,
        samples: Sequence[Sample],
        validation,
        validation_samples: Sequence[Sample],
        codebook_start: float,
        chunk_size: int | None = None,
    ):
        self.model, self.module, self.objective = model, module, objective
        self.validation, self.validation_samples = validation, validation_samples
        self.codebook_start = codebook_start
        self.chunk_size = chunk_size
        self.start_due = False
        groups = {name: number for number, name in enumerate(dict.fromkeys(group_of(s) for s in samples))}
        self.group = {sample.id: groups[group_of(sample)] for sample in samples}

    def before_step(self, step: int, total: int) -> None:
        """Prepare step ``step`` of ``total``: scheduled margins, and whether the codebook is due to be started."""
        codebook = self.model.codebook
        self.start_due = codebook is not None and not codebook.ready and step >= self.codebook_start * total
        self.objective.set_step(step)

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the total loss of the global batch and its named parts."""
        lengths = {n: same_length(i) if isinstance(i, Padded) else i for n, i in batch.inputs.items()}
        batch = batch._replace(inputs=lengths)
        if self.start_due:
            self._start_codebook(batch)
        encodings = gather(self.module(batch, self.chunk_size))
        return self.objective(encodings, same=self._same(batch))

    def after_step(self) -> None:
        """Move the codebook by what this step has seen."""
        if self.model.discrete:
            self.model.codebook.update()

    def _same(self, batch: Batch) -> Tensor:
        """Return (B, B): which pairs of the global batch show one video and so are no negatives."""
        groups = gather_rows(torch.tensor([self.group[name] for name in batch.ids], device=self.model.device))
        return groups[:, None] == groups[None, :]

    @torch.no_grad()
    def _start_codebook(self, batch: Batch) -> None:
        """Start the codebook by k-means over features of the global batch, as many of every modality.

        Raises:
            ModelError: The batch has fewer features than the codebook has codes.
        """
        codebook = self.model.codebook
        share = -(-START_VECTORS_PER_CODE * codebook.size // len(batch.inputs))
        parts = []
        for name, inputs in batch.inputs.items():
            vectors = self.model.code_features(name, inputs, self.chunk_size)
            parts.append(draw_rows([vectors], share, seed=0, like=vectors))
        codebook.initialise(torch.cat(parts))

    def evaluate(self) -> dict:
        """Embed the validation set; return ``score`` (mean R@10 and R@1), ``summary``, ``retrieval`` and ``codes``."""
        return evaluate_model(self.model, self.validation(), self.validation_samples)


def group_of(sample: Sample) -> str:
    """Return what a sample shares with other captions of the same video."""
    return sample.video_id or sample.id


class Embedded(NamedTuple):
    """The samples of a set that could be read, embedded.

    ``embeddings``: (N, D) by modality. ``codes``: code ids by modality, arrays of any length, empty without a codebook.
    ``video_ids``: what the captions of one video share. ``failures``: the samples that could not be read.
    """

    ids: list[str]
    video_ids: list[str]
    embeddings: dict[str, np.ndarray]
    codes: dict[str, list[np.ndarray]]
    failures: list


@torch.inference_mode()
def embed_samples(model: RetrievalModel, loaded: Iterable, samples: Sequence[Sample]) -> Embedded:
    """Embed loaded batches of all modalities."""
    was_training = model.training
    model.eval()
    groups = {sample.id: group_of(sample) for sample in samples}
    ids, failures = [], []
    embeddings: dict[str, list[np.ndarray]] = {}
    codes: dict[str, list[np.ndarray]] = {}
    for part in loaded:
        failures += part.failures
        if part.batch is None:
            continue
        ids += part.batch.ids
        for name, encoding in model(to_device(part.batch, model.device)).items():
            _collect(name, encoding, embeddings, codes)
    model.train(was_training)
    stacked = {name: np.concatenate(rows) for name, rows in embeddings.items()}
    return Embedded(ids, [groups[name] for name in ids], stacked, codes, failures)


def evaluate_model(
    model: RetrievalModel,
    loaded: Iterable,
    samples: Sequence[Sample],
    measure: Callable[[Embedded], dict] | None = None,
) -> dict:
    """Embed loaded batches of all modalities and report retrieval and codes.

    Args:
        model: The model.
        loaded: Batches of a loader.
        samples: The samples behind them.
        measure: Makes the retrieval report; None is ``retrieval_report`` with its defaults.

    Returns:
        ``score``, ``summary`` (a few scalars), ``retrieval`` (all directions), ``codes`` (or None) and ``failures``.
    """
    embedded = embed_samples(model, loaded, samples)
    retrieval = measure(embedded) if measure else retrieval_report(embedded.embeddings, embedded.video_ids)
    report = code_report(embedded.codes, model.codebook.size) if embedded.codes else None
    return {"retrieval": retrieval, "codes": report, "failures": embedded.failures, **_summary(retrieval, report)}


def _collect(name: str, encoding: Encoding, embeddings: dict, codes: dict) -> None:
    embeddings.setdefault(name, []).append(encoding.embedding.float().cpu().numpy())
    if encoding.quantized is not None:
        codes.setdefault(name, []).append(encoding.quantized.codes.cpu().numpy().reshape(-1))


def _summary(retrieval: dict, codes: dict | None) -> dict:
    mean = retrieval["mean"]
    summary = {"recall@1": mean["recall@1"], "recall@10": mean["recall@10"], "map": mean["map"]}
    if codes is not None:
        summary |= {"perplexity": codes["perplexity"]["joint"], "shared": codes["shared"]}
    return {"score": mean["map"], "summary": summary}
