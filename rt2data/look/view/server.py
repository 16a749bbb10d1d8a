"""Serves pages of examples to a browser on this machine: loopback only, GET only, and no path of a request is ever opened.

A page of another origin whose name resolves to this address (DNS rebinding) is refused by its Host header.
"""

from __future__ import annotations

import re
import secrets
import sys
import threading
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from rt2data.errors import RtError, UsageError
from rt2data.images.ready import ImageFault
from rt2data.look.inspect.examples import Examples, Seen
from rt2data.look.view.pages import Query, example_page, grid_page
from rt2data.look.view.select import encoded, images_of
from rt2data.read.text import one_line

HOST = "127.0.0.1"
TYPES = {"jpg": "image/jpeg", "png": "image/png"}
WAIT_S = 30.0  # after that, an idle connection is closed
POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'nonce-{0}'; script-src 'nonce-{0}'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Allowed are images from this server, the page's own style and script, and nothing else."""
_PATH = re.compile(r"/(?:example/(?P<example>\d{1,15})|(?P<kind>image|frame)/(?P<number>\d{1,15})/(?P<index>\d{1,9}))", re.ASCII)


class Answer(NamedTuple):
    """A response."""

    status: HTTPStatus
    kind: str
    content: bytes


class PageServer:
    """Answers one request at a time: files and positions in them are shared."""

    def __init__(self, examples: Examples, title: str) -> None:
        self._examples, self._title, self._lock = examples, title, threading.Lock()
        self._film = lru_cache(maxsize=8)(lambda number: examples.film(examples.at(number, whole=False)))

    def answer(self, target: str, nonce: str) -> Answer:
        """The answer to a GET of this address."""
        with self._lock:
            try:
                return self._answer(target, nonce)
            except (IndexError, ValueError):
                return _text(HTTPStatus.NOT_FOUND, "not found")
            except (RtError, ImageFault) as error:
                return _text(HTTPStatus.UNPROCESSABLE_ENTITY, one_line(str(error), 1000))

    def _answer(self, target: str, nonce: str) -> Answer:
        parts = urlsplit(target)
        if parts.path == "/":
            query = Query.of(parse_qs(parts.query, max_num_fields=10))
            return _page(grid_page(self._examples, self._title, query, nonce))
        found = _PATH.fullmatch(parts.path)
        if found is None:
            raise IndexError(target)
        if found["example"]:
            seen = self._examples.at(int(found["example"]))
            return _page(example_page(self._examples, self._title, seen, self._film(seen.number), nonce))
        number, index = int(found["number"]), int(found["index"])
        if found["kind"] == "image":
            return _image(self._examples.at(number), index)
        film = self._film(number)
        if film is None:
            raise IndexError(target)
        return _image(film.examples.at(film.numbers[index]), 0)


def _page(html: str) -> Answer:
    return Answer(HTTPStatus.OK, "text/html; charset=utf-8", html.encode("utf-8", "replace"))


def _text(status: HTTPStatus, words: str) -> Answer:
    return Answer(status, "text/plain; charset=utf-8", (words + "\n").encode("utf-8", "replace"))


def _image(seen: Seen, index: int) -> Answer:
    """Raises IndexError if the example has fewer images."""
    images = images_of(seen)
    if not images:
        return _text(HTTPStatus.NOT_FOUND, one_line(seen.fault))
    extension, content = encoded(images[index][1])
    return Answer(HTTPStatus.OK, TYPES[extension], content)


class Handler(BaseHTTPRequestHandler):
    """HTTP around a PageServer."""

    timeout = WAIT_S
    protocol_version = "HTTP/1.1"
    server: Server

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Any method but GET is refused."""
        if name.startswith("do_"):
            return lambda: self._send(_text(HTTPStatus.METHOD_NOT_ALLOWED, "only GET"))
        raise AttributeError(name)

    def do_GET(self) -> None:
        """A page or an image, if the request names this machine as its host."""
        if self.headers.get_all("Host", []) not in [[host] for host in self.server.hosts]:
            self._send(_text(HTTPStatus.MISDIRECTED_REQUEST, "use the address that was printed"))
            return
        nonce = secrets.token_urlsafe(16)
        self._send(self.server.site.answer(self.path, nonce), nonce)

    def _send(self, answer: Answer, nonce: str = "none") -> None:
        self.close_connection = self.close_connection or answer.status != HTTPStatus.OK
        self.send_response(answer.status)
        headers = {
            "Content-Type": answer.kind,
            "Content-Length": str(len(answer.content)),
            "Content-Security-Policy": POLICY.format(nonce),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "no-store",
        } | ({"Allow": "GET"} if answer.status == HTTPStatus.METHOD_NOT_ALLOWED else {})
        headers |= {"Connection": "close"} if self.close_connection else {}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """An error of the library, without its HTML."""
        self.close_connection = True
        self._send(_text(HTTPStatus(code), HTTPStatus(code).phrase))

    def version_string(self) -> str:
        """Nothing about the machine."""
        return "rt2data"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the library's name)
        """Requests are not logged."""


class Server(ThreadingHTTPServer):
    """Listens on loopback only."""

    daemon_threads = True

    def __init__(self, site: PageServer, port: int) -> None:
        """Port 0 takes a free one. Raises UsageError if the port is taken."""
        try:
            super().__init__((HOST, port), Handler)
        except (OSError, OverflowError) as error:
            raise UsageError(f"cannot listen on port {port}: {error}", HOST, "choose another with --port, or none") from None
        self.site = site
        self.hosts = tuple(f"{name}:{self.server_port}" for name in (HOST, "localhost"))

    @property
    def url(self) -> str:
        """The address of the pages."""
        return f"http://{HOST}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A closed connection is no error; anything else is shown with its trace."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)
