"""The training loop: any task, any number of processes, interruptible and exactly resumable."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from mmretrieval.errors import MediaError, TrainingError
from mmretrieval.training.optim import rate_factor, set_rate
from mmretrieval.training.resume import Progress, save_checkpoint
from mmretrieval.types import Batch, Task


class Interrupted(KeyboardInterrupt):
    """Training was stopped by the user; the checkpoint is written."""


class LoopSettings(NamedTuple):
    """What the loop itself needs to know; everything else belongs to the task."""

    epochs: int
    batches_per_epoch: int
    lr: float
    schedule: str
    warmup: float
    milestones: tuple[float, ...]
    clip_grad: float
    evaluate_every: int
    checkpoint_seconds: float
    seed: int

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.epochs * self.batches_per_epoch


def fit(
    task: Task,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Callable[[int, int], Iterator],
    settings: LoopSettings,
    progress: Progress,
    accelerator,
    checkpoint: Path,
    on_best: Callable[[dict], None],
    log: Callable[[str, dict, int], None],
) -> Progress:
    """Train until the last epoch, from wherever ``progress`` stands.

    Args:
        task: Gives losses of a batch and evaluates.
        module: What is trained, as ``accelerator.prepare`` returned it.
        optimizer: Steps it.
        batches: ``batches(epoch, start)`` yields loaded batches of an epoch from batch ``start`` on.
        settings: Lengths and rates.
        progress: Where to begin; updated in place.
        accelerator: Device, precision and processes.
        checkpoint: Folder of the resume state.
        on_best: Called with the report whenever the validation score is the best so far.
        log: ``log(kind, scalars, step)``.

    Raises:
        Interrupted: The user stopped the run (Ctrl-C or SIGTERM); the checkpoint holds everything.
        MediaError: A whole batch of clips could not be read.
        TrainingError: The loss is infinite or no number.
    """
    bar = _Bar(settings, progress, accelerator.is_main_process)
    started, saved = time.monotonic() - progress.seconds, time.monotonic()

    def save() -> None:
        progress.seconds = time.monotonic() - started
        if accelerator.is_main_process:
            save_checkpoint(checkpoint, accelerator.unwrap_model(module), optimizer, progress)
        accelerator.wait_for_everyone()

    with bar, _stop_on_signal() as stop:
        while progress.epoch < settings.epochs:
            for loaded in batches(progress.epoch, progress.batch):
                report, clips = _step(task, module, optimizer, loaded, settings, progress, accelerator)
                bar.show(report, clips)
                log("train", report, progress.step)
                if _agreed(stop.asked, accelerator):
                    save()
                    raise Interrupted(
                        f"stopped at step {progress.step} and saved; the same command with --resume goes on"
                    )
                if _agreed(time.monotonic() - saved > settings.checkpoint_seconds, accelerator):
                    save()
                    saved = time.monotonic()
            progress.epoch, progress.batch = progress.epoch + 1, 0
            if progress.epoch % settings.evaluate_every == 0 or progress.epoch == settings.epochs:
                _evaluate(task, progress, accelerator, on_best, log, bar)
        save()
    return progress


def _step(task, module, optimizer, loaded, settings, progress, accelerator) -> tuple[dict, int]:
    clips, failures = _check_readable(loaded, accelerator)
    progress.failures += failures
    batch = to_device(loaded.batch, accelerator.device)
    # dropout depends on the step and nothing else, so that a resumed run draws what an uninterrupted one would
    torch.manual_seed(_step_seed(settings.seed, progress.step, accelerator.process_index))
    share = rate_factor(progress.step, settings.total_steps, settings.schedule, settings.warmup, settings.milestones)
    rate = settings.lr * share
    set_rate(optimizer, rate)
    module.train()
    task.before_step(progress.step, settings.total_steps)
    with accelerator.autocast():
        total, report = task.losses(batch)
    loss = float(total.detach())
    if not math.isfinite(loss):  # weights are as the step before left them
        raise TrainingError(
            f"the loss is {loss} at step {progress.step + 1}: training has diverged. Lower training.lr (now "
            f"{settings.lr:g}), or try training.precision=fp32 and training.clip_grad"
        )
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(total)
    if settings.clip_grad:
        accelerator.clip_grad_norm_(module.parameters(), settings.clip_grad)
    optimizer.step()
    task.after_step()
    progress.step, progress.batch = progress.step + 1, progress.batch + 1
    scalars = {"loss": loss} | {name: float(value) for name, value in report.items()} | {"rate": rate}
    progress.losses.append(scalars["loss"])
    return scalars, clips


def _check_readable(loaded, accelerator) -> tuple[int, int]:
    """Return how many clips of the global batch could be read, and how many could not.

    A batch in which a process has nothing, or all have one clip together, is refused: there is nothing to compare.

    Raises:
        MediaError: On every process alike, so that none waits for the others.
    """
    here = 0 if loaded.batch is None else len(loaded.batch.ids)
    counts = torch.tensor([here == 0, here, len(loaded.failures)], dtype=torch.float32, device=accelerator.device)
    if accelerator.num_processes > 1:
        counts = accelerator.reduce(counts, "sum")
    empty, clips, failures = (int(count) for count in counts)
    if not empty and clips > 1:
        return clips, failures
    first = f"the first: {loaded.failures[0].reason}" if loaded.failures else "another process names the files"
    if not empty:
        raise MediaError(f"only one clip of a whole batch could be read, with nothing to compare it with; {first}")
    where = " of one process" if accelerator.num_processes > 1 else ""
    raise MediaError(f"not one clip of a whole batch{where} could be read; {first}")


def _step_seed(seed: int, step: int, process: int) -> int:
    return int(np.random.SeedSequence([seed, step, process]).generate_state(1)[0])


def _evaluate(task, progress, accelerator, on_best, log, bar) -> None:
    if accelerator.is_main_process:
        report = task.evaluate()
        progress.history.append({"epoch": progress.epoch, "step": progress.step, **report["summary"]})
        log("val", report["summary"], progress.step)
        bar.evaluated(report["summary"], progress.step)
        if report["score"] > progress.best:
            progress.best = report["score"]
            on_best(report)
    accelerator.wait_for_everyone()


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Move every tensor of a batch."""
    moved = {
        name: inputs._replace(
            values=inputs.values.to(device, non_blocking=True), mask=inputs.mask.to(device, non_blocking=True)
        )
        for name, inputs in batch.inputs.items()
    }
    return batch._replace(inputs=moved)


