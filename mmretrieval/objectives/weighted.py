"""The sum that is trained on: named objectives, each with a weight, and what each of them said."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import Field, fields
from typing import Any

from torch import Tensor

from mmretrieval.errors import RecipeError, did_you_mean
from mmretrieval.objectives.base import objectives
from mmretrieval.types import Encoding, Objective


class Weighted:
    """A weighted sum of objectives, over everything each of them returns.

    Calling it returns the total and a report of the unweighted, detached parts, named ``amm/video_text``,
    ``cmcm/speech_text``, ``commitment/video``. The total is the sum over pairs, not their mean.

    Args:
        parts: Name → (objective, weight).

    Raises:
        RecipeError: There is no part, or no part has anything to say about a batch.
    """

    def __init__(self, parts: Mapping[str, tuple[Objective, float]]):
        if not parts:
            raise RecipeError(f"training needs at least one objective of {', '.join(objectives.names())}; got none")
        self.parts = dict(parts)

    def set_step(self, step: int) -> None:
        """Tell scheduled objectives the training step, counted from 0."""
        for objective, _ in self.parts.values():
            if hasattr(objective, "set_step"):
                objective.set_step(step)

    def __call__(
        self, encodings: Mapping[str, Encoding], same: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        terms, report = [], {}
        for name, (objective, weight) in self.parts.items():
            for where, loss in objective(encodings, same).items():
                terms.append(weight * loss)
                report[f"{name}/{where}"] = loss.detach()
        if not terms:
            raise RecipeError(
                f"nothing to train on: {', '.join(self.parts)} found no codes in the batch; give the model a codebook "
                "or add an objective over embeddings, such as amm"
            )
        return sum(terms[1:], terms[0]), report


def build_objective(config: Mapping[str, Mapping[str, Any]]) -> Weighted:
    """Build a weighted sum from plain values.

    Args:
        config: Name of an objective → its settings and its ``weight`` (1 if not given), e.g.
            ``{"amm": {"alpha": 0.5}, "cmcm": {"weight": 0.1}}``.

    Raises:
        UnknownNameError: No objective, or no pair of modalities, has that name.
        RecipeError: A setting is unknown, of the wrong type or out of range.
    """
    return Weighted({name: _build_part(name, settings) for name, settings in config.items()})


def _build_part(name: str, settings: Mapping[str, Any]) -> tuple[Objective, float]:
    builder = objectives.get(name)
    if not isinstance(settings, Mapping):
        raise RecipeError(f"objective '{name}' needs a table of settings, e.g. weight: 0.1; got {settings!r}")
    known = {field.name: field for field in fields(builder)}
    for key in settings:
        if key not in known and key != "weight":
            allowed = ["weight", *known]
            raise RecipeError(
                f"objective '{name}' has no setting '{key}'.{did_you_mean(key, allowed)} It has: {', '.join(allowed)}."
            )
    weight = settings.get("weight", 1.0)
    if not _is_number(weight) or weight < 0:
        raise RecipeError(f"objective '{name}': weight must be a number of at least 0, got {weight!r}")
    values = {key: _checked(name, known[key], value) for key, value in settings.items() if key != "weight"}
    return builder(**values), float(weight)


def _checked(name: str, field: Field, value: Any) -> Any:
    """Return a setting as the kind its default is of."""
    if field.name == "pairs":
        if value is not None and not (isinstance(value, list | tuple) and all(isinstance(pair, str) for pair in value)):
            raise RecipeError(f"objective '{name}': pairs must be a list of names such as video_text, got {value!r}")
        return None if value is None else tuple(value)
    if isinstance(field.default, bool):
        fits, kind = isinstance(value, bool), "true or false"
    elif isinstance(field.default, int):
        fits, kind = isinstance(value, int) and not isinstance(value, bool) and value > 0, "a whole number above 0"
    else:
        fits, kind = _is_number(value), "a number"
    if not fits:
        raise RecipeError(f"objective '{name}': {field.name} must be {kind}, got {value!r}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
