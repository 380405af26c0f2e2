"""Ctrl-C and SIGTERM while processes of ours are at work: none of them may be left behind."""

from __future__ import annotations

import signal


class Interrupts:
    """Turns Ctrl-C and SIGTERM into ``KeyboardInterrupt``, but not while it is told to hold them; use it in ``with``.

    A process that is being started belongs to nobody yet, and an interruption at that instant would leave it behind.
    Where signals belong to somebody else, outside of the main thread, nothing changes.
    """

    def __enter__(self) -> Interrupts:
        self._holding = self._asked = False
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            for number in self._before:
                signal.signal(number, self._handle)
        except ValueError:  # not in the main thread
            self._before = {}
        return self

    def __exit__(self, *exc) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def hold(self) -> None:
        """Remember from now on that somebody asked to stop, and let nothing be interrupted."""
        self._holding = True

    def release(self) -> None:
        """Interrupt again.

        Raises:
            KeyboardInterrupt: Somebody asked meanwhile.
        """
        self._holding = False
        if self._asked:
            raise KeyboardInterrupt

    def _handle(self, number, frame) -> None:
        # started in the background, a command may have Ctrl-C ignored. It stays so, but children do not inherit it as
        # they would without a handler: they have to hear it from us
        if self._before.get(number) is signal.SIG_IGN:
            return
        self._asked = True
        if not self._holding:
            raise KeyboardInterrupt
