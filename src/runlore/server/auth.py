"""The guard before all routes: which names, origins, content types and keys are let in."""

import base64
import binascii
import ipaddress
import re
import socket
from urllib.parse import urlsplit

import msgspec
from litestar.enums import HttpMethod, ScopeType
from litestar.types import (
    ASGIApp,
    HTTPDisconnectEvent,
    HTTPScope,
    Message,
    Receive,
    Scope,
    Send,
)

from runlore.server.page import SECURITY, login_page
from runlore.server.problems import MEDIA_TYPE, problem
from runlore.services.access import Access

COOKIE = "runlore_key"
WRITE_TYPES = ("application/json", "application/vnd.runlore.spool")

_LOOPBACK_NAMES = frozenset(("localhost", "127.0.0.1", "::1"))
_MAX_PATH = 4096
_TRICKS = re.compile(rb"%2f|%5c|%00|\\|\x00|(?:^|/)(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)
_NO_SNIFF = (b"x-content-type-options", b"nosniff")
_OPEN_PATHS = ("/healthz", "/login")


class Guard:
    """Lets in only what speaks to this server knowingly.

    A foreign page in the user's browser is kept out by `Host` (a name that its owner points at
    this machine), `Origin` and the content type of writes; other people by the key.
    """

    def __init__(self, app: ASGIApp, *, access: Access, public_url: str | None) -> None:
        self._app = app
        self._access = access
        self._hosts = set(_LOOPBACK_NAMES)
        self._public_origin: str | None = None
        self._prefix = prefix_of(public_url)
        if public_url is not None:
            public = urlsplit(public_url)
            self._hosts.add(public.hostname or "")
            self._public_origin = f"{public.scheme}://{public.netloc}".lower()
        self._machine = socket.gethostname().lower().partition(".")[0]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer why not."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        scope = self._without_prefix(scope)
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        is_for_key = refusal is None
        refusal = refusal or self._key_refusal(scope, headers)
        if refusal is None:
            if scope["method"] == HttpMethod.HEAD:
                scope = {**scope, "method": HttpMethod.GET}
                await _answer_head(self._app, scope, _unsniffed(send))
            else:
                await self._app(scope, receive, _unsniffed(send))
            return
        status, detail = refusal
        wants_page = "text/html" in headers.get(b"accept", "")
        if is_for_key and wants_page and not scope["path"].startswith("/api/"):
            # Also with the cookie of an earlier key: else its browser could not get in again.
            await _send(send, status, b"text/html; charset=utf-8", self._login_page())
            return
        body = msgspec.json.encode(problem(status, detail))
        await _send(send, status, MEDIA_TYPE.encode(), body)

    def _login_page(self) -> bytes:
        return login_page(f"{self._prefix}/login")

    def _without_prefix(self, scope: HTTPScope) -> HTTPScope:
        """Take off the prefix of the public address, where the proxy before us left it on."""
        path, raw_path = scope["path"], scope.get("raw_path") or b""
        begin = self._prefix.encode()
        if not begin or not f"{path}/".startswith(f"{self._prefix}/"):
            return scope
        if not raw_path.startswith(begin):
            return scope
        bare = {
            "path": path[len(self._prefix) :] or "/",
            "raw_path": raw_path[len(begin) :] or b"/",
        }
        return {**scope, **bare}  # type: ignore[typeddict-item]

    def _refusal(self, scope: HTTPScope, headers: dict[bytes, str]) -> tuple[int, str] | None:
        raw_path = scope.get("raw_path") or b""
        if len(raw_path) > _MAX_PATH:
            return 400, f"the path may have {_MAX_PATH} bytes, got {len(raw_path)}"
        if _TRICKS.search(raw_path):
            return 400, (
                "names in a path must be 1 to 128 letters, digits, '_', '.' or '-' and not '.' "
                f"or '..', got {raw_path[:200].decode('latin-1')!r}"
            )
        host = headers.get(b"host", "").lower()
        if sum(name == b"host" for name, _ in scope["headers"]) > 1:
            return 400, "a request must have one Host, got several"
        if not self._knows_host(host):
            return 403, (
                f"this server is not known as {host[:200]!r}; if that is its address, start it "
                "with --public-url http://…"
            )
        origin = headers.get(b"origin")
        if origin is not None and not self._is_own(origin.lower(), host, scope):
            return 403, f"pages of {origin[:200]!r} may not speak to this server"
        if scope["method"] in ("POST", "PUT", "PATCH"):
            given = headers.get(b"content-type", "").partition(";")[0].strip().lower()
            if given not in WRITE_TYPES:
                return 415, (
                    f"Content-Type must be {' or '.join(WRITE_TYPES)}, got {given[:80]!r}"
                )
        return None

    def _key_refusal(self, scope: HTTPScope, headers: dict[bytes, str]) -> tuple[int, str] | None:
        path = scope["path"]
        if self._access.is_open or path in _OPEN_PATHS or path.startswith("/assets/"):
            return None
        keys = _given_keys(headers)
        if any(self._access.admits(key) for key in keys):
            return None
        if keys:
            return 403, (
                "this key is not the server's; 'runlore serve' tells on its machine where the "
                "right one is kept"
            )
        return 401, (
            "this server asks for a key: set RUNLORE_API_KEY, or send "
            "'Authorization: Bearer <key>'; a browser logs in at /login?key=<key>"
        )

    def _knows_host(self, host: str) -> bool:
        name = _host_name(host)
        if name in self._hosts:
            return True
        # Without a key, other names and numbers would open this machine to its whole network.
        # With one, the name may be any that begins as this machine's does: asking the network
        # for the full one could take long.
        is_ours = name.partition(".")[0] == self._machine or _is_address(name)
        return is_ours and not self._access.is_open

    def _is_own(self, origin: str, host: str, scope: HTTPScope) -> bool:
        return origin in (f"{scope['scheme']}://{host}", self._public_origin)


def prefix_of(public_url: str | None) -> str:
    """Return the path below which others see this server, without a slash at its end."""
    return urlsplit(public_url or "").path.rstrip("/")


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _given_keys(headers: dict[bytes, str]) -> list[str]:
    """Return the keys that a request carries: bearer, password or cookie."""
    keys: list[str] = []
    scheme, _, value = headers.get(b"authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        keys.append(value.strip())
    elif scheme.lower() == "basic":
        try:
            text = base64.b64decode(value, validate=True).decode()
            keys.append(text.partition(":")[2])
        except (binascii.Error, UnicodeDecodeError):
            keys.append("")
    # By hand: the standard library gives up at the first odd cookie, and other servers of this
    # machine, whatever their port, share theirs with us.
    for cookie in headers.get(b"cookie", "").split(";"):
        name, _, value = cookie.strip().partition("=")
        if name == COOKIE:
            keys.append(value)
    return keys


async def _answer_head(app: ASGIApp, scope: HTTPScope, send: Send) -> None:
    """Answer as GET would be, without the body; a stream is ended before it is made."""

    async def gone() -> HTTPDisconnectEvent:
        return {"type": "http.disconnect"}

    async def headers_alone(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)

    await app(scope, gone, headers_alone)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _unsniffed(send: Send) -> Send:
    """Tell browsers to believe the content type of every answer."""

    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], _NO_SNIFF]
        await send(message)

    return told


async def _send(send: Send, status: int, media_type: bytes, body: bytes) -> None:
    headers = [
        (b"content-type", media_type),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        *((name.lower().encode(), value.encode()) for name, value in SECURITY.items()),
        _NO_SNIFF,
    ]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
