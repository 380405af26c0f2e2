"""One training run: a recipe in, a folder out.

The folder holds ``recipe.yaml`` (resolved), ``environment.json``, ``log/`` (TensorBoard), ``checkpoint/`` (resume
state), ``model/`` (the best model so far, for ``from_pretrained``), ``curves.png`` and ``report.json``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
import yaml

from mmretrieval.data.cache import ClipCache
from mmretrieval.data.dataset import ClipDataset, create_loader
from mmretrieval.data.features import FeatureStore
from mmretrieval.data.manifest import Sample, read_manifest
from mmretrieval.data.sampler import EpochSampler
from mmretrieval.encoders.sections import PRETRAINED
from mmretrieval.environment import cores, environment
from mmretrieval.errors import ManifestError, RecipeError
from mmretrieval.files import atomic_write
from mmretrieval.layers.synced import synchronise_norms
from mmretrieval.media.tokens import Tokenizer
from mmretrieval.model import RetrievalModel
from mmretrieval.objectives import build_objective
from mmretrieval.recipe import Recipe, dump_recipe
from mmretrieval.training.compilation import compile_encoders
from mmretrieval.training.curves import draw_curves
from mmretrieval.training.feature_cache import CacheSettings, build_features
from mmretrieval.training.freeze import freeze
from mmretrieval.training.loop import LoopSettings, fit
from mmretrieval.training.optim import create_optimizer
from mmretrieval.training.resume import Progress, load_checkpoint
from mmretrieval.training.retrieval import RetrievalTask, evaluate_model
from mmretrieval.training.start import load_parts, start_from

MAY_DIFFER = {("output",), ("data", "workers"), ("data", "cache"), ("training", "checkpoint_minutes")}
"""What may change between the parts of a resumed run without changing its result."""


def train(recipe: Recipe, resume: bool = False) -> dict:
    """Train the model of a recipe and return the report that is also written to ``report.json``.

    Args:
        recipe: The checked recipe.
        resume: Go on from the checkpoint of an interrupted run in the same output.

    Raises:
        RecipeError: The output already holds a run, or a run of another recipe.
        ManifestError: A manifest is missing, broken or has no usable clip.
        Interrupted: Ctrl-C; the checkpoint is written and the message says how to go on.
    """
    _share_cores()
    accelerator = _accelerator(recipe.training.precision)
    run = Path(recipe.output)
    _check_run(run, recipe, resume)

    samples = _usable(recipe.data.train, recipe)
    validation = _usable(recipe.data.val, recipe)
    torch.manual_seed(recipe.seed)
    model = _new_model(recipe, samples)
    _prepare_norms(model, recipe, accelerator)
    freeze(model, recipe.training.rates, recipe.training.freeze_norm)
    if recipe.training.compile:
        compile_encoders(model, accelerator.device)
    module, optimizer = accelerator.prepare(model, _optimizer(recipe, model))
    sampler = EpochSampler(
        len(samples), recipe.training.batch_size, recipe.seed, accelerator.process_index, accelerator.num_processes
    )
    objective = build_objective(recipe.objective)
    progress = Progress()
    if resume and (run / "checkpoint").is_dir():
        progress = load_checkpoint(run / "checkpoint", model, optimizer)
    features = _features(recipe, model, samples, validation, accelerator)
    cache = _cache(recipe, model, [*samples, *validation], features, accelerator)
    task = RetrievalTask(
        model,
        module,
        objective,
        samples,
        partial(_loader, recipe, _dataset(recipe, model, validation, cache, features), len(validation)),
        validation,
        recipe.training.codebook_start,
        recipe.training.chunk_size,
    )
    train_set = _dataset(recipe, model, samples, cache, features, train=True)
    if accelerator.is_main_process:
        _open_run(run, recipe)
    accelerator.wait_for_everyone()
    with _Log(run, accelerator.is_main_process) as log:
        fit(
            task, module, optimizer, partial(_batches, train_set, sampler, recipe), _loop_settings(recipe, sampler),
            progress, accelerator, run / "checkpoint", lambda report: model.save_pretrained(run / "model"), log.write,
        )  # fmt: skip
    return _finish(recipe, run, progress, accelerator)


def _check_run(run: Path, recipe: Recipe, resume: bool) -> None:
    """Refuse an output that holds another run, before anything is written."""
    if not (run / "recipe.yaml").is_file():
        return
    if not resume:
        raise RecipeError(
            f"{run} already holds a run: add --resume to go on with it, or choose another folder with output=…"
        )
    check_same_recipe(run / "recipe.yaml", recipe)


def _open_run(run: Path, recipe: Recipe) -> None:
    """Write the resolved recipe and the environment."""
    atomic_write(run / "recipe.yaml", dump_recipe(recipe))
    atomic_write(run / "environment.json", json.dumps(environment(), indent=2) + "\n")


def check_same_recipe(file: Path, recipe: Recipe) -> None:
    """Compare the recipe that a run was begun with, its ``recipe.yaml``, to this one.

    Raises:
        RecipeError: They differ in something that changes the result.
    """
    before, now = (_flatten(values) for values in (yaml.safe_load(file.read_text("utf-8")), recipe.model_dump()))
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


def _usable(manifest: str, recipe: Recipe) -> list[Sample]:
    samples = read_manifest(manifest, on_bad=recipe.data.on_bad).samples
    return with_modalities(samples, recipe.data.modalities, manifest)


def with_modalities(samples: list[Sample], modalities: Sequence[str], manifest: str | Path) -> list[Sample]:
    """Return the samples that have every one of ``modalities``.

    Raises:
        ManifestError: There is none.
    """
    usable = [sample for sample in samples if all(getattr(sample, name) is not None for name in modalities)]
    if not usable:
        raise ManifestError(
            f"{manifest}: none of its {len(samples)} clips has all of {', '.join(modalities)}: "
            "add what is missing, or name fewer modalities"
        )
    return usable


def _new_model(recipe: Recipe, samples: list[Sample]) -> RetrievalModel:
    """Build the model of a recipe with the weights it starts from."""
    earlier = None if recipe.init_from is None else RetrievalModel.from_pretrained(recipe.init_from)
    # token numbers mean something only together with the weights that were trained on them
    tokenizer = None if earlier is None else earlier.processor.tokenizer
    model = RetrievalModel.from_config(recipe.model.model_dump(), tokenizer or _vocabulary(recipe, samples))
    if earlier is not None:
        start_from(model, earlier, recipe.init_from)
    load_parts(model, recipe.weights)
    return model


def _optimizer(recipe: Recipe, model: RetrievalModel) -> torch.optim.Optimizer:
    training = recipe.training
    return create_optimizer(
        model, training.lr, training.weight_decay, training.rates, training.optimizer, training.muon_rate
    )


def _vocabulary(recipe: Recipe, samples: list[Sample]) -> Tokenizer | None:
    if recipe.model.text is None or recipe.model.text.encoder.name == PRETRAINED:
        return None  # a pretrained encoder brings its own
    return Tokenizer.train([s.text for s in samples if s.text], recipe.model.text.vocab_size)


def _accelerator(precision: str):
    from accelerate import Accelerator, DistributedDataParallelKwargs

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


def _prepare_norms(model: RetrievalModel, recipe: Recipe, accelerator) -> None:
    """Let batch normalisations see the batch of all processes; in chunks, encoders keep to what they see."""
    if accelerator.num_processes > 1 and recipe.training.sync_norm:
        chunked = recipe.training.chunk_size is not None
        synchronise_norms(model, leave=[branch.encoder for branch in model.branches.values()] if chunked else [])


def _features(
    recipe: Recipe, model: RetrievalModel, samples: list[Sample], validation: list[Sample], accelerator
) -> FeatureStore | None:
    """Encode every clip once by the encoders that are frozen, if the recipe says where to keep what they give."""
    data = recipe.data
    if data.features is None:
        return None
    precision = "bf16" if accelerator.mixed_precision == "bf16" else "fp32"
    settings = CacheSettings(
        data.feature_type, data.feature_views, recipe.seed, precision, data.decoder, workers=data.workers
    )
    return build_features(data.features, model, samples, validation, data.modalities, settings, accelerator)


def _cache(
    recipe: Recipe, model: RetrievalModel, samples: list[Sample], features: FeatureStore | None, accelerator
) -> ClipCache | None:
    """Decode every clip once, if the recipe says where to keep them; other processes find the first one's work."""
    if recipe.data.cache is None:
        return None
    decoded = [name for name in recipe.data.modalities if features is None or name not in features.modalities]
    with accelerator.main_process_first():
        return ClipCache.build(recipe.data.cache, samples, model.processor, decoded, backend=recipe.data.decoder)


