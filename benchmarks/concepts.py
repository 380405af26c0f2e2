"""Do two modalities come to share codes? Sixty-four hidden concepts, seen through two unrelated linear maps.

    python benchmarks/concepts.py [--seeds 3] [--out concepts.json]

Each item is a sequence of concepts; each modality shows them in an order of its own, every concept as a random vector
of that modality plus noise. The two encoders start with nothing in common, so two modalities share a code only because
training makes them. Trained are the continuous model, the model with a codebook, and the one with Cross-Modal Code
Matching (arXiv 2106.05438), all on the same items for as many steps. Prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmretrieval import metrics
from mmretrieval.codebook import EMACodebook
from mmretrieval.data.processor import Processor
from mmretrieval.evaluation.codes import code_report
from mmretrieval.model import RetrievalModel
from mmretrieval.objectives import build_objective
from mmretrieval.types import Batch, Encoding, Features, Padded

CONCEPTS, SHOWN, POSITIONS = 64, 4, 8
WIDTHS = {"video": 40, "speech": 24}
NOISE = 0.3
CODES, CODE_DIM = 128, 16
BATCH, TEST = 64, 500
START = 0.25
"""Share of the steps after which the codebook starts: the continuous model comes first."""


class World:
    """Items of hidden concepts, as two modalities show them.

    Args:
        seed: Draws the vectors of the concepts, and then the items.
    """

    def __init__(self, seed: int):
        self.random = torch.Generator().manual_seed(seed)
        self.vectors = {name: self._normal(CONCEPTS, width) for name, width in WIDTHS.items()}

    def items(self, count: int) -> Batch:
        """Return ``count`` new items; both modalities show the same concepts, each at positions of its own."""
        concepts = torch.rand(count, CONCEPTS, generator=self.random).argsort(1)[:, :SHOWN]
        inputs = {name: self._show(concepts, vectors) for name, vectors in self.vectors.items()}
        return Batch([str(number) for number in range(count)], inputs)

    def _show(self, concepts: Tensor, vectors: Tensor) -> Padded:
        """Every concept stands at least once, the remaining positions repeat some, and all are shuffled."""
        count = len(concepts)
        extra = torch.randint(SHOWN, (count, POSITIONS - SHOWN), generator=self.random)
        places = torch.cat([torch.arange(SHOWN).expand(count, -1), extra], 1)
        places = places.gather(1, torch.rand(places.shape, generator=self.random).argsort(1))
        clean = vectors[concepts.gather(1, places)]
        return Padded(clean + NOISE * self._normal(*clean.shape), torch.ones(count, POSITIONS, dtype=torch.bool))

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.random)


class Encoder(nn.Sequential):
    """Each position by itself, through two layers."""

    def __init__(self, width: int, feature_dim: int = 64):
        super().__init__(nn.Linear(width, 128), nn.ReLU(), nn.Linear(128, feature_dim))
        self.feature_dim = feature_dim

    def forward(self, inputs: Padded) -> Features:
        return Features(super().forward(inputs.values), inputs.mask, (inputs.mask.shape[1],))


class Outcome(NamedTuple):
    """What a trained model reaches on new items: mean R@1 of both directions, and how its codes are used."""

    recall: float
    used: int
    shared: float


def train(seed: int, codebook: bool, cmcm: float, steps: int = 2000) -> Outcome:
    """Train one model on endless new items and test it.

    Args:
        seed: Of the world and of the weights.
        codebook: Whether there is one.
        cmcm: Weight of code matching.
        steps: Batches of 64 items.
    """
    world = World(seed)
    torch.manual_seed(seed)
    model = RetrievalModel(
        {name: Encoder(width) for name, width in WIDTHS.items()},
        Processor(),
        EMACodebook(CODES, CODE_DIM) if codebook else None,
        dim=64,
        scale=15.0,
    )
    objective = build_objective({"amm": {"alpha": 0.2}, "cmcm": {"weight": cmcm}})
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for step in range(steps):
        batch = world.items(BATCH)
        if codebook and step == round(START * steps):
            with torch.no_grad():
                model.codebook.initialise(torch.cat([model.code_features(*part) for part in batch.inputs.items()]))
        loss, _ = objective(model(batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if model.discrete:
            model.codebook.update()
    with torch.inference_mode():
        return judge(model.eval()(world.items(TEST)))


def judge(encodings: dict[str, Encoding]) -> Outcome:
    """Return recall and the use of codes of encoded items."""
    scores = encodings["video"].embedding @ encodings["speech"].embedding.T
    recall = mean(metrics.recall(one, [1])["recall@1"] for one in (scores, scores.T))
    if encodings["video"].quantized is None:
        return Outcome(recall, 0, 0.0)
    report = code_report({name: one.quantized.codes.numpy() for name, one in encodings.items()}, CODES)
    return Outcome(recall, report["used"], report["shared"])


MODELS = {
    "continuous": (False, 0.0),
    "codebook": (True, 0.0),
    "codebook and CMCM 0.1": (True, 0.1),  # the paper's weight
    "codebook and CMCM 0.5": (True, 0.5),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="worlds")
    parser.add_argument("--out", type=Path, default=Path("concepts.json"), help="JSON file to write")
    options = parser.parse_args()
    print(f"{'model':24}{'R@1':>16}{'used codes':>14}{'shared codes':>22}")
    report = {}
    for label, (codebook, cmcm) in MODELS.items():
        outcomes = [train(seed, codebook, cmcm) for seed in range(options.seeds)]
        report[label] = [outcome._asdict() for outcome in outcomes]
        recall, used, shared = zip(*outcomes, strict=True)
        row = [f"{label:24}", f"{100 * mean(recall):14.1f} %", f"{mean(used):14.0f}" if codebook else f"{'–':>14}"]
        spread = ", ".join(f"{100 * share:.0f}" for share in shared)
        print("".join(row) + (f"{spread + ' %':>22}" if codebook else f"{'–':>22}"), flush=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
