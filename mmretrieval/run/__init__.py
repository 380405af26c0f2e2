"""Training runs: from a recipe to a folder with a model and a report."""

from mmretrieval.run.run import check_same_recipe, mixed_precision, train
from mmretrieval.run.work import consecutive, with_modalities

__all__ = ["check_same_recipe", "consecutive", "mixed_precision", "train", "with_modalities"]
