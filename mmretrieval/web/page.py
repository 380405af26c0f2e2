"""The page: a few files that come with the package."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

from mmretrieval.web.problems import ProblemError

FOLDER = Path(__file__).parent / "page"
INDEX = "index.html"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json",
}
"""What a page is made of; nothing else is sent."""

router = APIRouter(include_in_schema=False)


@router.get("/")
@router.head("/")
def index(request: Request) -> Response:
    """Return the page."""
    return _file(request, INDEX)


@router.get("/page/{name}")
@router.head("/page/{name}")
def part(request: Request, name: str) -> Response:
    """Return a part of the page."""
    return _file(request, name)


def _file(request: Request, name: str) -> Response:
    names = {file.name: file for file in FOLDER.iterdir() if file.suffix in TYPES} if FOLDER.is_dir() else {}
    if name not in names:
        raise ProblemError(404, "there is nothing at this address")
    content = names[name].read_bytes()
    # asked for again each time, so that a new version of the package is a new page
    headers = {"Cache-Control": "no-cache", "ETag": f'"{hashlib.sha256(content).hexdigest()[:16]}"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(None, 304, headers)
    return Response(content, headers=headers, media_type=TYPES[names[name].suffix])
