"""A model whose answers are known: a place is its mean colour, a word is the colour it names, a code is a colour."""

from pathlib import Path

import numpy as np
import torch
from makers import write_video
from torch import nn

from mmretrieval.codebook import EMACodebook
from mmretrieval.data.processor import Processor
from mmretrieval.media.tokens import Tokenizer
from mmretrieval.model import RetrievalModel
from mmretrieval.types import ClipSpec, Features, SpeechSpec, TextSpec

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "black": (0, 0, 0), "white": (255, 255, 255)}
SIZE, CELL, FRAMES = 32, 8, 3


class Patches(nn.Module):
    """Frames to the mean colour of each 8 × 8 patch, from 0 to 3."""

    modality, feature_dim = "video", 3

    def forward(self, frames):
        cells = nn.functional.avg_pool2d(frames.values.flatten(0, 1).float() / 85, CELL)
        batch, length = frames.mask.shape
        height, width = cells.shape[-2:]
        values = cells.permute(0, 2, 3, 1).reshape(batch, -1, 3)
        mask = frames.mask.repeat_interleave(height * width, dim=1)
        return Features(values, mask, (length, height, width))


class Words(nn.Module):
    """Tokens to the colour that their word names."""

    modality, feature_dim = "text", 3

    def __init__(self, tokenizer):
        super().__init__()
        table = torch.full((tokenizer.size, 3), 1.5)
        for word, colour in COLOURS.items():
            (token,) = tokenizer.encode(word)
            table[token] = torch.tensor(colour) / 85
        self.register_buffer("table", table)

    def forward(self, tokens):
        return Features(self.table[tokens.values], tokens.mask, (tokens.values.shape[1],))


class Tones(nn.Module):
    """A tone of 10 spectrogram frames to a colour: the lowest third of the mel bands is red, the highest blue."""

    modality, feature_dim, stride = "speech", 3, 10

    def forward(self, log_mel):
        values, mask = log_mel
        thirds = torch.stack([part.mean(-1) for part in values.tensor_split(3, dim=-1)], dim=-1)
        thirds = thirds[:, : len(thirds[0]) // 10 * 10].unflatten(1, (-1, 10)).mean(2)
        values = 3 * nn.functional.one_hot(thirds.argmax(-1), 3).float()
        return Features(values, mask[:, ::10][:, : values.shape[1]], (values.shape[1],))


def colour_model(coded: bool = True, repeat: int = 1) -> RetrievalModel:
    tokenizer = Tokenizer.train([f"{word} thing beside a" for word in COLOURS] * 50, 200)
    codebook = None
    if coded:
        codebook = EMACodebook(repeat * len(COLOURS), 3)
        codebook.start_from(
            torch.tensor(list(COLOURS.values()) * repeat) / 85 + torch.arange(repeat).repeat_interleave(5)[:, None] * 50
        )
    processor = Processor(ClipSpec(FRAMES, SIZE), SpeechSpec(), TextSpec(), tokenizer)
    encoders = {"video": Patches(), "speech": Tones(), "text": Words(tokenizer)}
    model = RetrievalModel(encoders, processor, codebook, dim=3).eval()
    for branch in model.branches.values():
        branch.head = nn.Identity()
        if coded:
            branch.to_codes.weight.data = torch.eye(3)
    return model


def film(path: Path, places: list[dict[str, tuple[int, int]]], height: int = SIZE, width: int = SIZE) -> Path:
    """Write one frame for each of ``places``: colour → (row, column) of the cell of the middle square it fills."""
    frames = []
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    cell = side * CELL // SIZE
    for colours in places:
        frame = np.zeros((height, width, 3), np.uint8)
        for name, (row, column) in colours.items():
            y, x = top + row * cell, left + column * cell
            frame[y : y + cell, x : x + cell] = COLOURS[name]
        frames.append(frame)
    return write_video(path, frames, fps=1, codec="libx264rgb", pixels="rgb24", options={"crf": "0"})
