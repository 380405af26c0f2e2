"""Runs that train a recognition model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

from torch import nn

from mmretrieval.backbones.weights import check_fit
from mmretrieval.data.manifest import Sample
from mmretrieval.errors import ManifestError, ModelError, RecipeError, did_you_mean
from mmretrieval.evaluation.cost import cost_report
from mmretrieval.recognizer import Recognizer, changed_by_a_mirror
from mmretrieval.run.work import Work
from mmretrieval.sections import RecognitionRecipe
from mmretrieval.training.recognition import RecognitionTask, evaluate_recognizer
from mmretrieval.training.start import load_parts


class RecognitionWork(Work):
    """A ``Recognizer`` on clips with labels; its classes are the labels of the training clips."""

    recipe: RecognitionRecipe

    def usable(self, manifest: str) -> list[Sample]:
        """Return the clips that have a label.

        Raises:
            ManifestError: No such manifest, or no clip of it has one.
        """
        samples = super().usable(manifest)
        labelled = [sample for sample in samples if sample.labels]
        if not labelled:
            raise ManifestError(f"{manifest}: none of its {len(samples)} clips has labels, which recognition learns")
        return labelled

    def new_model(self, samples: list[Sample]) -> Recognizer:
        """Build the model.

        Raises:
            ModelError: ``init_from`` knows other classes than the training clips have.
            RecipeError: Clips are mirrored whose classes a mirror turns into others, or opposites are no classes.
        """
        recipe = self.recipe
        labels = sorted({label for sample in samples for label in sample.labels})
        if unknown := [label for pair in recipe.data.opposites for label in pair if label not in labels]:
            raise RecipeError(
                f"data.opposites: no training clip shows '{unknown[0]}'.{did_you_mean(unknown[0], labels)}"
            )
        if recipe.data.flip is True and (sided := changed_by_a_mirror(labels)):
            raise RecipeError(
                f"data.flip mirrors clips, and '{sided[0]}' ({len(sided)} such of {len(labels)} classes) is not the "
                "same in a mirror: leave it out, or write flip: always to mirror all the same"
            )
        model = Recognizer.from_config(recipe.model.model_dump() | {"labels": labels})
        if recipe.init_from is not None:
            _start_from(model, Recognizer.from_pretrained(recipe.init_from), recipe.init_from, recipe.reset_head)
        load_parts(model, recipe.weights)
        return model

    def compiled(self, model: Recognizer) -> list[nn.Module]:
        return [model.encoder]

    def task(
        self,
        model: Recognizer,
        module: nn.Module,
        samples: list[Sample],
        batches: Callable[[], Iterator],
        validation: list[Sample],
    ) -> RecognitionTask:
        return RecognitionTask(model, module, samples, batches, validation, self.recipe.data.opposites)

    def load(self, folder: Path) -> Recognizer:
        return Recognizer.from_pretrained(folder)

    def evaluate(self, model: Recognizer, batches: Iterator, samples: list[Sample]) -> dict:
        """Return ``recognition``, see ``evaluate_recognizer``, and ``cost``, see ``cost_report``."""
        report = evaluate_recognizer(model, batches, samples, self.recipe.data.opposites)
        backbone = deepcopy(model.encoder.backbone).cpu()
        return {"recognition": report["recognition"], "cost": cost_report(backbone)}


def _start_from(model: Recognizer, earlier: Recognizer, folder: str, reset_head: bool) -> None:
    """Give a new model the weights of a saved one; its classifier only if the classes are the same ones.

    Another sampling is possible, and rarely meant, so it costs a line; more frames are the usual course.

    Raises:
        ModelError: Another backbone, or other classes without ``reset_head``.
    """
    if earlier.labels != model.labels and not reset_head:
        raise ModelError(
            f"init_from: {folder} knows {len(earlier.labels)} classes, the training clips have {len(model.labels)}, "
            f"and not the same ones: add reset_head=true to begin with a new classifier"
        )
    state, expected = earlier.state_dict(), model.state_dict()
    if reset_head:
        state |= {name: tensor for name, tensor in expected.items() if name.startswith("fc.")}
    check_fit(f"init_from: {folder} is not the model of this recipe", expected, state)
    model.load_state_dict(state)
    learned, now = (_sampling(one) for one in (earlier, model))
    if learned != now:
        print(f"init_from: {folder} learned from clips with {learned}, this recipe has {now}", file=sys.stderr)


def _sampling(model: Recognizer) -> str:
    spec = model.processor.clip_spec
    return ", ".join(f"{key}={getattr(spec, key)}" for key in ("sampling", "stride", "per_group", "fps"))
