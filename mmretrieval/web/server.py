"""The server process: a port, a service behind a gate, and an end without loose ends."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from mmretrieval.errors import MMRetrievalError
from mmretrieval.web.app import create_app
from mmretrieval.web.gate import HEADER_BYTES, Gate, own_names
from mmretrieval.web.service import Service
from mmretrieval.web.serving import Serving

if TYPE_CHECKING:
    from mmretrieval.search.milvus import Milvus

CONNECTIONS = 512
TURN = 0.0005
"""Seconds after which a thread that computes lets the one that talks to clients go on; a tenth of what is usual."""

GRACE = 3
"""Seconds in which requests may end after Ctrl-C."""

logger = logging.getLogger("mmretrieval.web")


def bind(host: str, port: int) -> socket.socket:
    """Take a port; nobody can connect to it before it is served.

    Raises:
        MMRetrievalError: It is taken, or not ours to take.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError):
        raise _no_address(host) from None
    taken = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
    except OSError as error:
        taken.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise _no_address(host) from None
        reason = (error.strerror or str(error)).lower()
        raise MMRetrievalError(f"port {port} on {host} cannot be used ({reason}): choose another with --port") from None
    return taken


def _no_address(host: str) -> MMRetrievalError:
    return MMRetrievalError(f"there is no address '{host}' on this machine: give --host 127.0.0.1")


def run(
    taken: socket.socket,
    folder: Path,
    model: Path | None,
    token: str | None,
    names: Iterable[str],
    ready: Callable[[], Any],
    milvus: Milvus | None = None,
) -> None:
    """Serve a collection until Ctrl-C.

    Args:
        taken: The port.
        folder: The collection.
        model: Where its model lies, if not where it was.
        token: What clients have to know.
        names: Names of this server besides those of this machine.
        ready: Called when the first request can be answered.
        milvus: Where to look for the nearest moments instead of in the collection's own index.

    Raises:
        MMRetrievalError: As ``Serving.open``.
    """
    import torch

    torch.set_num_threads(1)  # queries are the parallelism
    sys.setswitchinterval(TURN)
    before = signal.signal(signal.SIGTERM, _interrupt)
    service = None
    try:
        service = Service(Serving.open(folder, model, milvus=milvus))
        service.start()
        host = taken.getsockname()[0]
        app = Gate(create_app(service), token, {*own_names(host), *names})
        server = Announcing(configure(app), ready)
        with suppress(KeyboardInterrupt):
            server.run(sockets=[taken])
    finally:
        if service is not None:
            service.close()
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: Any) -> None:
    """End as on Ctrl-C: nothing is left behind."""
    raise KeyboardInterrupt


def configure(app: Any) -> uvicorn.Config:
    """Return how an application is served: quiet, with limits, and no word about what serves it."""
    return uvicorn.Config(
        app,
        interface="asgi3",
        http="h11",
        ws="none",
        loop="asyncio",
        lifespan="on",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=HEADER_BYTES,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE,
    )


class Announcing(uvicorn.Server):
    """A server that says when it can be reached."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], Any]):
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if not self.should_exit:
            self._ready()
