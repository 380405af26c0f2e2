"""``mmretrieval serve``: a page to search a collection by keyboard and voice."""

from __future__ import annotations

import re
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from mmretrieval.cli.milvus import Backend, Token, Uri, backend_of

TOKEN = re.compile(r"[A-Za-z0-9._~-]{8,200}")


def serve(
    collection: Annotated[Path, typer.Argument(help="The folder of a collection.")],
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 lets others in, with a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes any that is free.")] = 8000,
    model: Annotated[Path | None, typer.Option(help="The model, if it has moved since indexing.")] = None,
    token: Annotated[
        str | None, typer.Option(envvar="MMRETRIEVAL_TOKEN", help="What clients have to know; made where it is needed.")
    ] = None,
    no_token: Annotated[bool, typer.Option("--no-token", help="Let everybody in who reaches this address.")] = False,
    name: Annotated[
        list[str] | None, typer.Option(help="Another name this server is reached by, e.g. behind a proxy.")
    ] = None,
    backend: Backend = "faiss",
    milvus: Uri = None,
    milvus_token: Token = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Search a collection in a browser, by keyboard and by voice; Ctrl-C ends it.

    Only this machine can reach the page unless --host says otherwise; others then need the token in the address that
    is printed. What is added to the collection or removed from it meanwhile is seen after a few seconds; with
    --backend milvus after it has been pushed.

    Example: mmretrieval serve indexes/holidays --open
    """
    from mmretrieval.errors import DependencyError, MMRetrievalError

    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise DependencyError(f"the page needs {error.name}: pip install 'mmretrieval[web]'") from None
    from mmretrieval.collection.manifest import read_manifest
    from mmretrieval.web.gate import is_loopback, make_token
    from mmretrieval.web.server import bind, run

    if token is not None and no_token:
        raise MMRetrievalError("--token and --no-token are two answers to one question: give one of them")
    if token is not None and not TOKEN.fullmatch(token):
        raise MMRetrievalError("--token is 8 to 200 letters, digits and . _ ~ -: give such a one, or none")
    if token is None and not no_token and not is_loopback(host):
        token = make_token()
    read_manifest(collection)
    server = backend_of(backend, milvus, milvus_token)
    taken = bind(host, port)
    address = _address(host, taken.getsockname()[1], token)

    def ready() -> None:
        typer.echo(f"{collection}: open {address}   (Ctrl-C ends it)")
        if open_page:
            import webbrowser

            webbrowser.open(address)

    with taken, closing(server) if server else nullcontext():
        run(taken, collection, model, token, name or [], ready, server)


def _address(host: str, port: int, token: str | None) -> str:
    """Return what to type into a browser."""
    shown = _own_address() if host in ("0.0.0.0", "::") else host
    shown = f"[{shown}]" if ":" in shown else shown
    return f"http://{shown}:{port}/" + (f"?token={token}" if token else "")


def _own_address() -> str:
    """Return the address under which others reach this machine: in numbers, for not every network knows its name."""
    import socket

    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as towards:
            towards.connect(("192.0.2.1", 9))  # an address for examples: it chooses the way out, nothing is sent
            return towards.getsockname()[0]
    except OSError:
        return socket.gethostname()
