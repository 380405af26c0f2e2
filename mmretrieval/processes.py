"""Worker processes: started so that neither threads here nor the script at the top get in their way."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.context import BaseContext, ForkServerContext, ForkServerProcess, SpawnContext, SpawnProcess
from pickle import PicklingError
from types import ModuleType

_STARTING = threading.RLock()


def worker_processes() -> BaseContext:
    """Return the way to start worker processes that is safe while threads run here.

    A child forked from a process with threads can wait forever for a lock that nobody there will open. Children of a
    fork server cannot, and start as fast, for it has imported what they need. Where there is none they are spawned.

    By itself Python would run the script at the top anew in each of these children, all of it where it lacks ``if
    __name__ == "__main__":``. Ours need nothing of it, and do so only where something they are given is defined there.

    None of them hears Ctrl-C: whoever started them decides what becomes of them.
    """
    if sys.platform != "linux":
        return _Spawn()
    context = _ForkServer()
    context.set_forkserver_preload(["mmretrieval.data.dataset"])
    return context


class _Apart:
    """A process that hears no Ctrl-C, and does not run the script of its parent if it can do without."""

    def start(self) -> None:
        with _unheard_interrupts():
            try:
                with _hidden_script():
                    super().start()
            except PicklingError:  # something it is given is defined in the script
                super().start()


class _ForkServerProcess(_Apart, ForkServerProcess):
    pass


class _SpawnProcess(_Apart, SpawnProcess):
    pass


class _ForkServer(ForkServerContext):
    Process = _ForkServerProcess


class _Spawn(SpawnContext):
    Process = _SpawnProcess


@contextmanager
def _hidden_script() -> Iterator[None]:
    """Let the module that children import first be one that is in no file."""
    with _STARTING:
        script = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = script


@contextmanager
def _unheard_interrupts() -> Iterator[None]:
    """Let what is started meanwhile, the fork server too, not hear Ctrl-C, not even before it could ignore it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # the first call undoes what the next line does
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
