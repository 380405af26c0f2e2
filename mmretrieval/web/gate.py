"""Who may ask: the names this server answers to, other sites kept out, the token, and what browsers are told."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import socket
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response

from mmretrieval.web.problems import problem

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "media-src": "'self' blob:",
    "connect-src": "'self'",
    "manifest-src": "'self'",
    "font-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=(), display-capture=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
METHODS = ("GET", "HEAD", "POST")
HEADER_BYTES = 16 << 10
"""Of an address and all headers; what parses HTTP limits only what comes in several pieces."""

MONTH = 30 * 24 * 3600


class Gate:
    """Lets requests through to an application, or not; every answer leaves with the headers that keep it safe.

    Args:
        app: The application.
        token: What a client has to know; None asks for nothing.
        names: Host names this server answers to, besides addresses in numbers. A page of another site that makes its
            own name point here (DNS rebinding) comes with that name, and is refused.
    """

    def __init__(self, app: Any, token: str | None = None, names: Iterable[str] = ("localhost",)):
        self.app, self.token = app, token
        self.names = {name.lower().rstrip(".") for name in names}
        # the port is no part of where a cookie belongs: two servers on a machine must not take each other's
        self.cookie = f"mmretrieval-{hashlib.sha256((token or '').encode()).hexdigest()[:8]}"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_safely(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        answer = self._answer(scope)
        await (self.app if answer is None else answer)(scope, receive, send_safely)

    def _answer(self, scope: Any) -> Response | None:
        """Return the answer that keeps a request out, or None."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if _size(scope) > HEADER_BYTES:
            return problem(431, f"address and headers may have {HEADER_BYTES >> 10} KB: ask for less at a time")
        if not self.knows(host):
            return problem(421, f"this server does not answer to the name '{host}': say --name to 'mmretrieval serve'")
        if scope["method"] not in METHODS:
            return problem(405, "this address does not take that method", {"Allow": ", ".join(METHODS)})
        if self._is_foreign(scope, headers, host):
            return problem(403, "a page of another site may not ask here: open the address of this server itself")
        if self.token is not None:
            return self._check_token(scope, headers)
        return None

    def knows(self, host: str) -> bool:
        """Return whether a ``Host`` header names this server: a name it has, or an address in numbers."""
        name = _host_name(host)
        return name is not None and (_is_address(name) or name in self.names)

    def _is_foreign(self, scope: Any, headers: Headers, host: str) -> bool:
        """Return whether a page of another site asks; that somebody follows a link to here is fine."""
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if scope["method"] == "POST":
            other = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
            return other or site not in (None, "same-origin", "none")
        followed = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        return site not in (None, "same-origin", "none") and not followed

    def _check_token(self, scope: Any, headers: Headers) -> Response | None:
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == "token"]
        if given and scope["path"] == "/" and scope["method"] == "GET":
            if not self._is_right(given[0]):
                return _no_token("the token in this address is not that of this server")
            rest = urlencode([(name, value) for name, value in query if name != "token"])
            cookie = f"{self.cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/; Max-Age={MONTH}"
            where = f"/?{rest}" if rest else "/"
            return Response(None, 303, {"Location": where, "Set-Cookie": cookie, "Cache-Control": "no-store"})
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_right(bearer.strip()):
            return None
        if self._is_right(_cookie(headers.get("cookie", ""), self.cookie)):
            return None
        return _no_token("a token is needed: open the address that 'mmretrieval serve' printed")

    def _is_right(self, given: str) -> bool:
        # digests, so that neither letters nor length show in the time this takes
        return hmac.compare_digest(
            hashlib.sha256(given.encode("utf-8", "surrogateescape")).digest(),
            hashlib.sha256((self.token or "").encode()).digest(),
        )


def make_token() -> str:
    """Return a token that nobody guesses."""
    return secrets.token_urlsafe(24)


def own_names(host: str) -> set[str]:
    """Return the names by which a server that listens on ``host`` is reached."""
    names = {"localhost"}
    if not is_loopback(host):
        machine = socket.gethostname().lower()
        names |= {machine, f"{machine}.local"}
    return names | ({host.lower()} if host else set())


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a server that listens on ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _no_token(detail: str) -> Response:
    return problem(401, detail, {"WWW-Authenticate": 'Bearer realm="mmretrieval"'})


def _host_name(host: str) -> str | None:
    """Return the name in a ``Host`` header, or None if it is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    plain = not (parts.path or parts.query or parts.fragment or parts.username)
    return (parts.hostname or "").rstrip(".") or None if plain else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _size(scope: Any) -> int:
    return (
        len(scope["query_string"])
        + len(scope["path"])
        + sum(len(name) + len(value) for name, value in scope["headers"])
    )


def _cookie(header: str, name: str) -> str:
    try:
        cookies = SimpleCookie(header)
    except CookieError:
        return ""
    return cookies[name].value if name in cookies else ""
