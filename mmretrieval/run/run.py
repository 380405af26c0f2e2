"""One training run: a recipe in, a folder out.

The folder holds ``recipe.yaml`` (resolved), ``environment.json``, ``log/`` (TensorBoard), ``checkpoint/`` (resume
state), ``model/`` (the best model so far, for ``from_pretrained``), ``curves.png`` and ``report.json``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
import yaml

from mmretrieval.allocator import keep_freed_memory
from mmretrieval.data.dataset import ClipDataset, create_loader
from mmretrieval.data.sampler import EpochSampler
from mmretrieval.environment import cores, environment
from mmretrieval.errors import RecipeError
from mmretrieval.files import atomic_write
from mmretrieval.recipe import check_recipe, dump_recipe
from mmretrieval.run.recognition import RecognitionWork
from mmretrieval.run.retrieval import RetrievalWork
from mmretrieval.run.work import Work, clip_dataset, loaded
from mmretrieval.saved import SavedModel
from mmretrieval.sections import AnyRecipe
from mmretrieval.training.compilation import compile_parts
from mmretrieval.training.curves import draw_curves
from mmretrieval.training.freeze import freeze
from mmretrieval.training.loop import LoopSettings, fit
from mmretrieval.training.optim import create_optimizer
from mmretrieval.training.resume import Progress, load_checkpoint

WORKS: dict[str, type[Work]] = {"retrieval": RetrievalWork, "recognition": RecognitionWork}
"""What a recipe's task stands for."""

MAY_DIFFER = {("output",), ("data", "workers"), ("data", "cache"), ("training", "checkpoint_minutes")}
"""What may change between the parts of a resumed run without changing its result."""


def train(recipe: AnyRecipe, resume: bool = False) -> dict:
    """Train the model of a recipe and return the report that is also written to ``report.json``.

    Args:
        recipe: The checked recipe.
        resume: Go on from the checkpoint of an interrupted run in the same output; begin if there is none.

    Raises:
        RecipeError: The output already holds a run, or a run of another recipe.
        ManifestError: A manifest is missing, broken or has no usable clip.
        Interrupted: Ctrl-C; the checkpoint is written and the message says how to go on.
    """
    _share_cores()
    keep_freed_memory()
    accelerator = _accelerator(recipe.training.precision)
    run = Path(recipe.output)
    _check_run(run, recipe, resume)
    work = WORKS[recipe.task](recipe, accelerator)

    samples, validation = work.usable(recipe.data.train), work.usable(recipe.data.val)
    torch.manual_seed(recipe.seed)
    model = work.new_model(samples)
    work.prepare_norms(model)
    freeze(model, recipe.training.rates, recipe.training.freeze_norm)
    if recipe.training.compile:
        compile_parts(work.compiled(model), accelerator.device)
    module, optimizer = accelerator.prepare(model, _optimizer(recipe, model))
    sampler = EpochSampler(
        len(samples), recipe.training.batch_size, recipe.seed, accelerator.process_index, accelerator.num_processes
    )
    progress = Progress()
    if resume and (run / "checkpoint").is_dir():
        progress = load_checkpoint(run / "checkpoint", model, optimizer)
    sources = work.sources(model, samples, validation)
    task = work.task(model, module, samples, partial(loaded, recipe, model, validation, sources), validation)
    train_set = clip_dataset(recipe, model, samples, sources, train=True)
    if accelerator.is_main_process:
        _open_run(run, recipe)
    accelerator.wait_for_everyone()
    with _Log(run, accelerator.is_main_process) as log:
        fit(
            task, module, optimizer, partial(_batches, train_set, sampler, recipe), _loop_settings(recipe, sampler),
            progress, accelerator, run / "checkpoint", lambda report: model.save_pretrained(run / "model"), log.write,
        )  # fmt: skip
    return _finish(work, run, progress)


def _check_run(run: Path, recipe: AnyRecipe, resume: bool) -> None:
    """Refuse an output that holds another run, before anything is written."""
    if not (run / "recipe.yaml").is_file():
        return
    if not resume:
        raise RecipeError(
            f"{run} already holds a run: add --resume to go on with it, or choose another folder with output=…"
        )
    check_same_recipe(run / "recipe.yaml", recipe)


def _open_run(run: Path, recipe: AnyRecipe) -> None:
    """Write the resolved recipe and the environment."""
    atomic_write(run / "recipe.yaml", dump_recipe(recipe))
    atomic_write(run / "environment.json", json.dumps(environment(), indent=2) + "\n")


