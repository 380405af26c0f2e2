"""How fast a training step is, against the naive layout, in one run.

    python benchmarks/training.py [--recipe toyworld/demo] [--rounds 5] [--out training.json]

Times forward, loss, backward, optimiser and codebook of the recipe's model on random clips, after a warm-up and
interleaved, and takes medians: as shipped (channels-last, the precision the machine computes fast) and naively
(contiguous, fp32). bf16 is timed too where the machine computes it fast. No files are read: see ``media.py`` for those.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from contextlib import nullcontext
from pathlib import Path

import torch

from mmretrieval.environment import environment
from mmretrieval.media.tokens import Tokenizer
from mmretrieval.model import RetrievalModel
from mmretrieval.objectives import build_objective
from mmretrieval.recipe import load_recipe
from mmretrieval.run import mixed_precision
from mmretrieval.sections import Recipe
from mmretrieval.training.optim import create_optimizer
from mmretrieval.types import Batch, Padded

WORDS = "a red dog runs over the green car while one blue bird rises and falls in deep snow by night"


class Step:
    """One way of training: a model, its layout and its precision."""

    def __init__(self, recipe: Recipe, layout: torch.memory_format, bf16: bool):
        torch.manual_seed(0)
        self.model = RetrievalModel.from_config(recipe.model.model_dump(), Tokenizer.train([WORDS] * 8, 64)).train()
        if layout == torch.contiguous_format:
            _make_contiguous(self.model)
        self.objective = build_objective(recipe.objective)
        self.optimizer = create_optimizer(self.model, 1e-3, 0.0)
        self.autocast = torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext()
        if self.model.codebook is not None:
            self.model.codebook.start_from(torch.randn(self.model.codebook.size, self.model.codebook.dim))

    def __call__(self, batch: Batch) -> float:
        started = time.perf_counter()
        with self.autocast:
            total, _ = self.objective(self.model(batch))
        self.optimizer.zero_grad()
        total.backward()
        self.optimizer.step()
        if self.model.codebook is not None:
            self.model.codebook.update()
        return time.perf_counter() - started


def _make_contiguous(model: RetrievalModel) -> None:
    """Undo every channels-last layout: weights, and the inputs of every convolution."""
    model.to(memory_format=torch.contiguous_format)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))


def random_batch(recipe: Recipe) -> Batch:
    size, model = recipe.training.batch_size, recipe.model
    frames = torch.randint(0, 256, (size, model.video.frames, 3, model.video.size, model.video.size), dtype=torch.uint8)
    lengths = torch.randint(200, 400, (size, 1))
    speech_mask, text_mask = torch.arange(400) < lengths, torch.arange(20) < torch.randint(8, 20, (size, 1))
    inputs = {
        "video": Padded(frames, torch.ones(size, model.video.frames, dtype=torch.bool)),
        "speech": Padded(-80 * torch.rand(size, 400, model.speech.mels), speech_mask),
        "text": Padded(torch.randint(2, 40, (size, 20)) * text_mask, text_mask),
    }
    return Batch([str(number) for number in range(size)], inputs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="toyworld/demo")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe)
    batch = random_batch(recipe)
    fast_bf16 = mixed_precision("auto") == "bf16"
    steps = {
        "naive: contiguous, fp32": Step(recipe, torch.contiguous_format, bf16=False),
        "channels-last, fp32": Step(recipe, torch.channels_last, bf16=False),
    }
    if fast_bf16:
        steps["channels-last, bf16"] = Step(recipe, torch.channels_last, bf16=True)
    for step in steps.values():
        step(batch)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(arguments.rounds):
        for name, step in steps.items():
            seconds[name].append(step(batch))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    naive = medians["naive: contiguous, fp32"]
    rows = [
        {"step": name, "clips_per_second": len(batch.ids) / median, "ratio": naive / median}
        for name, median in medians.items()
    ]
    print(f"{arguments.recipe}, batch {len(batch.ids)}, {torch.get_num_threads()} threads, "
          f"{torch.backends.cpu.get_cpu_capability()}")  # fmt: skip
    for row in rows:
        print(f"{row['step']:26} {row['clips_per_second']:8.1f} clips/s   × {row['ratio']:.2f}")
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps({"rows": rows, "environment": environment()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
