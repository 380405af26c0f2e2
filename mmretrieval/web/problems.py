"""Errors as people and programs get them: ``application/problem+json`` (RFC 9457), a line of detail, never a trace."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from mmretrieval.errors import MediaError, MMRetrievalError, QueryError
from mmretrieval.web.schema import Problem

MEDIA_TYPE = "application/problem+json"
LONGEST = 500
"""Letters of a detail at most: it may repeat what was sent."""

logger = logging.getLogger("mmretrieval.web")


class ProblemError(Exception):
    """A request that is answered by a problem.

    Args:
        status: The HTTP status.
        detail: What was got, what is allowed, what to do, in one line.
        headers: Headers of the answer, such as ``Retry-After``.
    """

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None):
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """Return the answer that says what is wrong."""
    line = " ".join(detail.split())
    line = line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=line).model_dump_json()
    return Response(body, status, {"Cache-Control": "no-store", **(headers or {})}, MEDIA_TYPE)


def explain(error: MMRetrievalError) -> ProblemError:
    """Return the problem that an error of the package is: what the person can mend is theirs, the rest is ours."""
    if isinstance(error, QueryError):
        return ProblemError(400, str(error))
    if isinstance(error, MediaError):
        return ProblemError(422, str(error))
    logger.error("%s", error)
    return ProblemError(500, OURS)


OURS = "something went wrong in the server: its log says what"


def install(app: FastAPI) -> None:
    """Make every error of an application a problem."""

    async def known(request: Request, error: ProblemError) -> Response:
        return problem(error.status, error.detail, error.headers)

    async def ours(request: Request, error: MMRetrievalError) -> Response:
        return await known(request, explain(error))

    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return problem(400, _first(error.errors()))

    async def http(request: Request, error: HTTPException) -> Response:
        details = {404: "there is nothing at this address", 405: "this address does not take that method"}
        return problem(error.status_code, details.get(error.status_code, str(error.detail)), error.headers)

    async def bug(request: Request, error: Exception) -> Response:
        return problem(500, OURS)

    app.add_exception_handler(ProblemError, known)
    app.add_exception_handler(MMRetrievalError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, bug)


def _first(errors: Any) -> str:
    """Say in one line what is wrong with the first parameter that is."""
    first = errors[0]
    name = str(first["loc"][1]) if len(first["loc"]) > 1 else "the request"
    if first["type"] == "extra_forbidden":
        return f"there is no parameter '{name}': /openapi.json lists those there are"
    message = first["msg"].removeprefix("Value error, ")
    got = first.get("input")
    return f"{name}: {message[:1].lower()}{message[1:]}" + (f", got '{got}'" if isinstance(got, str) else "")
