"""How far a build is, on a terminal: a bar by bytes, as videos differ in length, with rates and failures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"


@contextmanager
def count_up(title: str, unit: str, total: int, shown: bool) -> Iterator[Callable[[], Any]]:
    """Show a bar that each call moves on by one; quiet when not asked for or not on a terminal."""
    from tqdm import tqdm

    with tqdm(total=total, desc=title, unit=unit, disable=None if shown else True) as bar:
        yield bar.update


class Progress:
    """The bar of the embedding itself; a context manager.

    Args:
        videos: How many are to come.
        size: Their bytes.
        shown: Whether to show anything; on a terminal alone.
    """

    def __init__(self, videos: int, size: int, shown: bool):
        self._videos, self._size, self._shown = videos, size, shown
        self._finished = self._moments = self._failures = 0
        self._begin = time.monotonic()

    def __enter__(self) -> Progress:
        from tqdm import tqdm

        disable = None if self._shown else True
        self._bar = tqdm(total=self._size, desc="embedding", bar_format=BAR, disable=disable)
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.close()

    def embedded(self, moments: int) -> None:
        """So many more moments are embedded."""
        self._moments += moments
        self._say()

    def finished(self, size: int, failures: int) -> None:
        """Another video of ``size`` bytes is finished, with so many failures."""
        self._finished += 1
        self._failures += failures
        self._bar.update(size)
        self._say()

    def __str__(self) -> str:
        seconds = max(time.monotonic() - self._begin, 1e-9)
        rates = f"{self._finished / seconds:.1f} videos/s, {self._moments / seconds:.1f} moments/s"
        failures = f", {self._failures} set aside" if self._failures else ""
        return f"{self._finished} of {self._videos} videos, {rates}{failures}"

    def _say(self) -> None:
        self._bar.set_postfix_str(str(self))
