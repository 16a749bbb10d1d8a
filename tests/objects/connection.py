"""One connection of the server: as much of HTTP/1.1 as clients of object stores speak. Nothing about objects."""

from __future__ import annotations

import asyncio
import socket
import struct
import traceback
from contextlib import suppress
from http import HTTPStatus
from io import BytesIO, FileIO
from typing import BinaryIO, cast

from tests.objects.api import Answer, Request
from tests.objects.front import Front

SLICE = 2**18
"""Bytes that are read from a file and handed to the socket at a time."""
RESET = struct.pack("ii", 1, 0)
"""Linger for no time: closing then sends a reset instead of an end."""
STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}


class Connection(asyncio.Protocol):
    """Takes one request at a time, waits as long as the settings say, answers."""

    transport: asyncio.Transport

    def __init__(self, front: Front) -> None:
        self.front = front
        self.received = bytearray()
        self.request: Request | None = None
        self.is_busy = self.is_paused = False
        self.answer: Answer | None = None
        self.body: BinaryIO = BytesIO()
        self.left = 0
        self.sending: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=4 * SLICE)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.is_busy:
            self._end()

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False
        if self.answer:
            self._send()

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._take()

    def _take(self) -> None:
        """Begin with the next request, when all of it is here."""
        if self.is_busy or not self._has_head():
            return
        request = cast(Request, self.request)
        length = int(request.headers.get("content-length", 0))
        if len(self.received) < length:
            return
        request.body = bytes(memoryview(self.received)[:length])
        del self.received[:length]
        self._wait(request)

    def _has_head(self) -> bool:
        end = -1 if self.request else self.received.find(b"\r\n\r\n")
        if end >= 0:
            first, *lines = self.received[:end].decode("latin-1").split("\r\n")
            method, target, _ = first.split(" ")
            pairs = (line.split(":", 1) for line in lines)
            self.request = Request(method, target, {name.lower(): value.strip() for name, value in pairs})
            del self.received[: end + 4]
        return self.request is not None

    def _wait(self, request: Request) -> None:
        self.is_busy = True
        self.front.arrive(request)
        delay = 0 if request.is_own else self.front.settings.delay_ms
        if delay:
            asyncio.get_running_loop().call_later(delay / 1000, self._act, request)
        else:
            self._act(request)

    def _act(self, request: Request) -> None:
        if self.transport.is_closing():
            return  # the client left while it waited: nothing is done
        answer = self._carried_out(request)
        if answer is None:
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.transport.abort()
        else:
            self._start(answer)

    def _carried_out(self, request: Request) -> Answer | None:
        try:
            return self.front.own(request) if request.is_own else self.front.answer(request)
        except Exception:
            traceback.print_exc()  # to the test's own stderr: a fault of this server, not one of those it is asked for
            return Answer(500)

    def _start(self, answer: Answer) -> None:
        self.answer, self.left = answer, answer.to_send
        self.body = answer.file or BytesIO(answer.body)
        headers = answer.headers if answer.status in (204, 304) else answer.headers | {"Content-Length": str(answer.size)}
        head = STATUS[answer.status] + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
        if isinstance(answer.file, FileIO) and self.left > SLICE and not answer.is_cut:
            self.transport.write(head.encode("latin-1"))
            self.sending = asyncio.get_running_loop().create_task(self._send_file())
        else:
            self._send(head.encode("latin-1"))

    async def _send_file(self) -> None:
        """Let the system send a large part of a file: it takes a fraction of the processor time."""
        self.answer = None  # there is nothing for `resume_writing` to do
        with suppress(ConnectionError, RuntimeError):  # the client left
            await asyncio.get_running_loop().sendfile(self.transport, self.body, self.body.tell(), self.left)
        if self.is_busy:  # else `connection_lost` came first
            self._end()

    def _send(self, head: bytes = b"") -> None:
        """Hand over as much as the socket takes: memory stays small, however large the object."""
        while head or (self.left and not self.is_paused):
            some = self.body.read(min(self.left, SLICE))
            self.left -= len(some)
            self.transport.write(head + some)
            head = b""
        if not self.left:
            self._end()

    def _end(self) -> None:
        """Be ready for the next request, or close where the body was to be cut."""
        is_cut = self.answer is not None and self.answer.is_cut
        self.body.close()
        self.front.leave(cast(Request, self.request))
        self.is_busy, self.request, self.answer, self.left = False, None, None, 0
        if is_cut:  # later: inside `resume_writing` the transport would say twice that the connection is lost
            asyncio.get_running_loop().call_soon(self.transport.close)
        else:
            self._take()
