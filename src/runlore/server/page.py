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
_STYLE = (
    "<style>:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;"
    "max-width:40rem;margin:15vh auto;padding:0 1rem}code,input{font:inherit;"
    "font-family:ui-monospace,monospace}</style>"
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
    told = "That key is not this server's" if is_wrong else "This server asks for a key"
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Runlore</title>{_STYLE}"
        f'<h1>{told}</h1><form action="{quote(action)}">'
        "<label>Key <input name=key type=password autofocus required></label> "
        "<button>Log in</button></form><p>Whoever started the server finds it in the file "
        "that <code>runlore serve</code> names.</p></html>"
    ).encode()


def _unbuilt_page() -> bytes:
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Runlore</title>{_STYLE}"
        "<h1>The server runs, the page is not built</h1><p>Runs are taken and kept, and "
        "<code>/api/v1</code> answers. In a clone, <code>./dev setup</code> builds the page; "
        "then reload. An installed package contains it: if it does not, install it again."
        "</p></html>"
    ).encode()


def _document(page: PageFiles, early: tuple[str, ...]) -> Response[bytes]:
    return _file(page.document(early) or _unbuilt_page(), "text/html", "no-cache")


def _file(body: bytes, kind: str, caching: str) -> Response[bytes]:
    return Response(body, media_type=kind, headers={"Cache-Control": caching, **SECURITY})
