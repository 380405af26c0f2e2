"""Questions wait here and are answered in groups: what comes at the same time is encoded together."""

from __future__ import annotations

import asyncio
import queue
import threading
from concurrent.futures import Future
from typing import NamedTuple

from mmretrieval.errors import MMRetrievalError
from mmretrieval.search.answer import Answer
from mmretrieval.search.request import Request
from mmretrieval.search.searcher import Searcher
from mmretrieval.web.problems import ProblemError

TOGETHER = 8
"""Questions in a group at most: one of them waits for all."""

MOST = 256
"""Questions that may wait."""


class _Question(NamedTuple):
    searcher: Searcher
    request: Request
    answer: Future


class Asker:
    """Answers questions, each kind in a thread of its own.

    More threads would take turns at the interpreter: two answered a quarter less than one.
    """

    def __init__(self) -> None:
        # a typed question shall not wait for a spoken one, which takes longer
        self._typed, self._other = Lane("typed"), Lane("other")

    async def ask(self, searcher: Searcher, request: Request) -> Answer:
        """Return the answer of a searcher to a request.

        Raises:
            MMRetrievalError: As ``Searcher.answer``.
            ProblemError: Too many questions wait (503).
        """
        lane = self._typed if request.speech is None and request.video is None else self._other
        return await asyncio.wrap_future(lane.put(searcher, request))

    def close(self) -> None:
        """End the threads, after what they are answering."""
        self._typed.close()
        self._other.close()


class Lane:
    """A thread that answers what waits for it, several questions together.

    Args:
        name: What it is called.
    """

    def __init__(self, name: str):
        self._waiting: queue.SimpleQueue[_Question | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name=f"asker-{name}", daemon=True)
        self._thread.start()

    def put(self, searcher: Searcher, request: Request) -> Future:
        """Have a question wait, and return its future answer.

        Raises:
            ProblemError: Too many wait.
        """
        if self._waiting.qsize() >= MOST:
            raise ProblemError(503, "too many questions wait: try again in a moment", {"Retry-After": "2"})
        question = _Question(searcher, request, Future())
        self._waiting.put(question)
        return question.answer

    def close(self) -> None:
        """End, after what is being answered."""
        self._waiting.put(None)
        self._thread.join()

    def _serve(self) -> None:
        while (first := self._waiting.get()) is not None:
            self._answer(self._with_others(first))
            del first  # who waits must not hold on to a generation

    def _with_others(self, first: _Question) -> list[_Question]:
        """Return a question and those that wait to be asked of the same searcher."""
        group = [first]
        while len(group) < TOGETHER:
            try:
                after = self._waiting.get_nowait()
            except queue.Empty:
                break
            if after is None or after.searcher is not first.searcher:
                self._waiting.put(after)  # for the next round
                break
            group.append(after)
        return group

    def _answer(self, group: list[_Question]) -> None:
        group = [question for question in group if question.answer.set_running_or_notify_cancel()]
        try:
            answers = group[0].searcher.answers([question.request for question in group]) if group else []
        except Exception as error:
            if len(group) == 1:
                group[0].answer.set_exception(error)
                return
            answers = [_alone(question) for question in group]  # one of them is to blame
        for question, answer in zip(group, answers):
            if isinstance(answer, Exception):
                question.answer.set_exception(answer)
            else:
                question.answer.set_result(answer)


def _alone(question: _Question) -> Answer | MMRetrievalError | Exception:
    try:
        return question.searcher.answers([question.request])[0]
    except Exception as error:
        return error
