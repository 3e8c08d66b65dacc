"""Serves the built page: its files, and its first document for every address of the page."""

import mimetypes
import re
from asyncio import to_thread
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs, quote

from litestar import Request, Response, get
from litestar.datastructures import State

from runlore.core.run import RESERVED_OWNERS
from runlore.errors import NotFoundError

PAGE_FOLDER = Path(__file__).parent / "page"

_FOREVER = "public, max-age=31536000, immutable"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_EARLY_PROJECTS = ("/api/v1/projects",)
_PAGES = frozenset(("settings",))
_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "same-origin",
}
# The look of the page, whose files are not there or not for this browser yet.
_HEAD = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>Runlore</title>"
    "<meta name=viewport content='width=device-width,initial-scale=1'><style>"
    ":root{color-scheme:light dark;--paper:#fff;--ground:#f8f8f6;--line:#d3d3cd;--text:#1d1e20;"
    "--text-2:#62656a;--accent:#0b766f;--danger:#b3261e}"
    "@media(prefers-color-scheme:dark){:root{--paper:#141517;--ground:#0f1011;--line:#383b41;"
    "--text:#e9e9e6;--text-2:#a0a3a8;--accent:#4fc7bd;--danger:#ff8a7d}}"
    "body{margin:0;padding:16vh 16px 0;background:var(--ground);color:var(--text-2);"
    "font:14px/1.5 'Inter Variable',Inter,system-ui,sans-serif}"
    "main{max-width:26rem;margin:auto;padding:24px;background:var(--paper);"
    "border:1px solid var(--line);border-radius:8px}"
    "h1{margin:0 0 4px;color:var(--text);font-size:20px;font-weight:600}p{margin:0}"
    ".wrong{color:var(--danger)}form{display:flex;gap:8px;margin:18px 0 0}"
    "code,input{font-family:ui-monospace,monospace;font-size:13px}"
    "input{flex:1;min-width:0;padding:7px 9px;color:var(--text);background:var(--ground);"
    "border:1px solid var(--line);border-radius:5px}"
    "button{padding:7px 14px;font:inherit;font-weight:500;color:var(--paper);"
    "background:var(--accent);border:0;border-radius:5px;cursor:pointer}"
    ":focus-visible{outline:2px solid var(--accent);outline-offset:1px}</style><main>"
)


class PageFiles:
    """The files of the built page, read from their folder when first asked for."""

    def __init__(self, folder: Path, *, prefix: str = "") -> None:
        """Show a folder; `prefix` is the path below which browsers see the server, or empty."""
        self._folder = folder
        self._prefix = prefix

    def document(self, early: Sequence[str] = ()) -> bytes | None:
        """Return the first document, None without one: it names its files from the root on.

        Args:
            early: addresses of the API that the browser fetches before the page's script asks.
        """
        index = self.find("index.html")
        if index is None:
            return None
        # Behind the script in the document: that one takes the connection that stands already.
        links = "".join(
            f'<link rel="preload" as="fetch" crossorigin href=".{path}">' for path in early
        )
        body = index.read_bytes().replace(b"</head>", f"{links}</head>".encode(), 1)
        return body.replace(b'="./', f'="{quote(self._prefix)}/'.encode())

    def find(self, path: str) -> Path | None:
        """Return the file that a path names, or None; nothing outside the folder is found."""
        root = self._folder.resolve()
        file = (root / path).resolve()
        return file if file.is_relative_to(root) and file.is_file() else None


@get("/", include_in_schema=False)
async def show_first_page(page: PageFiles) -> Response[bytes]:
    """Answer with the page."""
    return await to_thread(_document, page, _EARLY_PROJECTS)


@get("/{path:path}", include_in_schema=False)
async def show_page(
    page: PageFiles, path: str, request: Request[object, object, State]
) -> Response[bytes]:
    """Answer with a file of the page, or with the page itself for its own addresses."""
    name = path.strip("/")
    first = name.partition("/")[0]
    if first in RESERVED_OWNERS - _PAGES - {"assets"}:
        raise NotFoundError(
            f"there is nothing at '/{name}'; /api/openapi.json lists what there is"
        )
    file = await to_thread(page.find, name)
    if file is not None:
        caching = _FOREVER if first == "assets" else "no-cache"
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        return _file(await to_thread(file.read_bytes), kind, caching)
    if first == "assets":
        raise NotFoundError(f"the page has no file '/{name}'; reload the page")
    return await to_thread(_document, page, early_questions(name, request.url.query))


def early_questions(name: str, query: str) -> tuple[str, ...]:
    """Return what the page at an address asks for first, so that a browser asks at once.

    The page itself would ask when its script has come and run, some round trips later. A search
    asks for other runs; what the page does not ask for as it stands here is asked for in vain.
    """
    parts = name.split("/")
    if not all(_NAME.fullmatch(part) for part in parts):
        return ()
    match parts:
        case [owner, project]:
            keys = f"/api/v1/projects/{owner}/{project}/keys"
            runs = f"/api/v1/projects/{owner}/{project}/runs?limit=200"
            is_searched = {"q", "state", "where", "sort"} & set(parse_qs(query))
            return (keys,) if is_searched else (keys, runs)
        case [owner, project, "runs", run]:
            path = f"/api/v1/projects/{owner}/{project}"
            return (f"{path}/runs/{run}/keys", f"{path}/runs/{run}")
        case _:
            return ()


def login_page(action: str, *, is_wrong: bool = False) -> bytes:
    """Return what a browser sees that has not logged in, or did so with a wrong key."""
    wrong = "<p class=wrong role=alert>That key is not this server's.</p>" if is_wrong else ""
    return (
        f"{_HEAD}<h1>This server asks for a key</h1>{wrong}<p>Whoever started it finds the key "
        f'in the file that <code>runlore serve</code> names.</p><form action="{quote(action)}">'
        "<input name=key type=password aria-label=Key placeholder=Key autocomplete="
        "current-password autofocus required><button>Log in</button></form></main></html>"
    ).encode()


def _unbuilt_page() -> bytes:
    return (
        f"{_HEAD}<h1>The server runs, the page is not built</h1><p>Runs are taken and kept, and "
        "<code>/api/v1</code> answers. In a clone, <code>./dev setup</code> builds the page; "
        "then reload. An installed package contains it: if it does not, install it again."
        "</p></main></html>"
    ).encode()


def _document(page: PageFiles, early: tuple[str, ...]) -> Response[bytes]:
    return _file(page.document(early) or _unbuilt_page(), "text/html", "no-cache")


def _file(body: bytes, kind: str, caching: str) -> Response[bytes]:
    return Response(body, media_type=kind, headers={"Cache-Control": caching, **SECURITY})
