"""Whether the server is ready, and how a browser logs in."""

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.response import Redirect

from runlore.errors import AccessError
from runlore.server.auth import COOKIE
from runlore.server.backend import Backend
from runlore.server.nouns import Health
from runlore.server.page import SECURITY, login_page
from runlore.services.access import Access
from runlore.version import __version__

_YEAR_SECONDS = 365 * 24 * 3600


@get("/healthz", summary="Tell that the server is ready")
async def get_health(backend: Backend) -> Health:
    """Answer as soon as the server can take and show runs."""
    return Health(status="ok", version=__version__, server=backend.catalog.server_id)


@get("/login", summary="Log a browser in", status_code=303)
async def log_in(
    request: Request[object, object, State], access: Access, key: str = ""
) -> Response[bytes] | Response[None]:
    """Set the cookie that carries the key, and go to the first page."""
    if not access.admits(key):
        if "text/html" in request.headers.get("accept", ""):
            body = login_page("login", is_wrong=True)
            return Response(body, status_code=403, media_type="text/html", headers=SECURITY)
        raise AccessError("this key is not the server's; 'runlore serve' tells where it is kept")
    # Relative, for there may be a prefix before this path that only the browser knows.
    answer = Redirect("./", status_code=303)
    if not access.is_open:
        answer.set_cookie(
            COOKIE,
            key,
            max_age=_YEAR_SECONDS,
            path="/",
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
    # The key stands in this address, which must reach no log of another server.
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["Cache-Control"] = "no-store"
    return answer
