"""The HTTP interface: what each address takes and gives. ``/openapi.json`` is made of this file and of ``schema``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from mmretrieval.errors import QueryError
from mmretrieval.web import page, problems, schema, showing
from mmretrieval.web.files import media
from mmretrieval.web.files.thumbnails import send_bytes
from mmretrieval.web.problems import ProblemError
from mmretrieval.web.service import Service
from mmretrieval.web.serving import Generation

BODY = {"schema": {"type": "string", "format": "binary"}}
KINDS = {
    400: "The question cannot be answered as it is.",
    401: "A token is needed.",
    403: "A page of another site asks.",
    404: "There is no such thing.",
    405: "The address does not take that method.",
    408: "The upload took too long.",
    410: "The file has changed since it was indexed.",
    413: "The upload is too large.",
    415: "The upload is of no type that is taken.",
    416: "The range lies outside of the file.",
    421: "The server has another name.",
    422: "The upload cannot be used: silent, too long, damaged, nothing in it.",
    431: "Address and headers are too long.",
    500: "A bug.",
    503: "Too many wait; `Retry-After` says how long.",
}

router = APIRouter()


def problem_answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the problems that an address may answer with, besides those that all may."""
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": KINDS[status], "content": content} for status in (*statuses, 401, 403, 421, 431, 500)
    }


def file_answers(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Describe the answers of an address that sends a file."""
    content = dict.fromkeys(kinds, BODY)
    return {
        200: {"description": "The whole file.", "content": content},
        206: {"description": "The range that was asked for.", "content": content},
        304: {"description": "It is what the client has already."},
    }


def the_service(request: Request) -> Service:
    """Return what answers."""
    return request.app.state.service


The = Annotated[Service, Depends(the_service)]


@router.get(
    "/api/collection", response_model=schema.CollectionFacts, responses=problem_answers(), operation_id="collection"
)
async def collection(service: The) -> Response:
    """What is searched: numbers, what can be asked with, folders and tags to filter by, limits of uploads."""
    facts = await run_in_threadpool(showing.show_collection, service.generation, service.limits)
    return as_json(facts)


@router.get("/api/search", response_model=schema.Page, responses=problem_answers(400, 503), operation_id="search")
async def search(service: The, asked: Annotated[schema.SearchParameters, Query()]) -> Response:
    """Moments that answer a typed caption, are like a moment, or both."""
    return as_json(await service.search(asked))


@router.post(
    "/api/search",
    response_model=schema.Page,
    responses=problem_answers(400, 408, 413, 415, 422, 503),
    operation_id="search_by_upload",
    openapi_extra={"requestBody": {"required": True, "content": {"audio/*": BODY, "video/*": BODY}}},
)
async def search_by_upload(
    service: The, request: Request, asked: Annotated[schema.UploadParameters, Query()]
) -> Response:
    """Moments that answer a spoken caption or are like an example clip: the raw file is the body.

    It is mixed with the other queries, if there are any. Nothing is kept: the next page sends it again.
    """
    if asked.kind not in service.serving.model.modalities:
        raise ProblemError(400, f"this collection cannot be asked by {asked.kind}: its model has none")
    uploaded = await service.uploads.take(request, asked.kind)
    return as_json(await service.search(asked, **{asked.kind: uploaded}))


@router.get(
    "/api/moments/{moment:path}", response_model=schema.Moment, responses=problem_answers(404), operation_id="moment"
)
async def moment(service: The, moment: str) -> Response:
    """One moment, by its id: what a direct link to a hit shows."""
    generation = service.generation
    return as_json(showing.show_moment(row_of(generation, moment), generation, service.playing))


@router.get(
    "/api/set-aside", response_model=list[schema.SetAside], responses=problem_answers(), operation_id="set_aside"
)
async def set_aside(service: The) -> list[schema.SetAside]:
    """What could not be indexed, and why."""
    generation = service.generation
    records = generation.collection.manifest.quarantined
    return [showing.show_set_aside(record, generation.gallery) for record in records]


@router.get(
    "/media/{video}",
    response_class=Response,
    responses=file_answers("video/*", "application/octet-stream") | problem_answers(404, 410, 416),
    operation_id="media",
)
@router.head("/media/{video}", include_in_schema=False)
async def send_media(service: The, request: Request, video: str) -> Response:
    """The file that a moment is from; takes range requests."""
    generation = service.generation
    row = generation.gallery.first_row(video)
    if row is None:
        raise ProblemError(404, f"there is no video '{video}' in this collection")
    found = generation.moment(row)
    opened = await run_in_threadpool(service.shelf.open, found, generation.gallery.roots)
    name = generation.gallery.name_of(row).rpartition("/")[2]
    return media.send(opened, request.headers, request.method == "HEAD", name, video)


@router.get(
    "/thumbnails/{moment:path}.jpg",
    response_class=Response,
    responses=file_answers("image/jpeg") | problem_answers(404, 410, 416, 422, 503),
    operation_id="thumbnail",
)
@router.head("/thumbnails/{moment:path}.jpg", include_in_schema=False)
async def thumbnail(service: The, request: Request, moment: str) -> Response:
    """A picture from the middle of a moment."""
    return await made(service.studio.thumbnail, "image/jpeg", service.generation, moment, request)


@router.get(
    "/clips/{moment:path}.mp4",
    response_class=Response,
    responses=file_answers("video/mp4") | problem_answers(404, 410, 416, 422, 503),
    operation_id="clip",
)
@router.head("/clips/{moment:path}.mp4", include_in_schema=False)
async def clip(service: The, request: Request, moment: str) -> Response:
    """A moment alone, as MP4 (H.264, AAC) that every browser plays."""
    return await made(service.studio.film, "video/mp4", service.generation, moment, request)


async def made(make: Any, kind: str, generation: Generation, moment: str, request: Request) -> Response:
    """Send what ``make`` makes of a moment, or has made before."""
    found = generation.moment(row_of(generation, moment))
    content, tag = await make(found, generation.gallery.roots)
    return send_bytes(content, kind, tag, request.headers)


def row_of(generation: Generation, moment: str) -> int:
    """Return the row of a moment.

    Raises:
        ProblemError: There is none.
    """
    try:
        return generation.gallery.row_of(moment)
    except QueryError as error:
        raise ProblemError(404, str(error)) from None


def as_json(answer: BaseModel) -> Response:
    """Return an answer that is right already; checking it again would take longer than making it."""
    return Response(answer.model_dump_json(), headers={"Cache-Control": "no-store"}, media_type="application/json")


def create_app(service: Service) -> FastAPI:
    """Return the application; put a ``Gate`` in front of it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    from mmretrieval import __version__

    app = FastAPI(
        title="mmretrieval",
        summary="Search video by what people say.",
        description="Errors are problems (RFC 9457), one line each, at every address.",
        version=__version__,
        docs_url=None,  # these two load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.service = service
    app.include_router(router)
    app.include_router(page.router)
    problems.install(app)
    app.openapi = lambda: _complete(app)  # type: ignore[method-assign]
    return app


def _complete(app: FastAPI) -> dict[str, Any]:
    """Return the description of the interface, with problems in place of FastAPI's own errors."""
    described = FastAPI.openapi(app)
    schemas = described["components"]["schemas"]
    schemas["Problem"] = schema.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for address in described["paths"].values():
        for operation in address.values():
            own = operation["responses"].get("422", {})
            if "HTTPValidationError" in str(own):
                del operation["responses"]["422"]
    return described
