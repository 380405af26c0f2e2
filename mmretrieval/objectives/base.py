"""What every objective shares: the registry, the names of pairs, and the walk over the pairs of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

from torch import Tensor

from mmretrieval.errors import RecipeError, UnknownNameError, did_you_mean
from mmretrieval.registry import Registry
from mmretrieval.types import MODALITIES, Encoding

objectives: Registry = Registry("objective")
"""Every objective by name, the parts of ``Weighted``."""

PAIRS = tuple(f"{first}_{second}" for first, second in combinations(MODALITIES, 2))
"""All pairs of modalities, named in the canonical order."""


def modalities_of(encodings: Iterable[str]) -> list[str]:
    """Return the modalities present, in the canonical order.

    Raises:
        UnknownNameError: A key is no modality.
    """
    present = list(encodings)
    for name in present:
        if name not in MODALITIES:
            raise UnknownNameError(
                f"unknown modality '{name}'.{did_you_mean(name, MODALITIES)} Known: {', '.join(MODALITIES)}."
            )
    return [name for name in MODALITIES if name in present]


def pairs_of(encodings: Iterable[str]) -> list[str]:
    """Return the names of all pairs of the modalities present, e.g. ``video_text``."""
    return [f"{first}_{second}" for first, second in combinations(modalities_of(encodings), 2)]


@dataclass(kw_only=True)
class PairObjective(ABC):
    """An objective over pairs of modalities: every pair present in the batch, or only those in ``pairs``.

    Calling it returns one unweighted scalar per pair, under the pair's name.

    Attributes:
        pairs: Names of the pairs to compare, e.g. ``("video_text", "speech_text")``; None is every pair present.

    Raises:
        UnknownNameError: ``pairs`` holds a name that is no pair, or a batch a key that is no modality.
        RecipeError: ``pairs`` is empty; the batch lacks a modality of ``pairs``, or has fewer than two modalities.
    """

    pairs: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.pairs is not None and not self.pairs:
            raise RecipeError("pairs is empty: name at least one, or leave it out to compare every pair of the batch")
        for pair in self.pairs or ():
            if pair not in PAIRS:
                turned = "_".join(reversed(pair.split("_")))
                hint = f" Did you mean '{turned}'?" if turned in PAIRS else did_you_mean(pair, PAIRS)
                raise UnknownNameError(f"unknown pair of modalities '{pair}'.{hint} Known: {', '.join(PAIRS)}.")

    @abstractmethod
    def pair_loss(self, first: Encoding, second: Encoding, same: Tensor | None) -> Tensor | None:
        """Return the loss of one pair of encoded modalities, or None where it does not apply."""

    def __call__(self, encodings: Mapping[str, Encoding], same: Tensor | None = None) -> dict[str, Tensor]:
        present = pairs_of(encodings)
        losses = {}
        for pair in self._wanted(present, encodings):
            first, second = pair.split("_")
            loss = self.pair_loss(encodings[first], encodings[second], same)
            if loss is not None:
                losses[pair] = loss
        return losses

    def _wanted(self, present: list[str], encodings: Mapping[str, Encoding]) -> list[str]:
        has = ", ".join(modalities_of(encodings)) or "none"
        if self.pairs is None:
            if not present:
                raise RecipeError(f"an objective compares at least two of {', '.join(MODALITIES)}; the batch has {has}")
            return present
        missing = [pair for pair in self.pairs if pair not in present]
        if missing:
            raise RecipeError(f"the objective is told to compare {', '.join(missing)}, but the batch has {has}")
        return [pair for pair in present if pair in self.pairs]
