"""The recognition task: cross-entropy on a ``Recognizer``, and its evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmretrieval.data.manifest import Sample
from mmretrieval.distributed import gather_rows
from mmretrieval.errors import ManifestError
from mmretrieval.evaluation.recognition import recognition_report
from mmretrieval.media.views import Views
from mmretrieval.recognizer import ONE_VIEW, Recognizer
from mmretrieval.training.loop import to_device
from mmretrieval.types import Batch


class RecognitionTask:
    """Trains a recognition model on labelled clips.

    A clip with several labels is to be all of them alike: the target is spread evenly over them.

    Args:
        model: The bare model.
        module: The same model as wrapped for this run (data-parallel or not).
        samples: The training samples.
        validation: ``() → iterable`` of loaded validation batches.
        validation_samples: The samples behind them.
        opposites: Pairs of classes whose telling apart is reported.
    """

    def __init__(
        self,
        model: Recognizer,
        module: nn.Module,
        samples: Sequence[Sample],
        validation: Callable[[], Iterable],
        validation_samples: Sequence[Sample],
        opposites: Sequence[tuple[str, str]] = (),
    ):
        self.model, self.module = model, module
        self.validation, self.validation_samples = validation, validation_samples
        self.opposites = opposites
        self.samples = {sample.id: sample for sample in samples}

    def before_step(self, step: int, total: int) -> None:
        """Nothing depends on the step."""

    def after_step(self) -> None:
        """Nothing follows a step."""

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the cross-entropy of the global batch, and the share of its clips that are recognised."""
        logits = gather_rows(self.module(batch).float())
        targets = gather_rows(
            torch.stack([target(self.samples[name], self.model.labels) for name in batch.ids]).to(logits.device)
        )
        right = targets.gather(1, logits.argmax(1, keepdim=True)) > 0
        return F.cross_entropy(logits, targets), {"accuracy": right.float().mean()}

    def evaluate(self) -> dict:
        """Recognise the validation set; return ``score`` (top-1), ``summary`` and ``recognition``."""
        return evaluate_recognizer(self.model, self.validation(), self.validation_samples, self.opposites)


def target(sample: Sample, labels: Sequence[str]) -> Tensor:
    """Return the probabilities (classes,) that a clip should have."""
    given = torch.tensor([label in sample.labels for label in labels], dtype=torch.float32)
    return given / given.sum().clamp_min(1)


@torch.inference_mode()
def evaluate_recognizer(
    model: Recognizer,
    loaded: Iterable,
    samples: Sequence[Sample],
    opposites: Sequence[tuple[str, str]] = (),
    views: Views = ONE_VIEW,
) -> dict:
    """Recognise loaded batches of clips and report how well.

    Args:
        model: The model.
        loaded: Batches of a loader.
        samples: The samples behind them.
        opposites: Pairs of classes whose telling apart is reported.
        views: Those of each clip that the batches hold.

    Returns:
        ``score`` (top-1), ``summary`` (a few scalars), ``recognition`` and ``failures``. ``recognition`` is that of
        ``recognition_report``, with how many clips were ``expected`` and ``failed``, and ``views``: their ``clips``
        and ``crops``, and the ``sampling`` in words, by an example.

    Raises:
        ManifestError: Not one clip can be read.
    """
    was_training = model.training
    model.eval()
    by_id = {sample.id: sample for sample in samples}
    logits, truth, failures = [], [], []
    for part in loaded:
        failures += part.failures
        if part.batch is not None:
            logits.append(model(to_device(part.batch, model.device)).cpu().numpy())
            truth += [by_id[name].labels for name in part.batch.ids]
    model.train(was_training)
    if not logits:
        raise ManifestError(f"none of {len(samples)} clips can be read, the first: {failures[0].reason}")
    report = recognition_report(np.concatenate(logits), truth, model.labels, opposites)
    report |= {"expected": len(samples), "failed": len(failures)}
    report["views"] = {"clips": views.clips, "crops": views.crops, "sampling": model.processor.describe(views)}
    summary = {name: report[name] for name in ("top1", "top5", "map", "opposites") if report[name] is not None}
    return {"score": report["top1"], "summary": summary, "recognition": report, "failures": failures}
