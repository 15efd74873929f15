"""What every request passes before anything looks at it: host, origin, token, size, and time to arrive.

An ASGI middleware. It keeps pages of other sites from using a server on the visitor's own machine (by the
``Host`` and ``Origin`` headers), asks for the token if there is one, stops bodies that are too large or too
slow while they arrive, adds headers that keep the page to itself, and counts.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from motiongpt3.web.metrics import Metrics

COOKIE = "motiongpt3_token"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
OPEN_PATHS = frozenset({"/health", "/ready"})
GRADIO = "/gradio"

_PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True)
class Rules:
    """What the guard lets through.

    Attributes:
        hosts: names that the server answers to; empty for any.
        token: that clients must have, or None.
        body_bytes: of a request's body.
        upload_bytes: of the body of an upload.
        upload_paths: where uploads go.
        body_seconds: in which a body must arrive.
    """

    hosts: frozenset[str] = LOOPBACK
    token: str | None = None
    body_bytes: int = 2**17
    upload_bytes: int = 20 * 2**20
    upload_paths: tuple[str, ...] = ("/api/motions", "/api/convert", f"{GRADIO}/gradio_api/upload")
    body_seconds: float = 30.0


class _Refused(HTTPException):
    """A refusal; one that is raised while a body arrives passes through the app, which answers with it."""


class Guard:
    """The middleware.

    Args:
        app: what is guarded.
        rules: what passes.
        metrics: what counts.
    """

    def __init__(self, app: ASGIApp, rules: Rules, metrics: Metrics) -> None:
        self._app, self._rules, self._metrics = app, rules, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            # There are no websockets here.
            return
        began, status = time.monotonic(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *_added_headers(scope["path"])]}
            await send(message)

        try:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            self._check(scope, headers)
            await self._app(scope, self._bounded(scope, headers, receive), send_with_headers)
        except _Refused as refused:
            if not status:
                await _refuse(refused, send_with_headers)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route, str(status or 499)).inc()
            self._metrics.seconds.labels(route).observe(time.monotonic() - began)

    def _check(self, scope: Scope, headers: Mapping[str, str]) -> None:
        rules, host = self._rules, headers.get("host", "")
        if rules.hosts and _hostname(f"//{host}") not in rules.hosts:
            raise _Refused(421, f"this server does not answer to the name {host[:80]!r}")
        origin = headers.get("origin")
        if origin and scope["method"] not in ("GET", "HEAD") and urlsplit(origin).netloc != host:
            raise _Refused(403, "requests from pages of other sites are refused")
        if rules.token is None or scope["path"] in OPEN_PATHS:
            return
        asked = parse_qs(scope["query_string"].decode("latin-1"))
        (typed,) = asked.pop("token", [None])[:1]
        if scope["method"] == "GET" and scope["path"] == "/" and _equal(typed, rules.token):
            # Out of the address, so that it is not in the history or a shared link.
            cookie = f"{COOKIE}={rules.token}; HttpOnly; SameSite=Strict; Path=/"
            rest = urlencode(asked, doseq=True)
            raise _Refused(303, "", {"location": f"/?{rest}" if rest else "/", "set-cookie": cookie})
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if not any(_equal(held, rules.token) for held in (bearer, _cookie(headers.get("cookie", "")))):
            raise _Refused(
                401,
                "a token is needed: open the address the server printed, or send Authorization: Bearer",
                {"www-authenticate": "Bearer"},
            )

    def _bounded(self, scope: Scope, headers: Mapping[str, str], receive: Receive) -> Receive:
        """``receive`` that refuses a body while it arrives, once it is too large or too slow."""
        rules = self._rules
        upload = scope["path"].startswith(rules.upload_paths)
        most = rules.upload_bytes if upload else rules.body_bytes
        too_much = _Refused(
            413, f"too large: at most {most / 2**20:.3g} MiB are taken here", {"connection": "close"}
        )
        announced = headers.get("content-length", "0")
        if not announced.isdecimal() or int(announced) > most:
            raise too_much
        deadline, read, complete = time.monotonic() + rules.body_seconds, 0, False

        async def bounded() -> Message:
            nonlocal read, complete
            if complete:
                return await receive()
            try:
                async with asyncio.timeout(max(deadline - time.monotonic(), 0)):
                    message = await receive()
            except TimeoutError:
                raise _Refused(408, "the request took too long to arrive", {"connection": "close"}) from None
            read += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if read > most:
                raise too_much
            return message

        return bounded


def _added_headers(path: str) -> list[tuple[bytes, bytes]]:
    added = dict(_HEADERS)
    if not path.startswith(GRADIO):
        added["content-security-policy"] = _PAGE_POLICY
    return [(name.encode(), value.encode()) for name, value in added.items()]


async def _refuse(refused: _Refused, send: Send) -> None:
    body = json.dumps({"detail": refused.detail}).encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **(refused.headers or {}),
    }
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refused.status_code, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


def _hostname(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _cookie(header: str) -> str | None:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return None
    return found.value if found else None


def _equal(held: str | None, token: str) -> bool:
    return held is not None and hmac.compare_digest(held.encode("utf-8", "replace"), token.encode())
