"""The smallest models and batches that have every part of the real ones."""

from copy import deepcopy

import torch

from mmretrieval.media.tokens import Tokenizer
from mmretrieval.model import RetrievalModel
from mmretrieval.types import Batch, Padded

CAPTIONS = [
    "a red dog runs across the meadow",
    "a blue bird rises over the sea",
    "the green car moves left in the city",
    "a yellow ball falls in the snow",
    "the white boat leaves a tree at night",
    "an orange cat grows in the desert",
]

CONFIG = {
    "dim": 32,
    "similarity": "cosine",
    "scale": 10.0,
    "head": "glu",
    "dropout": 0.1,
    "video": {"backbone": {"name": "tsm_resnet_test"}, "frames": 4, "size": 16, "fps": None, "pool": "mean"},
    "speech": {
        "encoder": {"name": "resdavenet_small", "widths": [8, 8, 16]},
        "mels": 40,
        "max_seconds": 20.0,
        "pool": "max",
    },
    "text": {
        "encoder": {"name": "text_transformer", "dim": 16, "depth": 1, "heads": 2},
        "vocab_size": 128,
        "max_tokens": 24,
        "pool": "attention",
    },
    "codebook": {"size": 16, "dim": 16, "decay": 0.9, "distance": "l2", "tau": 1.0, "revive_after": 20},
}


def config(**changes) -> dict:
    return {**deepcopy(CONFIG), **changes}


def model(seed: int = 0, started: bool = True, **changes) -> RetrievalModel:
    torch.manual_seed(seed)
    built = RetrievalModel.from_config(config(**changes), Tokenizer.train(CAPTIONS, 128))
    if started and built.codebook is not None:
        built.codebook.start_from(torch.randn(built.codebook.size, built.codebook.dim))
        for branch in built.branches.values():
            torch.nn.init.normal_(branch.from_codes.weight, std=0.1)
    return built


def batch(size: int = 6, seed: int = 0, tokens: int = 60) -> Batch:
    """Random inputs of all three modalities; speech and text have different lengths."""
    random = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (size, 4, 3, 16, 16), generator=random, dtype=torch.uint8)
    log_mel = -80 * torch.rand(size, 48, 40, generator=random)
    ids = torch.randint(5, tokens, (size, 12), generator=random)
    speech_mask = torch.arange(48) < torch.randint(16, 49, (size, 1), generator=random)
    text_mask = torch.arange(12) < torch.randint(3, 13, (size, 1), generator=random)
    inputs = {
        "video": Padded(frames, torch.ones(size, 4, dtype=torch.bool)),
        "speech": Padded(log_mel.masked_fill(~speech_mask[..., None], -80.0), speech_mask),
        "text": Padded(ids * text_mask, text_mask),
    }
    return Batch([f"clip-{number}" for number in range(size)], inputs)
