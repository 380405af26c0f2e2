"""Trains the runs of a study that are missing, each in a process of its own: memory comes back, a crash costs one run.

Beside each run's folder ``seed-0`` lie its resolved recipe, ``seed-0.yaml``, and what it said, ``seed-0.log``. The
study's ``ledger.json`` remembers how long each run took, over all its parts, and why it failed if it did.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import mean

from mmretrieval.errors import RecipeError, StorageError
from mmretrieval.files import atomic_write, storage_error
from mmretrieval.recipe import dump_recipe
from mmretrieval.study.plan import Run

FINISHED, STARTED, NEW, OTHER = "finished", "started", "new", "of another recipe"


class StudyInterrupted(KeyboardInterrupt):
    """The study was stopped by the user; the run at work has saved its checkpoint."""


class Ledger:
    """How long each run took and why it failed, on disk.

    Args:
        file: The JSON file; it is written at the first entry.
    """

    def __init__(self, file: Path):
        self.file = file
        self.entries: dict[str, dict] = json.loads(file.read_text("utf-8")) if file.is_file() else {}

    def seconds(self, run: Run) -> float | None:
        """Return how long a run has taken so far, over all its parts; None if it never was at work."""
        return self.entries.get(run.name, {}).get("seconds")

    def finished_seconds(self, run: Run) -> float | None:
        """Return how long a run took to its end; None if it is not there yet."""
        return self.seconds(run) if self.entries.get(run.name, {}).get("finished") else None

    def failure(self, run: Run) -> str | None:
        """Return why a run failed when it was last tried."""
        return self.entries.get(run.name, {}).get("failure")

    def note(self, run: Run, seconds: float, failure: str | None, finished: bool = False, anew: bool = False) -> None:
        """Add the time of one part of a run, the first if it begins ``anew``, and say how it ended.

        Raises:
            StorageError: The file cannot be written.
        """
        before = 0.0 if anew else self.seconds(run) or 0.0
        self.entries[run.name] = {"seconds": round(before + seconds, 1), "finished": finished, "failure": failure}
        atomic_write(self.file, json.dumps(self.entries, indent=2, ensure_ascii=False) + "\n")


def state_of(run: Run) -> tuple[str, str]:
    """Return where a run stands, and details: at which step it was interrupted, or what differs."""
    from mmretrieval.run import check_same_recipe

    recipe = run.folder / "recipe.yaml"
    if not recipe.is_file():
        return NEW, ""
    try:
        check_same_recipe(recipe, run.recipe)
    except RecipeError as error:
        return OTHER, str(error)
    if (run.folder / "report.json").is_file():
        return FINISHED, ""
    progress = run.folder / "checkpoint" / "progress.json"
    return STARTED, f"at step {json.loads(progress.read_text('utf-8'))['step']}" if progress.is_file() else ""


def chosen(runs: Sequence[Run], pattern: str | None) -> list[Run]:
    """Return the runs whose label fits a pattern of the shell: ``amm*``.

    Raises:
        RecipeError: There is none.
    """
    found = [run for run in runs if pattern is None or fnmatchcase(run.label, pattern)]
    if not found:
        labels = list(dict.fromkeys(run.label for run in runs))
        raise RecipeError(f"--only {pattern}: no run of this study fits. Runs: {', '.join(labels)}.")
    return found


def expected_seconds(run: Run, runs: Sequence[Run], ledger: Ledger) -> float | None:
    """Return how long a run probably takes: as its label did with other seeds, else as all others did on average."""
    known = [(other.label, ledger.finished_seconds(other)) for other in runs]
    finished = [(label, seconds) for label, seconds in known if seconds is not None]
    same = [seconds for label, seconds in finished if label == run.label]
    return mean(same or [seconds for _, seconds in finished]) if finished else None


def run_missing(
    runs: Sequence[Run],
    everything: Sequence[Run],
    ledger: Ledger,
    out: Path,
    say: Callable[[str], None],
    after_each: Callable[[], None],
) -> list[tuple[Run, str]]:
    """Train the runs that are not finished; interrupted ones go on where they were.

    Args:
        runs: What to train.
        everything: All runs of the study, from which times are estimated.
        ledger: Where times and failures are noted.
        out: The folder of all studies; only one command works there at a time.
        say: Called with a line of text per run.
        after_each: Called when a run has ended.

    Returns:
        The runs that failed, with their reasons.

    Raises:
        StudyInterrupted: Ctrl-C or SIGTERM; the same command goes on.
        StorageError: Another command is at work there, or the disk cannot be written.
    """
    failed = []
    waiting = [run for run in runs if state_of(run)[0] != FINISHED]
    with _only_one(out) as lock, _Bar(len(runs), len(runs) - len(waiting)) as bar:
        for number, run in enumerate(waiting):
            bar.show(f"{run.name}{_time_left(waiting[number:], everything, ledger)}")
            started = time.monotonic()
            reason = _train(run, lock, ledger, bar.refresh)
            end = duration(time.monotonic() - started)
            if reason is not None:
                failed.append((run, reason))
                end = f"failed: {reason}"
            count = f"{len(runs) - len(waiting) + number + 1} of {len(runs)}"
            bar.write(say, f"{count}: {run.name}: {end}{_time_left(waiting[number + 1 :], everything, ledger)}")
            after_each()
    return failed


def _time_left(waiting: Sequence[Run], everything: Sequence[Run], ledger: Ledger) -> str:
    """Say how long the rest takes, if anything is known about it."""
    seconds = [expected_seconds(run, everything, ledger) for run in waiting]
    known = [value for value in seconds if value is not None]
    return f", about {duration(sum(known))} left" if known and len(known) == len(seconds) else ""


def _train(run: Run, lock: int, ledger: Ledger, tick: Callable[[], None]) -> str | None:
    """Train one run in a process of its own; return why it failed, or None.

    Raises:
        StudyInterrupted: Ctrl-C or SIGTERM.
    """
    state, detail = state_of(run)
    if state == OTHER:
        ledger.note(run, 0.0, detail)
        return detail
    recipe, log = run.folder.with_name(f"{run.folder.name}.yaml"), run.folder.with_name(f"{run.folder.name}.log")
    atomic_write(recipe, dump_recipe(run.recipe))
    command = [sys.executable, "-m", "mmretrieval.cli.main", "train", str(recipe), "--resume"]
    started = time.monotonic()
    with open(log, "ab") as sink:
        begun = sink.tell()
        # in a session of its own Ctrl-C reaches the child once, by us: a second one would cost its checkpoint.
        # it holds the lock, too: if we are killed, nobody starts the same run while it is still at work
        child = subprocess.Popen(
            command, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=(lock,)
        )
        interrupted = _wait(child, tick)
    seconds = time.monotonic() - started
    done = child.returncode == 0 and (run.folder / "report.json").is_file()
    failure = None if done or interrupted else _reason(child.returncode, log, begun)
    ledger.note(run, seconds, failure, finished=done, anew=state == NEW)
    if interrupted:
        raise StudyInterrupted(f"stopped in {run.name}; the same command goes on there")
    return failure


def _wait(child: subprocess.Popen, tick: Callable[[], None]) -> bool:
    """Wait for the child; pass Ctrl-C on to it and wait until it has saved. Return whether there was one."""
    interrupted = False
    while True:
        try:
            child.wait(timeout=1)
            return interrupted
        except subprocess.TimeoutExpired:
            tick()
        except KeyboardInterrupt:
            interrupted = True
            with suppress(ProcessLookupError):
                child.send_signal(signal.SIGINT)


def _reason(code: int, log: Path, begun: int) -> str:
    """Return why a process ended, in the words it left."""
    if code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}{', perhaps for lack of memory' if name == 'SIGKILL' else ''}; see {log}"
    with open(log, "rb") as file:
        file.seek(begun)
        lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    own = [line for line in lines if line.startswith("mmretrieval: ")]
    if own:
        return own[-1].removeprefix("mmretrieval: ")
    return f"{lines[-1].strip() if lines else f'exit code {code}'}; see {log}"


@contextmanager
def _only_one(out: Path) -> Iterator[int]:
    """Hold the folder, or refuse if another command holds it. The system lets go of it when its holders have ended."""
    import fcntl

    try:
        out.mkdir(parents=True, exist_ok=True)
        handle = os.open(out, os.O_RDONLY)
    except OSError as error:
        raise storage_error(out, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise StorageError(
            f"{out}: another 'mmretrieval study', or a run it has left behind, is at work there: wait for it, or "
            "choose another folder with --out"
        ) from None
    before = _terminate_like_ctrl_c()
    try:
        yield handle
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
        os.close(handle)


def _terminate_like_ctrl_c():
    """Let SIGTERM stop as Ctrl-C does; return the handler before, None where signals belong to somebody else."""

    def stop(number, frame):
        raise KeyboardInterrupt

    try:
        return signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread
        return None


class _Bar:
    """Runs done and time left; quiet when the output is not a terminal."""

    def __init__(self, total: int, done: int):
        from tqdm import tqdm

        form = "{n_fmt}/{total_fmt} runs |{bar}| {elapsed}{postfix}"
        self.tqdm = tqdm(total=total, initial=done, disable=None, bar_format=form)

    def show(self, text: str) -> None:
        self.tqdm.set_postfix_str(text)

    def refresh(self) -> None:
        self.tqdm.refresh()

    def write(self, say: Callable[[str], None], line: str) -> None:
        """Say that one more run has ended."""
        self.tqdm.clear()
        say(line)
        self.tqdm.update()

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *exc) -> None:
        self.tqdm.close()


def duration(seconds: float) -> str:
    """Return a time as people say it: 40 s, 12 min, 1 h 25 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
