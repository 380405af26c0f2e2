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
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import mean

from mmretrieval.environment import cores
from mmretrieval.errors import RecipeError, StorageError
from mmretrieval.files import atomic_write, storage_error
from mmretrieval.recipe import dump_recipe
from mmretrieval.study.interrupts import Interrupts
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
    jobs: int = 1,
) -> list[tuple[Run, str]]:
    """Train the runs that are not finished; interrupted ones go on where they were.

    Args:
        runs: What to train.
        everything: All runs of the study, from which times are estimated.
        ledger: Where times and failures are noted.
        out: The folder of all studies; only one command works there at a time.
        say: Called with a line of text per run.
        after_each: Called when a run has ended.
        jobs: Runs at work at a time; each has its share of the cores.

    Returns:
        The runs that failed, with their reasons.

    Raises:
        StudyInterrupted: Ctrl-C or SIGTERM; the same command goes on.
        StorageError: Another command is at work there, or the disk cannot be written.
    """
    failed: list[tuple[Run, str]] = []
    waiting = deque(run for run in runs if state_of(run)[0] != FINISHED)
    children: list[_Child] = []
    ended = len(runs) - len(waiting)

    def left() -> str:
        return _time_left([*(child.run for child in children), *waiting], everything, ledger, jobs)

    def end(run: Run, seconds: float, reason: str | None) -> None:
        nonlocal ended
        ended += 1
        if reason is not None:
            failed.append((run, reason))
        outcome = duration(seconds) if reason is None else f"failed: {reason}"
        bar.write(say, f"{ended} of {len(runs)}: {run.name}: {outcome}{left()}")
        after_each()

    with only_one(out) as lock, Interrupts() as interrupts, _Bar(len(runs), ended) as bar:
        try:
            while waiting or children:
                while waiting and len(children) < jobs:
                    run = waiting.popleft()
                    state, detail = state_of(run)
                    if state == OTHER:
                        ledger.note(run, 0.0, detail)
                        end(run, 0.0, detail)
                    else:
                        interrupts.hold()
                        children.append(_Child(run, lock, jobs, anew=state == NEW))
                        interrupts.release()
                bar.show(f"{', '.join(child.run.name for child in children)}{left()}")
                for child in _some_ended(children):
                    children.remove(child)
                    end(child.run, child.seconds, child.note(ledger))
        except KeyboardInterrupt:
            interrupts.hold()
            if not children:
                raise
            _stop(children, ledger)
            names = ", ".join(child.run.name for child in children)
            raise StudyInterrupted(f"stopped in {names}; the same command goes on there") from None
    return failed


def _time_left(waiting: Sequence[Run], everything: Sequence[Run], ledger: Ledger, jobs: int) -> str:
    """Say how long the rest takes, if anything is known about it."""
    seconds = [expected_seconds(run, everything, ledger) for run in waiting]
    known = [value for value in seconds if value is not None]
    side_by_side = min(jobs, len(known))
    return f", about {duration(sum(known) / side_by_side)} left" if known and len(known) == len(seconds) else ""


class _Child:
    """One run in a process of its own, from its start on.

    Args:
        run: What it trains.
        lock: Handle of the locked folder. The child holds it, too: if we are killed, nobody starts the same run while
            it is still at work.
        jobs: How many run side by side.
        anew: It begins; else it goes on.
    """

    def __init__(self, run: Run, lock: int, jobs: int, anew: bool):
        self.run, self.anew = run, anew
        recipe = run.folder.with_name(f"{run.folder.name}.yaml")
        self.log = run.folder.with_name(f"{run.folder.name}.log")
        atomic_write(recipe, dump_recipe(run.recipe))
        command = [sys.executable, "-m", "mmretrieval.cli.main", "train", str(recipe), "--resume"]
        threads = {"OMP_NUM_THREADS": str(max(1, cores() // jobs))} if jobs > 1 else {}
        self.started = time.monotonic()
        with open(self.log, "ab") as sink:
            self.begun = sink.tell()
            # in a session of its own Ctrl-C reaches the child once, by us: a second one would cost its checkpoint
            self.process = subprocess.Popen(
                command,
                stdout=sink,
                stderr=sink,
                stdin=subprocess.DEVNULL,
                env=os.environ | threads,
                start_new_session=True,
                pass_fds=(lock,),
            )

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def note(self, ledger: Ledger, interrupted: bool = False) -> str | None:
        """Note how the ended process did; return why it failed, or None."""
        code = self.process.returncode
        done = code == 0 and (self.run.folder / "report.json").is_file()
        failure = None if done or interrupted else _reason(code, self.log, self.begun)
        ledger.note(self.run, self.seconds, failure, finished=done, anew=self.anew)
        return failure


def _some_ended(children: Sequence[_Child]) -> list[_Child]:
    """Wait up to a second; return the children that have ended."""
    if children:
        with suppress(subprocess.TimeoutExpired):
            children[0].process.wait(timeout=1)
    return [child for child in children if child.process.poll() is not None]


def _stop(children: Sequence[_Child], ledger: Ledger) -> None:
    """Pass Ctrl-C on and wait until all have saved."""
    for child in children:
        with suppress(ProcessLookupError):
            child.process.send_signal(signal.SIGINT)
    for child in children:
        child.process.wait()
        child.note(ledger, interrupted=True)


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
def only_one(out: Path) -> Iterator[int]:
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
    try:
        yield handle
    finally:
        os.close(handle)


class _Bar:
    """Runs done and time left; quiet when the output is not a terminal."""

    def __init__(self, total: int, done: int):
        from tqdm import tqdm

        form = "{n_fmt}/{total_fmt} runs |{bar}| {elapsed}{postfix}"
        self.tqdm = tqdm(total=total, initial=done, disable=None, bar_format=form)

    def show(self, text: str) -> None:
        self.tqdm.set_postfix_str(text)

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
