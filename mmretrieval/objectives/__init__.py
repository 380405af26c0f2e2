"""Objectives: encodings in, named scalars out. They know no model, no data and no device rank."""

from mmretrieval.objectives.base import PAIRS, PairObjective, objectives, pairs_of
from mmretrieval.objectives.code_matching import CodeMatching, Commitment
from mmretrieval.objectives.contrastive import AMM, MMS, NCE, SHN, Contrastive
from mmretrieval.objectives.weighted import Weighted, build_objective

__all__ = [
    "AMM",
    "MMS",
    "NCE",
    "PAIRS",
    "SHN",
    "CodeMatching",
    "Commitment",
    "Contrastive",
    "PairObjective",
    "Weighted",
    "build_objective",
    "objectives",
    "pairs_of",
]
