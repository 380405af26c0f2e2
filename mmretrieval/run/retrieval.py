"""Runs that train a retrieval model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from torch import nn

from mmretrieval.data.manifest import Sample
from mmretrieval.encoders.sections import PRETRAINED
from mmretrieval.media.tokens import Tokenizer
from mmretrieval.model import RetrievalModel
from mmretrieval.objectives import build_objective
from mmretrieval.run.work import Sources, Work
from mmretrieval.sections import Recipe
from mmretrieval.training.feature_cache import CacheSettings, build_features
from mmretrieval.training.retrieval import RetrievalTask, evaluate_model
from mmretrieval.training.start import load_parts, start_from


class RetrievalWork(Work):
    """A ``RetrievalModel`` on clips with captions."""

    recipe: Recipe

    def new_model(self, samples: list[Sample]) -> RetrievalModel:
        recipe = self.recipe
        earlier = None if recipe.init_from is None else RetrievalModel.from_pretrained(recipe.init_from)
        # token numbers mean something only together with the weights that were trained on them
        tokenizer = None if earlier is None else earlier.processor.tokenizer
        model = RetrievalModel.from_config(recipe.model.model_dump(), tokenizer or self._vocabulary(samples))
        if earlier is not None:
            start_from(model, earlier, recipe.init_from)
        load_parts(model, recipe.weights)
        return model

    def _vocabulary(self, samples: list[Sample]) -> Tokenizer | None:
        text = self.recipe.model.text
        if text is None or text.encoder.name == PRETRAINED:
            return None  # a pretrained encoder brings its own
        return Tokenizer.train([s.text for s in samples if s.text], text.vocab_size)

    def own_norms(self, model: RetrievalModel) -> list[nn.Module]:
        """In chunks, the norms of encoders keep to what they see."""
        chunked = self.recipe.training.chunk_size is not None
        return [branch.encoder for branch in model.branches.values()] if chunked else []

    def compiled(self, model: RetrievalModel) -> list[nn.Module]:
        """The rest of a step (heads, codebook, losses) is small or has shapes that change."""
        return [branch.encoder for branch in model.branches.values()]

    def sources(self, model: RetrievalModel, samples: list[Sample], validation: list[Sample]) -> Sources:
        """Encode every clip once by the encoders that are frozen, and decode the rest once, if the recipe says so."""
        data = self.recipe.data
        features = None
        if data.features is not None:
            precision = "bf16" if self.accelerator.mixed_precision == "bf16" else "fp32"
            settings = CacheSettings(
                data.feature_type,
                data.feature_views,
                self.recipe.seed,
                precision,
                data.decoder,
                workers=data.workers,
            )
            features = build_features(
                data.features, model, samples, validation, data.modalities, settings, self.accelerator
            )
        decoded = [name for name in data.modalities if features is None or name not in features.modalities]
        return Sources(self.cache(model, [*samples, *validation], decoded), features)

    def task(
        self,
        model: RetrievalModel,
        module: nn.Module,
        samples: list[Sample],
        batches: Callable[[], Iterator],
        validation: list[Sample],
    ) -> RetrievalTask:
        training = self.recipe.training
        objective = build_objective(self.recipe.objective)
        return RetrievalTask(
            model, module, objective, samples, batches, validation, training.codebook_start, training.chunk_size
        )

    def load(self, folder: Path) -> RetrievalModel:
        return RetrievalModel.from_pretrained(folder)

    def evaluate(self, model: RetrievalModel, batches: Iterator, samples: list[Sample]) -> dict:
        result = evaluate_model(model, batches, samples)
        return {"retrieval": result["retrieval"], "codes": result["codes"]}