def check_same_recipe(file: Path, recipe: AnyRecipe) -> None:
    """Compare the recipe that a run was begun with, its ``recipe.yaml``, to this one.

    Raises:
        RecipeError: They differ in something that changes the result.
    """
    earlier = check_recipe(yaml.safe_load(file.read_text("utf-8")))  # keys that are new since then have their defaults
    before, now = (_flatten(one.model_dump()) for one in (earlier, recipe))
    differing = [k for k in before | now if before.get(k) != now.get(k) and k not in MAY_DIFFER]
    if differing:
        key = differing[0]
        raise RecipeError(
            f"{file.parent} was trained with {'.'.join(key)}={before.get(key)}, this recipe says {now.get(key)}: "
            "resume with the same recipe, or choose another folder with output=…"
        )


def _flatten(values: dict, key: tuple[str, ...] = ()) -> dict[tuple[str, ...], object]:
    flat: dict[tuple[str, ...], object] = {}
    for name, value in values.items():
        flat |= _flatten(value, (*key, name)) if isinstance(value, dict) else {(*key, name): value}
    return flat


def _optimizer(recipe: AnyRecipe, model: SavedModel) -> torch.optim.Optimizer:
    training = recipe.training
    return create_optimizer(
        model, training.lr, training.weight_decay, training.rates, training.optimizer, training.muon_rate
    )


def _accelerator(precision: str):
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState

    # the precision of an earlier run of this process is no business of this one; its process group is
    AcceleratorState._reset_state()
    # without a GPU accelerate overlooks the processes that torchrun has started, unless it is told to use the CPU
    several_on_cpu = int(os.environ.get("WORLD_SIZE", 1)) > 1 and not torch.cuda.is_available()
    # until the codebook is started its branch has no gradient
    ddp = DistributedDataParallelKwargs(find_unused_parameters=True)
    return Accelerator(cpu=several_on_cpu, mixed_precision=mixed_precision(precision), kwargs_handlers=[ddp])


def _share_cores() -> None:
    """Give each process of this machine its share of the cores, unless OMP_NUM_THREADS already says how many."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))


def mixed_precision(wanted: str) -> str:
    """Return accelerate's word for a recipe's precision.

    ``auto`` is bf16 where the processor computes it fast: a recent GPU, or a CPU with AVX-512. On others bf16 is
    emulated and up to seventy times slower than fp32.
    """
    if wanted == "auto":
        if torch.cuda.is_available():
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            fast = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
        wanted = "bf16" if fast else "fp32"
    return "bf16" if wanted == "bf16" else "no"


def _batches(dataset: ClipDataset, sampler: EpochSampler, recipe: AnyRecipe, epoch: int, start: int) -> Iterator:
    dataset.set_epoch(epoch)
    sampler.seek(epoch, start)
    return iter(create_loader(dataset, sampler, recipe.data.workers))


def _loop_settings(recipe: AnyRecipe, sampler: EpochSampler) -> LoopSettings:
    training = recipe.training
    return LoopSettings(
        epochs=training.epochs,
        batches_per_epoch=sampler.batches_per_epoch,
        lr=training.lr,
        schedule=training.schedule,
        warmup=training.warmup,
        milestones=tuple(training.milestones),
        clip_grad=training.clip_grad,
        evaluate_every=training.evaluate_every,
        checkpoint_seconds=60 * training.checkpoint_minutes,
        seed=recipe.seed,
    )


def _finish(work: Work, run: Path, progress: Progress) -> dict:
    """Evaluate the best model on the test set (or the validation set) and write the report."""
    recipe, accelerator = work.recipe, work.accelerator
    if not accelerator.is_main_process:
        return {}
    split = recipe.data.test or recipe.data.val
    model = work.load(run / "model").to(accelerator.device)
    samples = work.usable(split)
    report = work.evaluate(model, loaded(recipe, model, samples), samples) | {
        "evaluated_on": split,
        "stages": {"train": round(progress.seconds, 1)},
        "steps": progress.step,
        "unreadable_clips": progress.failures,
        "history": progress.history,
        "losses": [round(loss, 6) for loss in progress.losses],
        "environment": environment()
        | {"processes": accelerator.num_processes, "precision": accelerator.mixed_precision.replace("no", "fp32")},
    }
    atomic_write(run / "report.json", json.dumps(report, indent=2) + "\n")
    draw_curves(progress, run / "curves.png")
    return report


class _Log:
    """TensorBoard scalars of the main process."""

    def __init__(self, run: Path, active: bool):
        self.writer = None
        if active:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(run / "log"))

    def write(self, kind: str, scalars: dict, step: int) -> None:
        if self.writer is not None:
            for name, value in scalars.items():
                self.writer.add_scalar(f"{kind}/{name}", value, step)

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *exc) -> None:
        if self.writer is not None:
            self.writer.close()
