"""A server below a path of somebody's proxy: page, API, live stream, login and addresses."""

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import expect

from runlore.core.run import RunRef
from runlore.sdk.api import Api
from runlore.testing.serving import ServerProcess
from runlore.testing.spools import SpoolBuilder
from tests.e2e.conftest import OpenPage

PREFIX = "/lab/runs"


class Proxy(ThreadingHTTPServer):
    """Passes on what comes below the prefix, as a proxy before several programs does."""

    daemon_threads = True
    server_port_behind = 0
    strips = False


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._pass_on()

    do_POST = do_PATCH = do_DELETE = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _pass_on(self) -> None:
        proxy = self.server
        assert isinstance(proxy, Proxy)
        if not f"{self.path.partition('?')[0]}/".startswith(f"{PREFIX}/"):
            self.send_error(404)
            return
        path = self.path.removeprefix(PREFIX) or "/" if proxy.strips else self.path
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        behind = http.client.HTTPConnection("127.0.0.1", proxy.server_port_behind, timeout=60)
        try:
            behind.request(self.command, path, body, dict(self.headers))
            answer = behind.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "server", "date"):
                    self.send_header(name, value)
            self.end_headers()
            while piece := answer.read1(65536):
                self.wfile.write(piece)
                self.wfile.flush()
        except OSError:
            # A tab that was closed, or a server that has ended.
            return
        finally:
            behind.close()


@pytest.fixture(params=["strips", "keeps"])
def proxy(request: pytest.FixtureRequest) -> Iterator[Proxy]:
    proxy = Proxy(("127.0.0.1", 0), _Handler)
    proxy.strips = request.param == "strips"
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    yield proxy
    proxy.shutdown()
    thread.join()
    proxy.server_close()


def test_a_server_below_a_prefix_is_all_there(
    proxy: Proxy, tmp_path: Path, open_page: OpenPage
) -> None:
    public = f"http://127.0.0.1:{proxy.server_port}{PREFIX}"
    options = ["--public-url", f"{public}/"]
    with ServerProcess(tmp_path, host="0.0.0.0", arguments=options) as server:
        proxy.server_port_behind = server.port
        key = (tmp_path / "server" / "key").read_text().strip()
        page = open_page("about:blank")
        page.goto(f"{public}/local/below")
        page.get_by_label("Key").fill(key)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("heading", name="Log your first run")).to_be_visible()
        assert page.url.startswith(f"{public}/")
        expect(page.get_by_text(f"export RUNLORE_URL={public}")).to_be_visible()
        builder = SpoolBuilder(RunRef("local", "below", "r1"))
        for step in range(3):
            builder.log({"loss": 1.0 / (step + 1)}, step=step)
        sent = server.send_spool(builder, headers={"Authorization": f"Bearer {key}"})
        assert sent.status == 200
        # The live stream tells the page, which opens the first project by itself.
        expect(page.locator('[data-metric="loss"] .chart')).to_have_attribute("data-drawn", "1")
        assert page.url.startswith(f"{public}/local/below")
        run = Api(public, api_key=key).run("below/r1")
        assert run.url == f"{public}/local/below/runs/r1"
        page.goto(run.url)
        expect(page.locator('[data-metric="loss"] .chart')).to_have_attribute("data-drawn", "1")
        page.goto(f"{public}/login?key={key}")
        assert page.url.startswith(f"{public}/")
        page.goto(f"{server.url}/login?key={key}")
        page.goto(f"{server.url}/local/below/runs/r1")
        page.wait_for_url(f"{server.url}{PREFIX}/local/below/runs/r1")
        expect(page.locator('[data-metric="loss"] .chart')).to_have_attribute("data-drawn", "1")
        page.close()