def _dataset(
    recipe: Recipe,
    model: RetrievalModel,
    samples: list[Sample],
    cache: ClipCache | None = None,
    features: FeatureStore | None = None,
    train: bool = False,
) -> ClipDataset:
    data = recipe.data
    return ClipDataset(
        samples, model.processor, data.modalities, train, recipe.seed, cache, data.decoder, data.on_bad, features
    )


def _batches(dataset: ClipDataset, sampler: EpochSampler, recipe: Recipe, epoch: int, start: int) -> Iterator:
    dataset.set_epoch(epoch)
    sampler.seek(epoch, start)
    return iter(create_loader(dataset, sampler, recipe.data.workers))


def _loader(recipe: Recipe, dataset: ClipDataset, count: int) -> Iterator:
    return iter(create_loader(dataset, consecutive(count, 64), recipe.data.workers))


def consecutive(count: int, size: int) -> list[list[int]]:
    """Return the numbers below ``count`` in consecutive groups of ``size``."""
    return [list(range(first, min(first + size, count))) for first in range(0, count, size)]


def _loop_settings(recipe: Recipe, sampler: EpochSampler) -> LoopSettings:
    training = recipe.training
    return LoopSettings(
        epochs=training.epochs,
        batches_per_epoch=sampler.batches_per_epoch,
        lr=training.lr,
        schedule=training.schedule,
        warmup=training.warmup,
        clip_grad=training.clip_grad,
        evaluate_every=training.evaluate_every,
        checkpoint_seconds=60 * training.checkpoint_minutes,
        seed=recipe.seed,
    )


def _finish(recipe: Recipe, run: Path, progress: Progress, accelerator) -> dict:
    """Evaluate the best model on the test set (or the validation set) and write the report."""
    if not accelerator.is_main_process:
        return {}
    split = recipe.data.test or recipe.data.val
    model = RetrievalModel.from_pretrained(run / "model").to(accelerator.device)
    samples = _usable(split, recipe)
    result = evaluate_model(model, _loader(recipe, _dataset(recipe, model, samples), len(samples)), samples)
    report = {
        "retrieval": result["retrieval"],
        "codes": result["codes"],
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
