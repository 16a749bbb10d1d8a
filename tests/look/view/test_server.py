"""Pages over a real socket: examples are shown, hostile text is inert, and only this machine is answered."""

from __future__ import annotations

import http.client
import io
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image

from rt2data.errors import UsageError
from rt2data.look.inspect import recognize
from rt2data.look.inspect.examples import ActionValue, Examples, Seen, Token
from rt2data.look.view import pages
from rt2data.look.view.select import Filter
from rt2data.look.view.server import PageServer, Server
from rt2data.records import Kind
from tests.contract.toy import jpeg

HOSTILE = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{1234*1234}}\x1b[2J\u202e"


class Fetched:
    """One answer."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.content = response.status, response.headers, response.read()

    @property
    def text(self) -> str:
        return self.content.decode()


class Browser:
    """Asks one server."""

    def __init__(self, server: Server) -> None:
        self.port = server.server_port

    def get(self, address: str, method: str = "GET", **headers: str) -> Fetched:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, address, headers=headers)
            return Fetched(connection.getresponse())
        finally:
            connection.close()


@contextmanager
def served(examples: Examples) -> Iterator[Browser]:
    server = Server(PageServer(examples, f"mixture {HOSTILE}"), 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Browser(server)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Hostile(Examples):
    """Examples whose text tries to break out of the page."""

    total = 3
    sources: Mapping[str, Kind] = {HOSTILE: "web"}  # type: ignore[assignment]

    def at(self, number: int, whole: bool = True) -> Seen:
        if not 0 <= number < self.total:
            raise IndexError(number)
        return Seen(
            number=number,
            key=HOSTILE,
            kind="web",
            source=HOSTILE,
            split=HOSTILE,
            group=HOSTILE,
            prompt=HOSTILE,
            target=HOSTILE,
            images=[("image", jpeg(1) if number else b"<svg onload=alert(1)>")],
            answers=(HOSTILE, "other"),
            action=[ActionValue(HOSTILE, HOSTILE, 0.5, -1.0, 1.0, 3)],
            tokens=[Token(1, False, HOSTILE), Token(2, True, HOSTILE)],
        )


def test_a_mixture(mixture: Path) -> None:
    examples = recognize(mixture).examples()
    with served(examples) as browser:
        grid = browser.get("/").text
        assert re.findall(r'href="/example/(\d+)"', grid) == [str(i) for i in range(pages.GRID)]
        assert 'href="/?start=24"' in grid
        last = browser.get("/?start=72").text
        assert re.findall(r'href="/example/(\d+)"', last)[-1] == "95" and "start=96" not in last
        seen = examples.at(5)
        page = browser.get("/example/5").text
        assert seen.prompt.replace("'", "&#39;") in page and f">{seen.target}<" in page and seen.key in page
        image = browser.get("/image/5/0")
        assert (image.content, image.headers["Content-Type"]) == (bytes(seen.image or b""), "image/jpeg")


def test_filters(mixture: Path) -> None:
    examples = recognize(mixture).examples()
    all_seen = [examples.at(i) for i in range(96)]
    with served(examples) as browser:
        for query, wanted in {
            "source=arm": [s.number for s in all_seen if s.source == "arm"],
            "kind=web": [s.number for s in all_seen if s.kind == "web"],
            "text=HOW+many%3F+3": [s.number for s in all_seen if "How many? 3" in s.prompt],
            "kind=web&text=lift": [],
        }.items():
            found = re.findall(r'href="/example/(\d+)"', browser.get(f"/?{query}").text)
            assert [int(n) for n in found] == wanted[: pages.GRID]


def test_the_next_page_searches_on(mixture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST", 10)
    grid = pages.find(recognize(mixture).examples(), pages.Query(20, Filter(text="nowhere")))
    assert (list(grid.found), grid.searched, grid.following) == ([], 10, 30)


def test_the_episode_of_a_step(mixture: Path) -> None:
    examples = recognize(mixture).examples()
    seen = next(examples.at(i) for i in range(96) if examples.source_of(i) == "arm")
    with served(examples) as browser:
        page = browser.get(f"/example/{seen.number}").text
        frames = re.findall(rf'src="(/frame/{seen.number}/\d+)"', page)
        assert re.findall(r"<figcaption>(\d+)</figcaption>", page) == [str(step) for step in range(8)]
        images = [browser.get(frame).content for frame in frames]
        assert images[seen.step or 0] == bytes(seen.image or b"") and len(set(images)) == 8
        assert browser.get(f"/frame/{seen.number}/8").status == 404


def test_hostile_words_are_inert() -> None:
    with served(Hostile()) as browser:
        for address in ("/", "/?text=%3Cscript%3E", "/example/1"):
            page = browser.get(address)
            assert page.status == 200
            assert page.text.count("<script") == 1 and "<img src=x" not in page.text and "1522756" not in page.text
            assert "\x1b" not in page.text and "\u202e" not in page.text
            nonces = set(re.findall(r'nonce="([^"]+)"', page.text))
            assert len(nonces) == 1 and f"script-src 'nonce-{nonces.pop()}'" in page.headers["Content-Security-Policy"]
        assert browser.get("/image/0/0").status == 422


def test_only_this_machine_by_its_name() -> None:
    with served(Hostile()) as browser:
        for host in ("evil.example", f"evil.example:{browser.port}", "127.0.0.1:1", "127.0.0.1", ""):
            refused = browser.get("/example/1", Host=host)
            assert refused.status == 421 and b"alert" not in refused.content
        assert browser.get("/", Host=f"localhost:{browser.port}").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"])
def test_only_get(method: str) -> None:
    with served(Hostile()) as browser:
        refused = browser.get("/", method)
        assert (refused.status, refused.headers["Allow"]) == (405, "GET")


@pytest.mark.parametrize(
    "address",
    [
        "/example/3",
        "/example/-1",
        "/example/1/2",
        "/image/999999999999999/0",
        "/picture/1e3",
        "/picture/../../../etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/etc/passwd",
        "//etc/passwd",
        "/example/%31",
        "/frame/1/0",
        "/frame/1",
        "/example/١",
        "/?start=x",
        "/?" + "&".join(f"a{i}=1" for i in range(50)),
    ],
)
def test_addresses_that_lead_nowhere(address: str) -> None:
    with served(Hostile()) as browser:
        assert browser.get(quote(address, safe="/?&=%")).status == 404


def test_every_answer_is_guarded() -> None:
    with served(Hostile()) as browser:
        for address in ("/", "/image/1/0", "/nothing", "/image/0/0"):
            headers = browser.get(address).headers
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert "default-src 'none'" in headers["Content-Security-Policy"]
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
            assert (headers["Server"], headers["Cache-Control"]) == ("rt2data", "no-store")


def test_loopback_alone() -> None:
    server = Server(PageServer(Hostile(), ""), 0)
    try:
        assert server.socket.getsockname()[0] == "127.0.0.1"
        with pytest.raises(UsageError, match="cannot listen"):
            Server(PageServer(Hostile(), ""), server.server_port)
    finally:
        server.server_close()


def test_a_store_of_other_images_is_shown_as_jpeg(mixture: Path) -> None:
    (folder,) = mixture.parent.glob("store/qa-*")
    with served(recognize(folder).examples()) as browser:
        shown = browser.get("/image/0/0")
        assert Image.open(io.BytesIO(shown.content)).format == "JPEG"
        assert browser.get("/example/0").text.count("/frame/0/") == 2