def _agreed(here: bool, accelerator) -> bool:
    """Whether any process says yes: all of them must leave or save at the same step."""
    if accelerator.num_processes == 1:
        return here
    return bool(accelerator.reduce(torch.tensor(float(here), device=accelerator.device), "sum") > 0)


class _Stop:
    asked = False


@contextmanager
def _stop_on_signal() -> Iterator[_Stop]:
    """Turn the first Ctrl-C or SIGTERM into a request to stop after this step; a second one interrupts at once."""
    stop = _Stop()

    def ask(number, frame):
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True

    try:
        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: whoever runs us there handles signals
        before = {}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Bar:
    """Progress with loss, the first validation score and clips per second; quiet when this is no terminal."""

    def __init__(self, settings: LoopSettings, progress: Progress, visible: bool):
        from tqdm import tqdm

        total = settings.total_steps
        self.tqdm = tqdm(total=total, initial=progress.step, unit="step", disable=None if visible else True)
        self.visible = visible
        self.best_known = ""
        self.rates: list[float] = []
        self.last = time.monotonic()

    def show(self, report: dict, clips: int) -> None:
        now = time.monotonic()
        self.rates = [*self.rates[-19:], clips / max(now - self.last, 1e-9)]
        self.last = now
        rate = sorted(self.rates)[len(self.rates) // 2]
        self.tqdm.set_postfix_str(f"loss {report['loss']:.3f}, {rate:.0f} clips/s{self.best_known}", refresh=False)
        self.tqdm.update()

    def evaluated(self, summary: dict, step: int) -> None:
        name, value = next(iter(summary.items()))
        self.best_known = f", {name} {value:.0%}"
        if self.visible:
            shown = ", ".join(f"{name} {value:.3f}" for name, value in summary.items())
            self.tqdm.write(f"step {step}: {shown}")
        self.last = time.monotonic()

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *exc) -> None:
        self.tqdm.close()
